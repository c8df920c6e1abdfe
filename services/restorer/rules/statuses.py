"""The public state of a restore that has ended, from what its job's ledger holds."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.status import RestoreStatus
from services.restorer.rules import steps
from tidewind.domain.ids import restore_id, timeline_id
from tidewind.domain.records import Accepted, Terminal

PLAN_NOTE = "plan"
_ENDED: Mapping[str, Literal["completed", "failed", "cancelled"]] = {
    "tidewind.restore.completed.v1": "completed",
    "tidewind.restore.failed.v1": "failed",
    "tidewind.restore.cancelled.v1": "cancelled",
}


def status_of(
    job: Accepted, terminal: Terminal, notes: Mapping[str, Mapping[str, Any]], *, limit: timedelta, now: datetime
) -> RestoreStatus | None:
    """None if the job was no restore. `limit` is the setting's, from the gate to the verdict."""
    state = _ENDED.get(terminal.event)
    if state is None:
        return None
    restore = restore_id(job.job_id)
    gating = notes.get("gating")
    began = datetime.fromisoformat(str(gating["at"])) if gating else None
    facts: dict[str, Any] = {
        "cluster_id": job.cluster_id,
        "at": now,
        "restore_id": restore,
        "mode": "undo" if job.command == "tidewind.restore.undo.v1" else "snapshot",
        "state": state,
        "step": _step(state, terminal.data, notes),
        "backup_id": job.body.get("backup_id"),
        "started_at": job.accepted_at,
        "ended_at": terminal.at,
        "deadline": steps.deadline(began, limit),
        "plan": notes.get(PLAN_NOTE, {}),
        "problem": terminal.data.get("problem"),
    }
    if state == "completed":
        facts |= {"timeline": timeline_id(restore), "undo_until": terminal.data.get("undo_until")}
    return RestoreStatus.model_validate(facts)


def _step(state: str, ended: Mapping[str, Any], notes: Mapping[str, Mapping[str, Any]]) -> str:
    """The last step that was spoken of."""
    if state == "completed":
        return "opened"
    if state == "failed" and not ended.get("returned"):
        return "returning"
    return "returned" if "returned" in notes else "accepted"

"""The catalogue of problems: every refusal and failure an operator can meet, with its stable name.

`docs/errors.md` is generated from this table; names are never reused for another meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.replies import FieldError, Problem

PREFIX = "urn:tidewind:problem:"


@dataclass(frozen=True)
class Kind:
    """`title` is the same for every occurrence; `exit_code` is what the CLI ends with."""

    name: str
    title: str
    next_step: str
    retryable: bool = False
    exit_code: int = 1


_KINDS = (
    Kind("invalid-command", "The command is not valid", "Correct the fields named and send it again", exit_code=64),
    Kind("unknown-command", "No such command", "See the list of commands in the contract", exit_code=64),
    Kind("unknown-cluster", "No such cluster", "List the enrolled clusters: tidewind cluster list", exit_code=66),
    Kind("cluster-exists", "The cluster id is taken", "Choose another id; ids are never used again", exit_code=65),
    Kind(
        "server-enrolled",
        "The server is enrolled under another id",
        "Use that id, or retire it first: tidewind cluster retire ID",
        exit_code=65,
    ),
    Kind("cluster-retired", "The cluster is retired", "Enrol it under a new id to protect it again", exit_code=65),
    Kind("unknown-region", "No such region", "Name a known region, or add it with TIDEWIND_REGIONS", exit_code=64),
    Kind(
        "unsupported-engine",
        "This engine is not supported yet",
        "docs/guarantees.md says what is supported",
        exit_code=69,
    ),
    Kind(
        "manual-backup-unsupported",
        "Manual backups are not offered",
        "Wait for the daily backup, or start the services with TIDEWIND_ALLOW_MANUAL_BACKUPS=true",
        exit_code=69,
    ),
    Kind(
        "target-outside",
        "Nothing can be restored at this target",
        "Choose an instant of the intervals named: tidewind window --cluster CLUSTER",
        exit_code=65,
    ),
    Kind(
        "target-not-captured",
        "The target has not been captured yet",
        "Repeat in a moment; how far the log is held: tidewind window --cluster CLUSTER",
        True,
        exit_code=75,
    ),
    Kind(
        "unknown-timeline",
        "No such timeline",
        "See the cluster's timelines: tidewind window --cluster CLUSTER",
        exit_code=66,
    ),
    Kind(
        "ambiguous-position",
        "The position stands in more than one log",
        "Give a time instead of the position; find it with: tidewind changes --cluster CLUSTER",
        exit_code=65,
    ),
    Kind(
        "unknown-position",
        "The position is not in the log",
        "Find it with: tidewind changes --cluster CLUSTER",
        exit_code=66,
    ),
    Kind(
        "log-unsuitable",
        "The database's log cannot be captured as it is",
        "Change the setting that is named",
        exit_code=69,
    ),
    Kind(
        "log-broken",
        "The log cannot be read on",
        "A new base is taken by itself; see it with: tidewind window --cluster CLUSTER",
        exit_code=74,
    ),
    Kind(
        "log-damaged",
        "A segment of the log is missing or damaged",
        "Choose a target before it, or after the next backup; examine the store",
        exit_code=74,
    ),
    Kind(
        "replay-refused",
        "The log holds something that cannot be replayed",
        "The old data is back; choose a target before the position named",
        exit_code=74,
    ),
    Kind(
        "unknown-backup",
        "No such backup",
        "List the cluster's backups: tidewind backup list --cluster CLUSTER",
        exit_code=66,
    ),
    Kind(
        "backup-of-another-cluster",
        "The backup belongs to another cluster",
        "A backup can only go back into the cluster it came from",
        exit_code=65,
    ),
    Kind("backup-incomplete", "The backup is not complete", "Choose a completed backup", exit_code=65),
    Kind("backup-deleted", "The backup was deleted", "Choose a completed backup", exit_code=66),
    Kind("backup-expired", "The backup has expired", "Choose a completed backup that has not expired", exit_code=66),
    Kind(
        "backup-newer-format",
        "The backup was written by a newer Tidewind",
        "Upgrade Tidewind before you restore it",
        exit_code=69,
    ),
    Kind(
        "backup-damaged",
        "Stored bytes of the backup have changed",
        "Choose another backup and examine the store",
        exit_code=74,
    ),
    Kind(
        "backup-in-use",
        "A restore reads this backup",
        "Repeat the delete when the restore has ended",
        True,
        exit_code=75,
    ),
    Kind(
        "last-backup",
        "This is the newest good backup",
        "Repeat with confirm_shorter_window (--confirm-shorter-window) to delete it all the same",
        exit_code=65,
    ),
    Kind("key-missing", "A key of the keyring is missing", "Put the key named into TIDEWIND_KEYRING", exit_code=77),
    Kind(
        "operation-running",
        "Another operation holds the cluster",
        "Wait for it to end, or cancel it",
        True,
        exit_code=75,
    ),
    Kind(
        "idempotency-key-reused",
        "The idempotency key was used for another command",
        "Send the new command under a new key",
        exit_code=65,
    ),
    Kind(
        "command-expired",
        "The command arrived too late to be carried out",
        "Send it again if it is still wanted",
        exit_code=75,
    ),
    Kind("unknown-restore", "No such restore", "List the restores: tidewind restore list", exit_code=66),
    Kind(
        "restore-too-late",
        "The restore has passed its point of no return",
        "Wait for it to end; undo brings the data before it back",
        exit_code=65,
    ),
    Kind("restore-ended", "The restore has already ended", "Nothing is to be cancelled", exit_code=65),
    Kind("undo-unavailable", "The restore cannot be undone", "See the reason in the detail", exit_code=65),
    Kind("plan-changed", "The plan is not the one you confirmed", "Look at the new plan and confirm it", exit_code=65),
    Kind("in-place-only", "A restore goes back into its own cluster only", "Drop the other target", exit_code=64),
    Kind("database-unreachable", "The database cannot be reached", "Check host, port and network", True, exit_code=69),
    Kind(
        "database-refused-login",
        "The database refused the account",
        "Check the account and the secret its reference names",
        exit_code=77,
    ),
    Kind("database-rights-missing", "The account lacks rights", "Grant what is named", exit_code=77),
    Kind(
        "database-unsuitable",
        "The server is of a kind that cannot be protected like this",
        "See the detail",
        exit_code=69,
    ),
    Kind("database-full", "The database's disk is full or too small", "Free space and repeat", exit_code=74),
    Kind("database-failed", "The database reported an error", "See the detail", exit_code=74),
    Kind(
        "secret-unavailable",
        "A secret cannot be read",
        "Set the variable or file that the reference names where the services run, then restart them",
        exit_code=78,
    ),
    Kind(
        "store-unavailable",
        "The store does not answer",
        "Check the store; the work is repeated by itself",
        True,
        exit_code=69,
    ),
    Kind("store-refused", "The store refused the request", "Check credentials and rights on the bucket", exit_code=77),
    Kind(
        "store-newer-format",
        "An object in the store was written by a newer Tidewind",
        "Upgrade Tidewind here, as where it was written",
        exit_code=69,
    ),
    Kind("store-full", "The store is full", "Free space or raise the quota", exit_code=74),
    Kind("store-foreign", "The store belongs to another deployment", "Use a bucket or prefix of its own", exit_code=78),
    Kind(
        "store-unconditional",
        "The store ignores conditional writes",
        "Use a store that honours them, or one instance of each service and TIDEWIND_STORE_SINGLE_WRITER=true",
        exit_code=78,
    ),
    Kind(
        "snapshot-inconsistent",
        "No consistent snapshot could be taken",
        "See the detail; the next attempt starts from nothing",
        True,
        exit_code=74,
    ),
    Kind("restore-blocked", "Something stands in the way of the restore", "Remove what the plan lists", exit_code=65),
    Kind(
        "restore-verification-failed",
        "What was loaded is not what was backed up",
        "The old data is back; choose another backup",
        exit_code=74,
    ),
    Kind(
        "time-limit",
        "The time limit passed",
        "The old data is back; raise TIDEWIND_RESTORE_TIME_LIMIT_H or restore a smaller backup",
        exit_code=75,
    ),
    Kind("cancelled", "Somebody cancelled it", "Nothing to do", exit_code=75),
    Kind("clock-skew", "Clocks differ too much", "Set the clocks right; nothing is deleted until then", exit_code=78),
    Kind(
        "internal-error", "An error inside Tidewind", "Report it with the job id; nothing was half done", exit_code=70
    ),
)

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _KINDS}


class Refused(Exception):
    """Raised by rules and handlers: the command cannot be carried out, for the reason in `problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def problem(
    name: str,
    detail: str,
    *,
    next_step: str | None = None,
    errors: tuple[FieldError, ...] = (),
    facts: Mapping[str, Any] | None = None,
) -> Problem:
    """A problem of the catalogue. `detail` says what happened to what; KeyError if the name is not in the table."""
    kind = KINDS[name]
    return Problem(
        type=PREFIX + kind.name,
        title=kind.title,
        detail=detail,
        retryable=kind.retryable,
        next_step=next_step or kind.next_step,
        errors=errors,
        facts=dict(facts or {}),
    )


def refused(name: str, detail: str, **more: Any) -> Refused:
    """`raise refused("unknown-cluster", "…")`."""
    return Refused(problem(name, detail, **more))


def kind_of(value: Problem) -> Kind:
    """The catalogue's entry; an unknown type (a newer service) is an internal error to this client."""
    return KINDS.get(value.type.removeprefix(PREFIX), KINDS["internal-error"])

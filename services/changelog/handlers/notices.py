"""What capture says of one cluster: its status, and events for what has changed."""

import uuid
from datetime import datetime
from typing import Any, Literal

from schemas.base import Fact
from schemas.envelope import Message
from schemas.events import CaptureHeadroomLow, CaptureStarted, CaptureStopped
from schemas.replies import Problem
from schemas.status import CaptureStatus
from schemas.topics import EVENTS, STATUS
from services.changelog.rules.cutting import Acknowledged
from tidewind.domain.lived import instant
from tidewind.domain.log_stream import SessionStart
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.runtime.outbox import Composer, body_of

_KEPT = ("history", "position", "last_gtid", "last_checksum", "complete_at", "precision")


class CaptureNotices:
    def __init__(
        self, cluster: str, *, publisher: Publisher, composer: Composer, view: StatusView, clock: Clock
    ) -> None:
        self._cluster = cluster
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._clock = clock
        self._stopped_by: str | None = None
        self._warned_at: float | None = None

    @property
    def source(self) -> str:
        return self._composer.source

    def started(self, begins: SessionStart) -> None:
        self._stopped_by = None
        self._event(
            "tidewind.capture.started.v1",
            CaptureStarted(
                cluster_id=self._cluster,
                history=begins.history,
                position=begins.position,
                cause=begins.cause,
                detail=begins.detail,
            ),
        )

    def off(self) -> None:
        """Nobody wants the log read. What Kafka holds stays said."""
        self._status(self._held(), "off")

    def stopped(self, why: Problem, *, state: Literal["waiting", "unsuitable"]) -> None:
        """The event once for each reason, the status each time. What Kafka holds stays said: a successor needs it."""
        if self._stopped_by != why.detail:
            self._stopped_by = why.detail
            self._event("tidewind.capture.stopped.v1", CaptureStopped(cluster_id=self._cluster, problem=why))
        self._status(self._held(), state, problem=why)

    def capturing(self, history: str, known: Acknowledged, *, lag_s: float, headroom_s: float | None) -> None:
        self._status(
            {
                "history": history,
                "position": str(known.position),
                "last_gtid": known.last.gtid if known.last else None,
                "last_checksum": known.last.checksum if known.last else None,
                "complete_at": instant(known.complete_us),
                "lag_s": round(lag_s, 3),
                "headroom_s": headroom_s,
                "precision": known.precision,
            },
            "capturing",
        )

    def headroom_low(self, headroom_s: float, position: str) -> None:
        """At most once an hour."""
        now = self._clock.monotonic()
        if self._warned_at is not None and now - self._warned_at < 3600:
            return
        self._warned_at = now
        hours = headroom_s / 3600
        self._event(
            "tidewind.capture.headroom-low.v1",
            CaptureHeadroomLow(
                cluster_id=self._cluster,
                headroom_s=headroom_s,
                position=position,
                detail=f"the server purges what follows {position} in {hours:.1f} h; raise binlog_expire_logs_seconds",
            ),
        )

    def _held(self) -> dict[str, Any]:
        known = self._view.get(f"capture/{self._cluster}") or {}
        return {name: known.get(name) for name in _KEPT if known.get(name) is not None}

    def _status(self, fields: dict[str, Any], state: str, *, problem: Problem | None = None) -> None:
        body = CaptureStatus.model_validate(
            {**fields, "cluster_id": self._cluster, "at": self._clock.now(), "state": state, "problem": problem}
        )
        self._publisher.post(STATUS, self._composer.status("capture", body))

    def _event(self, kind: str, body: Fact) -> None:
        self._publisher.post(EVENTS, self._message(kind, body, self._clock.now()))

    def _message(self, kind: str, body: Fact, now: datetime) -> Message:
        return Message(
            id=str(uuid.uuid4()),
            type=kind,
            source=self.source,
            time=now,
            key=self._cluster,
            data=body_of(body),
        )

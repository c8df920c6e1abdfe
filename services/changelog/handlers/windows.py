"""Publishes each cluster's recoverable window every few seconds, and events when it changes shape.

What is read from the store is remembered for a minute, and read anew as soon as a status says that a backup, a restore
or a history has come or gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog

from schemas.base import Fact
from schemas.envelope import Message
from schemas.events import CaptureGap, WindowChanged
from schemas.status import Interval, WindowStatus
from schemas.topics import EVENTS, STATUS
from services.changelog.handlers.archive import Archive, ClusterLog
from services.changelog.rules.windows import Window, stretches, window
from services.changelog.settings import ChangelogSettings
from tidewind.domain import ids
from tidewind.domain.histories import Reach, with_live_end
from tidewind.domain.lived import Lived, bases_of, instant, microseconds
from tidewind.ports.bus import Publisher, StatusView
from tidewind.ports.clock import Clock
from tidewind.ports.store import StoreError
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.outbox import Composer, body_of

log = structlog.get_logger()


@dataclass
class _Remembered:
    lived: Lived
    read_at: float
    told_by: tuple[object, ...]


class Windows:
    """`run` as a part of the service, beside the archive whose logs it tells of."""

    def __init__(
        self,
        archive: Archive,
        archived: LogArchive,
        catalogue: Catalogue,
        *,
        publisher: Publisher,
        composer: Composer,
        view: StatusView,
        clock: Clock,
        settings: ChangelogSettings,
    ) -> None:
        self._archive = archive
        self._archived = archived
        self._catalogue = catalogue
        self._publisher = publisher
        self._composer = composer
        self._view = view
        self._clock = clock
        self._settings = settings
        self._remembered: dict[str, _Remembered] = {}

    async def run(self) -> None:
        while True:
            for known in list(self._archive.logs.values()):
                try:
                    await self._publish(known)
                except StoreError as error:
                    log.warning(str(error), action="window-store-unavailable", cluster=known.cluster)
            await self._clock.sleep(self._settings.window_every_s)

    async def _publish(self, known: ClusterLog) -> None:
        place, hole = known.assembly.place, known.assembly.hole
        if place is None and hole is None:
            return
        lived = await self._lived(known)
        reaches = _with_present(lived.reaches, known)
        if known.assembly.settled:
            reaches = with_live_end(reaches, known.assembly.complete_us)
        now = self._clock.now()
        found = window(
            Lived(timelines=lived.timelines, reaches=reaches, bases=lived.bases),
            now,
            timedelta(days=self._settings.point_in_time_days),
        )
        complete_us = max((reach.complete_us for reach in reaches), default=None)
        self._tell_changes(known.cluster, found)
        capture = self._view.get(f"capture/{known.cluster}") or {}
        body = WindowStatus(
            cluster_id=known.cluster,
            at=now,
            intervals=found.intervals,
            gaps=found.gaps,
            timelines=found.timelines,
            history=None if place is None else place.history,
            position=None if place is None else place.position,
            segments=0 if place is None else place.number,
            complete_at=None if complete_us is None else instant(complete_us),
            kafka_lag_s=_seconds(capture.get("lag_s")),
            store_lag_s=None if complete_us is None else round(max(0.0, (microseconds(now) - complete_us) / 1e6), 3),
            reread=None if hole is None else hole.reread or "the beginning",
        )
        self._publisher.post(STATUS, self._composer.status("window", body))

    async def _lived(self, known: ClusterLog) -> Lived:
        cluster = known.cluster
        told_by = (
            len(known.histories),
            known.histories[-1].history if known.histories else None,
            self._fingerprint(f"backup/{cluster}/"),
            self._fingerprint(f"restore/{cluster}/"),
        )
        remembered = self._remembered.get(cluster)
        fresh = self._clock.monotonic() - self._settings.window_refresh_s
        if remembered is None or remembered.read_at < fresh or remembered.told_by != told_by:
            lived = Lived(
                timelines=tuple(await self._catalogue.timelines(cluster)),
                reaches=tuple([await self._archived.reach(one) for one in known.histories]),
                bases=bases_of(await self._catalogue.backups(cluster)),
            )
            remembered = self._remembered[cluster] = _Remembered(lived, self._clock.monotonic(), told_by)
        return remembered.lived

    def _fingerprint(self, prefix: str) -> int:
        """Changes when a thing of that kind comes, goes or changes its state."""
        states = [(key, (self._view.get(key) or {}).get("state")) for key in self._view.keys(prefix)]
        return hash(tuple(sorted(states, key=str)))

    def _tell_changes(self, cluster: str, found: Window) -> None:
        before: Mapping[str, object] = self._view.get(f"window/{cluster}") or {}
        known_gaps = {str(gap["end_position"]) + str(gap["cause"]) for gap in _listed(before.get("gaps"))}
        for gap in found.gaps:
            if gap.end_position + gap.cause not in known_gaps:
                body = CaptureGap.model_validate({**gap.model_dump(), "cluster_id": cluster})
                self._event("tidewind.capture.gap-found.v1", body, cluster, gap.end_position, gap.cause)
        had = sorted(stretches(Interval.model_validate(one) for one in _listed(before.get("intervals"))))
        has = sorted(stretches(found.intervals))
        if had != has:
            detail = "an interval appeared" if len(has) > len(had) else "an interval vanished"
            changed = WindowChanged(cluster_id=cluster, intervals=found.intervals, detail=detail)
            newest = max((interval.start.isoformat() for interval in found.intervals), default="")
            self._event("tidewind.window.changed.v1", changed, cluster, *has, newest)

    def _event(self, kind: str, body: Fact, cluster: str, *parts: str) -> None:
        """The id follows from what is told, so that a successor's repetition is known as one."""
        message = Message(
            id=ids.derived_id(kind, cluster, *parts),
            type=kind,
            source=self._composer.source,
            time=self._clock.now(),
            key=cluster,
            data=body_of(body),
        )
        self._publisher.post(EVENTS, message)


def _with_present(reaches: tuple[Reach, ...], known: ClusterLog) -> tuple[Reach, ...]:
    """The newest history's reach as the archive in hand knows it."""
    place = known.assembly.place
    if place is None:
        return reaches
    return tuple(
        Reach(
            history=one.history,
            position=place.position,
            complete_us=place.complete_us,
            last_us=place.time_us,
            segments=place.number,
            stamped=place.stamped,
        )
        if one.history.history == place.history
        else one
        for one in reaches
    )


def _listed(value: object) -> list[dict[str, object]]:
    return list(value) if isinstance(value, list | tuple) else []


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None

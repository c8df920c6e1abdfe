"""Timelines: what the users lived through restores.

A timeline begins with a document (`tidewind.domain.records.Timeline`) that is put once. The root needs none until the
first snapshot puts it. What lies in the log between a timeline's `parent_end` and its `start` is the restore itself and
belongs to no timeline; without that, replaying across an earlier restore is silently wrong though the log has no hole.

Which timeline came later is told by the operation lock, of which restores of one cluster hold one number after another.
`started_at` is the database's clock as it was read just before its users were let in, or, where the database would not
tell it, that of the machine that opened it. It orders only documents of one number, which are those that a release
wrote before it kept numbers. When the timeline before it ended is `ended_at`, never `started_at`: the restore itself
lies between the two (`tidewind.domain.lived.left_at`).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from tidewind.domain.ids import ROOT_TIMELINE, timeline_id
from tidewind.domain.records import Timeline


def opened(
    *,
    cluster_id: str,
    restore_id: str,
    job_id: str,
    parent: str,
    cut: str | None,
    cut_backup: str | None,
    cut_history: str | None = None,
    cut_at: datetime | None = None,
    parent_end: str | None,
    end_history: str | None = None,
    ended_at: datetime | None = None,
    history: str | None = None,
    start: str | None,
    started_at: datetime,
    operation: int | None = None,
) -> Timeline:
    """The timeline a restore opens. `parent` is the timeline of the point that was restored."""
    return Timeline(
        cluster_id=cluster_id,
        timeline=timeline_id(restore_id),
        parent=parent,
        cut=cut,
        cut_backup=cut_backup,
        cut_history=cut_history,
        cut_at=cut_at,
        parent_end=parent_end,
        end_history=end_history,
        ended_at=ended_at,
        history=history,
        start=start,
        started_at=started_at,
        restore_id=restore_id,
        job_id=job_id,
        operation=operation,
    )


def in_order(timelines: Iterable[Timeline]) -> list[Timeline]:
    """As they were lived, the first one first."""
    return sorted(timelines, key=_order)


def newest(timelines: Iterable[Timeline]) -> Timeline | None:
    """The timeline that began last; None if there is none yet."""
    return max(timelines, key=_order, default=None)


def present(timelines: Iterable[Timeline]) -> str:
    """The timeline being lived now: the one that began last."""
    found = newest(timelines)
    return found.timeline if found else ROOT_TIMELINE


def lived_before(timelines: Iterable[Timeline], own: Timeline) -> str:
    """The timeline that was being lived when the restore that opened `own` began."""
    return present(one for one in timelines if _order(one) < _order(own))


def _order(one: Timeline) -> tuple[int, datetime, str]:
    return (one.operation or 0, one.started_at, one.timeline)


def by_id(timelines: Iterable[Timeline], wanted: str) -> Timeline | None:
    return next((one for one in timelines if one.timeline == wanted), None)


def lineage(timelines: Sequence[Timeline], wanted: str) -> list[str]:
    """The timeline and its ancestors, itself first. An unknown one is its own whole lineage."""
    found = [wanted]
    while (one := by_id(timelines, found[-1])) is not None and one.parent is not None and one.parent not in found:
        found.append(one.parent)
    return found

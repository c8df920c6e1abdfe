"""Finds the point a command asks for: the cut in the log, and the backup and segments that lead there.

Only manifests, heads and tables of segments are read; what the log holds is read when it is replayed. Segments are
pinned by whoever uses the result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.commands import RestoreRequest
from schemas.events import RestorePoint
from services.restorer.handlers.sources import Origin, completed_outcome, read_manifest
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules import points
from services.restorer.rules.points import Cut, Span
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.histories import with_live_end
from tidewind.domain.lived import Leg, Lived, Route, bases_of, instant, microseconds, route
from tidewind.domain.log_stream import Transaction
from tidewind.domain.problems import Refused
from tidewind.domain.records import PinnedLog
from tidewind.domain.segments import SegmentHead
from tidewind.ports.restore import PointSource


@dataclass(frozen=True, kw_only=True)
class Found:
    """A point: the piece it lies in, the cut, and the way there."""

    span: Span
    cut: Cut
    route: Route


async def point_origin(tools: RestoreTools, command: RestoreRequest) -> Origin:
    """Raises Refused for a target that cannot be restored, StoreError."""
    lived = await read_lived(tools, command.cluster_id)
    wrong = points.timeline_refusal(command.cluster_id, lived, command.timeline)
    if wrong is not None:
        raise Refused(wrong)
    found = await (by_time(tools, lived, command) if command.target_time else _by_position(tools, lived, command))
    history = found.span.piece.history
    legs = found.route.legs
    outcome = await completed_outcome(tools, command.cluster_id, found.route.base)
    opened = [outcome.open_xa_position, *(None for _ in legs)]
    segments = tuple(
        [await _segments_of(tools, command.cluster_id, leg, xa) for leg, xa in zip(legs, opened, strict=False)]
    )
    return await _origin(
        tools,
        command.cluster_id,
        base=found.route.base,
        legs=legs,
        segments=segments,
        timeline=found.span.piece.timeline,
        cut=found.cut.position,
        cut_history=history,
        point=_said(command, found.cut),
    )


async def planned_origin(tools: RestoreTools, cluster: str, plan: Mapping[str, Any]) -> Origin:
    """The origin of a restore that was begun, as its plan says. Raises Refused, StoreError."""
    legs = tuple(Leg(history=leg["history"], after=leg["after"], upto=leg["upto"]) for leg in plan["legs"])
    return await _origin(
        tools,
        cluster,
        base=plan["base"],
        legs=legs,
        segments=tuple((int(leg["first"]), int(leg["last"])) for leg in plan["legs"]),
        timeline=plan["timeline"],
        cut=plan["cut"],
        cut_history=plan["cut_history"],
        point=RestorePoint.model_validate(plan["point"]),
    )


async def read_lived(tools: RestoreTools, cluster: str) -> Lived:
    """What the store knows, and how far the log is known to be complete by the archive's status."""
    reaches = tuple(await tools.archived.reaches(cluster))
    window = tools.view.get(f"window/{cluster}") or {}
    newest = reaches[-1] if reaches else None
    complete = window.get("complete_at")
    if (
        newest is not None
        and isinstance(complete, str)
        and (window.get("history"), window.get("position")) == (newest.history.history, newest.position)
    ):
        reaches = with_live_end(reaches, microseconds(datetime.fromisoformat(complete)))
    return Lived(
        timelines=tuple(await tools.catalogue.timelines(cluster)),
        reaches=reaches,
        bases=bases_of(await tools.catalogue.backups(cluster)),
    )


async def by_time(tools: RestoreTools, lived: Lived, command: RestoreRequest) -> Found:
    """The point that `target_time` means. Raises Refused, StoreError."""
    target = command.target_time
    assert target is not None
    now, span = tools.clock.now(), tools.settings.point_in_time
    all_spans = points.spans(lived, now, span)
    chosen = points.span_at(all_spans, target, command.timeline)
    if chosen is None:
        wrong = points.time_refusal(
            command.cluster_id, lived, all_spans, target, now=now, span=span, timeline=command.timeline
        )
        raise Refused(wrong)
    cut = await _cut_at(tools, command.cluster_id, chosen, microseconds(target))
    way = route(lived, chosen.piece, cut.position)
    if way is None:
        raise Refused(points.base_refusal(command.cluster_id, all_spans, chosen, target))
    return Found(span=chosen, cut=cut, route=way)


async def _cut_at(tools: RestoreTools, cluster: str, span: Span, target_us: int) -> Cut:
    piece = span.piece
    first = await tools.archived.first_where(cluster, piece.history, lambda head: points.begins_after(head, target_us))
    cut: Cut | None = None
    if first is not None:
        before = await tools.archived.last_transaction(cluster, piece.history, upto=first.number - 1)
        async for ref in tools.archived.segments(cluster, piece.history, first=first.number):
            cut = points.cut_in(ref.head, await tools.archived.transactions(ref), target_us, before)
            if cut is not None:
                break
    if cut is None:
        last = await tools.archived.last_transaction(cluster, piece.history)
        cut = Cut(position=piece.reach.position, last_kept=last, first_undone=None, precision="clock")
    return Cut(
        position=points.within(piece, cut.position),
        last_kept=cut.last_kept,
        first_undone=cut.first_undone,
        precision=cut.precision,
    )


async def _by_position(tools: RestoreTools, lived: Lived, command: RestoreRequest) -> Found:
    assert command.target_position is not None
    gtid = points.parse_position(command.target_position)
    if not isinstance(gtid, Gtid):
        raise Refused(gtid)
    found: list[Found] = []
    for chosen in reversed(points.spans(lived, tools.clock.now(), tools.settings.point_in_time)):
        if command.timeline not in (None, chosen.piece.timeline):
            continue
        cut = await _cut_by(tools, command.cluster_id, chosen, gtid, before=command.before)
        if cut is None or not chosen.piece.contains(cut.position):
            continue
        way = route(lived, chosen.piece, cut.position)
        if way is not None:
            found.append(Found(span=chosen, cut=cut, route=way))
    if not found:
        raise Refused(points.position_refusal(command.cluster_id, lived, gtid, command.timeline))
    if len({one.span.piece.history for one in found}) > 1:
        raise Refused(points.ambiguous_position(command.cluster_id, gtid, [one.cut for one in reversed(found)]))
    return found[0]


async def _cut_by(tools: RestoreTools, cluster: str, span: Span, gtid: Gtid, *, before: bool) -> Cut | None:
    """The cut behind a transaction, or before it; None if this history does not hold it."""
    history = span.piece.history

    def holds(head: SegmentHead) -> bool:
        return GtidList.parse(head.to_position).holds(gtid)

    ref = await tools.archived.first_where(cluster, history, holds)
    if ref is None:
        return None
    position = GtidList.parse(ref.head.from_position)
    kept = await tools.archived.last_transaction(cluster, history, upto=ref.number - 1)
    transactions = await tools.archived.transactions(ref)
    for index, one in enumerate(transactions):
        if one.gtid == str(gtid):
            if before:
                return points.cut_between(ref.head, str(position), kept, one)
            position = position.advanced(gtid)
            following = await _following(tools, cluster, history, ref.number, transactions[index + 1 :])
            return points.cut_between(ref.head, str(position), one, following)
        position = position.advanced(Gtid.parse(one.gtid))
        kept = one
    return None


async def _following(
    tools: RestoreTools, cluster: str, history: str, number: int, rest: tuple[Transaction, ...]
) -> Transaction | None:
    """The transaction behind a place, in this segment or a later one."""
    if rest:
        return rest[0]
    async for ref in tools.archived.segments(cluster, history, first=number + 1):
        if ref.head.transactions:
            return (await tools.archived.transactions(ref))[0]
    return None


async def _segments_of(tools: RestoreTools, cluster: str, leg: Leg, opened: str | None) -> tuple[int, int]:
    """The segments that hold a leg's transactions whole: the first may begin in an earlier segment than it ends. Where
    the base knew XA transactions as prepared, `opened` is the position before the oldest PREPARE, and the segments
    from there belong to the leg."""
    after, upto = GtidList.parse(opened or leg.after), GtidList.parse(leg.upto)
    first = await tools.archived.first_where(
        cluster, leg.history, lambda head: not after.covers(GtidList.parse(head.to_position))
    )
    last = await tools.archived.first_where(
        cluster, leg.history, lambda head: GtidList.parse(head.to_position).covers(upto)
    )
    assert first is not None
    assert last is not None
    needed = next(
        (one for one in await tools.archived.transactions(first) if not after.holds(Gtid.parse(one.gtid))), None
    )
    number = first.number
    if needed is not None and needed.start < first.head.start:
        holder = await tools.archived.first_where(
            cluster,
            leg.history,
            lambda head: (head.session, head.end) > (first.head.session, needed.start),
        )
        number = holder.number if holder is not None else number
    return number, last.number


async def _origin(
    tools: RestoreTools,
    cluster: str,
    *,
    base: str,
    legs: tuple[Leg, ...],
    segments: tuple[tuple[int, int], ...],
    timeline: str,
    cut: str,
    cut_history: str,
    point: RestorePoint,
) -> Origin:
    outcome = await completed_outcome(tools, cluster, base)
    manifest = await read_manifest(tools, outcome)
    return Origin(
        source=PointSource(
            manifest=manifest,
            open_store=tools.open_store,
            legs=legs,
            segments=segments,
            states=await _states(tools, cluster, legs, segments),
        ),
        timeline=timeline,
        cut=cut,
        backup_id=base,
        cut_history=cut_history,
        cut_at=point.target_time or point.last_kept_at or manifest.snapshot_time,
        point=point,
        log=tuple(
            PinnedLog(history=leg.history, first=first, last=last)
            for leg, (first, last) in zip(legs, segments, strict=True)
        ),
        suspect=outcome.suspect,
    )


async def _states(
    tools: RestoreTools, cluster: str, legs: tuple[Leg, ...], segments: tuple[tuple[int, int], ...]
) -> dict[str, Mapping[str, Any]]:
    """What no log holds, as it was found last at or before each leg's end."""
    found: dict[str, Mapping[str, Any]] = {}
    for leg, (first, last) in zip(legs, segments, strict=True):
        upto = GtidList.parse(leg.upto)
        async for ref in tools.archived.segments(cluster, leg.history, first=first, last=last):
            for state in ref.head.states:
                if upto.covers(GtidList.parse(state.position)):
                    found[state.kind] = state.content
    return found


def _said(command: RestoreRequest, cut: Cut) -> RestorePoint:
    kept, undone = cut.last_kept, cut.first_undone
    return RestorePoint(
        target_time=command.target_time,
        last_kept=kept.gtid if kept else None,
        last_kept_at=instant(kept.time_us) if kept else None,
        first_undone=undone.gtid if undone else None,
        first_undone_at=instant(undone.time_us) if undone else None,
        precision="stamps" if cut.precision == "stamps" else "clock",
    )

"""Makes plans: asks the database and the store, and lets the rules judge."""

import asyncio

import structlog

from services.restorer.handlers.behind import Seen, count_in, look_behind
from services.restorer.handlers.connection import target_of
from services.restorer.handlers.points import read_lived
from services.restorer.handlers.sources import Origin
from services.restorer.handlers.tools import RestoreTools
from services.restorer.rules import plan as plans
from services.restorer.rules.plan import Plan, PlannedLeg, PointPlan
from tidewind.domain.gtids import GtidList
from tidewind.domain.problems import refused
from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import TargetState
from tidewind.ports.restore import PointSource, SafeguardSource, SnapshotSource, Source, SourceState
from tidewind.ports.store import StoreError, StoreUnavailable

log = structlog.get_logger()


async def make_plan(tools: RestoreTools, entry: RegistryEntry, origin: Origin, *, shown: bool) -> Plan:
    """`shown`: somebody reads it, so that it tells also what is undone. Raises Refused, DatabaseError, StoreError."""
    try:
        async with asyncio.timeout(tools.settings.plan_timeout_s):
            assert origin.source is not None
            target, source = await _looks(tools, entry, origin.source)
            seen = await _behind(tools, entry, origin, target) if shown else None
            if isinstance(origin.source, SnapshotSource):
                return plans.of_snapshot(
                    entry,
                    origin.source.manifest,
                    target,
                    source,
                    tools.assumptions,
                    point=await _point(tools, entry, origin),
                    behind=None if seen is None else seen.behind,
                    touched=None if seen is None else seen.touched,
                    looked=shown,
                    suspect=origin.suspect,
                )
            kept = tuple((str(schema), str(table)) for schema, table in kept_tables(origin))
            return plans.of_undo(
                entry,
                target,
                source,
                tools.assumptions,
                restore_id=origin.source.restore_id,
                timeline=origin.timeline,
                cut=origin.cut,
                kept_tables=kept,
                behind=None if seen is None else seen.behind,
            )
    except TimeoutError:
        limit = tools.settings.plan_timeout_s
        raise refused("database-unreachable", f"{entry.cluster_id} did not tell its state within {limit:g} s") from None


def kept_tables(origin: Origin) -> list[list[str]]:
    """The tables an undo would bring back."""
    assert isinstance(origin.source, SafeguardSource)
    for facts in origin.source.kept.values():
        if "tables" in facts and "schemas" in facts:
            found: list[list[str]] = facts["tables"]
            return found
    return []


async def _point(tools: RestoreTools, entry: RegistryEntry, origin: Origin) -> PointPlan | None:
    """What the plan says of a point: how much is replayed, counted from the heads of segments."""
    source = origin.source
    if not isinstance(source, PointSource) or origin.point is None or origin.cut_history is None:
        return None
    legs, replayed = [], 0
    for leg, (first, last) in zip(source.legs, source.segments, strict=True):
        legs.append(PlannedLeg(history=leg.history, after=leg.after, upto=leg.upto, first=first, last=last))
        after, upto = GtidList.parse(leg.after), GtidList.parse(leg.upto)
        async for ref in tools.archived.segments(entry.cluster_id, leg.history, first=first, last=last):
            replayed += await count_in(tools.archived, ref, after, upto)
    return PointPlan(
        timeline=origin.timeline,
        cut=str(origin.cut),
        cut_history=origin.cut_history,
        legs=tuple(legs),
        point=origin.point.model_dump(mode="json"),
        transactions=replayed,
    )


async def _behind(tools: RestoreTools, entry: RegistryEntry, origin: Origin, target: TargetState) -> Seen | None:
    """What lies behind the point. A log that cannot be read stops no restore of a backup, so what is wrong with it is
    said where a point of it is asked for."""
    try:
        lived = await read_lived(tools, entry.cluster_id)
        return await look_behind(tools, entry, lived, origin, target.facts.position)
    except StoreUnavailable:
        raise
    except StoreError as error:
        log.warning(str(error), action="behind-unreadable", cluster=entry.cluster_id)
        return None


async def _looks(tools: RestoreTools, entry: RegistryEntry, source: Source) -> tuple[TargetState, SourceState]:
    engine = tools.engines[entry.engine]
    target = target_of(entry)
    found = await engine.survey(target.address, target.login)
    return found, await engine.examine(
        target.address, target.login, source, keep_accounts=target.kept_users, replicas=entry.replicas
    )

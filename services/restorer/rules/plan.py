"""The plan of a restore: a value that says what would happen, computed from values alone.

`plan_hash` covers what the restore leads to (cluster, timeline, cut, base, segments), not the figures around it: rows
and free space change by the second, and must not void what somebody has confirmed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from services.restorer.rules.behind import Behind, Touched, accounts_at_point, tables_at_point
from services.restorer.rules.fates import AccountFates, TableFate, account_fates, table_fates
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import RegistryEntry
from tidewind.ports.engine import Finding, TargetState
from tidewind.ports.restore import SourceState

LISTED_TABLES = 200
LISTED_ACCOUNTS = 200

_LISTED_BLOCKERS = 20


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """Of the settings: what estimates and the space needed are computed with."""

    load_mb_per_s: float
    replay_transactions_per_s: float
    space_factor: float
    limit: timedelta
    undo_kept: timedelta


@dataclass(frozen=True, kw_only=True)
class PlannedLeg:
    """A stretch of log that will be replayed, and the segments (`first` to `last`) that hold it."""

    history: str
    after: str
    upto: str
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.history}:{self.after}..{self.upto}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restore would do. `blockers` must be empty before it may begin; `warnings` are for the reader.
    `closing` says how the cluster is closed to its users."""

    cluster_id: str
    mode: Literal["snapshot", "point_in_time", "undo"]
    plan_hash: str
    timeline: str
    cut: str | None
    base: str
    base_time: datetime | None
    segments: tuple[str, ...]
    cut_history: str | None
    point: Mapping[str, Any] | None
    legs: tuple[PlannedLeg, ...]
    undone_transactions: int | None
    undone: Behind | None
    replayed_transactions: int | None
    beta: bool
    tables: tuple[TableFate, ...]
    tables_total: int
    tables_not_listed: int
    rows_now: int
    rows_then: int | None
    accounts: AccountFates
    transactions_rolled_back: tuple[str, ...]
    connections_ended: int
    closing: str
    replicas: str
    space_needed: int
    space_free: int | None
    estimate_s: float
    estimate_replay_s: float
    limit_s: float
    way_back: str
    blockers: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in replies and events."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_json))
        return plain


def plan_hash(*, cluster: str, timeline: str, cut: str | None, base: str, segments: tuple[str, ...] = ()) -> str:
    """64 hexadecimal digits; any prefix of 6 or more confirms a plan."""
    meant = {"base": base, "cluster": cluster, "cut": cut, "segments": list(segments), "timeline": timeline}
    return hashlib.sha256(json.dumps(meant, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class PointPlan:
    """What is known of a point beside its backup. `transactions` are to be replayed."""

    timeline: str
    cut: str
    cut_history: str
    legs: tuple[PlannedLeg, ...]
    point: Mapping[str, Any]
    transactions: int


def of_snapshot(
    entry: RegistryEntry,
    manifest: Manifest,
    target: TargetState,
    source: SourceState,
    assumptions: Assumptions,
    *,
    point: PointPlan | None = None,
    behind: Behind | None = None,
    touched: Touched | None = None,
    looked: bool = True,
    suspect: tuple[str, ...] = (),
) -> Plan:
    """Restore a backup, and the log from there to a `point`. `behind` is what lies behind it, or behind the backup, and
    `touched` what that names, where it was `looked` at. `suspect`: why the backup may not hold what it should, as was
    found when it was taken."""
    then = {(table.schema_name, table.name): table.rows for table in manifest.tables}
    row_bytes = sum(table.row_bytes for table in manifest.tables)
    replay_s = point.transactions / assumptions.replay_transactions_per_s if point else 0.0
    needed = round(row_bytes * assumptions.space_factor) + (row_bytes if entry.replicas == "attached" else 0)
    return _plan(
        entry,
        target,
        source,
        assumptions,
        mode="snapshot" if point is None else "point_in_time",
        timeline=manifest.timeline if point is None else point.timeline,
        cut=manifest.position if point is None else point.cut,
        point=point,
        behind=behind,
        touched=touched if point is not None else None,
        base=manifest.backup_id,
        base_time=manifest.snapshot_time,
        then=dict(then),
        accounts=account_fates(target.account_prints, source),
        space_needed=needed,
        estimate_s=2 + 1.5 * row_bytes / (assumptions.load_mb_per_s * 1e6) + replay_s,
        estimate_replay_s=replay_s,
        blockers=_snapshot_blockers(entry, manifest),
        warnings=(
            *_suspicion(suspect),
            *_snapshot_warnings(manifest, target),
            *(_point_warnings(entry, behind, touched) if point is not None and looked else ()),
        ),
    )


def of_undo(
    entry: RegistryEntry,
    target: TargetState,
    source: SourceState,
    assumptions: Assumptions,
    *,
    restore_id: str,
    timeline: str,
    cut: str | None,
    kept_tables: tuple[tuple[str, str], ...],
    behind: Behind | None = None,
) -> Plan:
    """Bring back what a restore set aside: only names change, so it takes seconds and no space."""
    return _plan(
        entry,
        target,
        source,
        assumptions,
        mode="undo",
        timeline=timeline,
        cut=cut,
        base=restore_id,
        base_time=None,
        then=dict.fromkeys(kept_tables),
        accounts=AccountFates(),
        space_needed=0,
        behind=behind,
        estimate_s=2 + 0.005 * len(kept_tables),
        blockers=(),
        warnings=(),
    )


def _plan(
    entry: RegistryEntry,
    target: TargetState,
    source: SourceState,
    assumptions: Assumptions,
    *,
    mode: Literal["snapshot", "point_in_time", "undo"],
    timeline: str,
    cut: str | None,
    point: PointPlan | None = None,
    behind: Behind | None = None,
    touched: Touched | None = None,
    base: str,
    base_time: datetime | None,
    then: Mapping[tuple[str, str], int | None],
    accounts: AccountFates,
    space_needed: int,
    estimate_s: float,
    estimate_replay_s: float = 0.0,
    blockers: tuple[str, ...],
    warnings: tuple[str, ...],
) -> Plan:
    fates = tables_at_point(table_fates(target, then), touched)
    segments = tuple(str(leg) for leg in point.legs) if point else ()
    known = [rows for rows in then.values() if rows is not None]
    return Plan(
        cluster_id=entry.cluster_id,
        mode=mode,
        plan_hash=plan_hash(cluster=entry.cluster_id, timeline=timeline, cut=cut, base=base, segments=segments),
        timeline=timeline,
        cut=cut,
        base=base,
        base_time=base_time,
        segments=segments,
        cut_history=point.cut_history if point else None,
        point=point.point if point else None,
        legs=point.legs if point else (),
        undone_transactions=None if behind is None else behind.transactions,
        undone=behind,
        replayed_transactions=point.transactions if point else None,
        beta=point is not None,
        tables=tuple(fates[:LISTED_TABLES]),
        tables_total=len(fates),
        tables_not_listed=max(0, len(fates) - LISTED_TABLES),
        rows_now=sum(int(table["rows"]) for table in target.tables.values()),
        rows_then=sum(known) if len(known) == len(then) else None,
        accounts=accounts_at_point(accounts, touched).listed(LISTED_ACCOUNTS),
        transactions_rolled_back=target.prepared_xa,
        connections_ended=target.connections,
        closing=source.closing,
        replicas=entry.replicas,
        space_needed=space_needed,
        space_free=target.free_bytes,
        estimate_s=round(estimate_s, 1),
        estimate_replay_s=round(estimate_replay_s, 1),
        limit_s=assumptions.limit.total_seconds(),
        way_back=f"undo keeps the present data for {_days(assumptions.undo_kept)}, then removes it",
        blockers=(*_common_blockers(entry, target, source, space_needed), *blockers),
        warnings=(*_common_warnings(target, source, space_needed), *warnings),
    )


def _common_blockers(
    entry: RegistryEntry, target: TargetState, source: SourceState, space_needed: int
) -> tuple[str, ...]:
    found = [_told(finding) for finding in _findings(target, source) if finding.level == "error"]
    if target.facts.identity != entry.server_identity:
        found.append(
            f"the server that answers ({target.facts.identity}) is not the one enrolled ({entry.server_identity})"
            " → check the endpoints; if the server was replaced, say so with"
            f" tidewind cluster update {entry.cluster_id} --endpoint HOST:PORT"
        )
    if target.free_bytes is not None and target.free_bytes < space_needed:
        found.append(
            f"the database's disk has {_gb(target.free_bytes)} free; live and restored data together need"
            f" {_gb(space_needed)} more → free space"
        )
    return tuple(found)


def _findings(target: TargetState, source: SourceState) -> Iterable[Finding]:
    """Each once: both looks may see that a right is missing."""
    return dict.fromkeys((*target.findings, *source.findings))


def _told(finding: Finding) -> str:
    return finding.text + (f" → {finding.fix}" if finding.fix else "")


def _common_warnings(target: TargetState, source: SourceState, space_needed: int) -> tuple[str, ...]:
    found = [_told(finding) for finding in _findings(target, source) if finding.level == "warn"]
    if target.free_bytes is None and space_needed:
        found.append(
            f"free space on the database's disk is unknown; {_gb(space_needed)} are needed"
            " → INSTALL SONAME 'disks' lets the plan see it"
        )
    if target.prepared_xa:
        found.append(f"{len(target.prepared_xa)} prepared transactions will be rolled back for good, undo included")
    return tuple(found)


def _snapshot_blockers(entry: RegistryEntry, manifest: Manifest) -> tuple[str, ...]:
    if manifest.engine != entry.engine:
        return (f"the backup is of {manifest.engine}, the cluster runs {entry.engine}",)
    return ()


def _suspicion(reasons: tuple[str, ...]) -> tuple[str, ...]:
    if not reasons:
        return ()
    return (f"this backup is suspect: {'; '.join(reasons)} → compare it with an older one before you restore it",)


def _snapshot_warnings(manifest: Manifest, target: TargetState) -> tuple[str, ...]:
    found = [f"not in the backup: {text}" for text in manifest.unsupported[:20]]
    if manifest.server_identity != target.facts.identity:
        found.append("the backup was taken on another data directory of this cluster")
    return tuple(found)


def _point_warnings(entry: RegistryEntry, behind: Behind | None, touched: Touched | None) -> tuple[str, ...]:
    """Where the plan of a point says less than it could."""
    if behind is None:
        return ("how much is undone is not known: what was written since the point is not in the store",)
    if touched is None or touched.accounts is None:
        return (
            "which tables come and go, and which accounts change, is told by the backup, not as of the point: not all "
            "that was written since the point was looked into → see it with"
            f" tidewind changes --cluster {entry.cluster_id} --ddl",
        )
    return ()


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _days(span: timedelta) -> str:
    days = span.total_seconds() / 86400
    return f"{days:g} days" if days != 1 else "a day"


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} cannot stand in a plan")

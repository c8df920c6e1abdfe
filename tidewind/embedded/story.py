"""The story the demo tells, on a real database and with the real services: a shop, its daily backup, an accident in the
middle of business, the search for it, the way back to just before it, and the way back from that.

Nothing in it is staged but its hurry: the daily backup is due at once because the setting moves its time to one that
has gone by already. What is claimed to be equal is compared by content, with sums that were kept outside the database.
"""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

from schemas.envelope import Message
from tidewind.domain.regions import shipped_regions
from tidewind.embedded.shop import APP, BUYERS, DELETED_ORDERS, Comparison, Moment, Shop
from tidewind.embedded.stage import CREDENTIALS, Stage

CLUSTER: Final = "shop"
LATE: Final = "23:59"
BACKUP_S: Final = 60.0
ARCHIVED_S: Final = 60.0
POINT_IN_TIME: Final = (10, 6)
"""From this release on a point in time can be restored; on an older one the demo goes back to the backup."""
MANY_ROWS: Final = 1_000
_REGIONS: Final = ("eu-central-1", "us-east-1", "ap-northeast-1")

Body = Mapping[str, Any]


class NotEqual(RuntimeError):
    """What must be equal is not: the demo has found a fault in the product."""


class Teller(Protocol):
    """Speaks to the user, and to the services as any client does."""

    def chapter(self, title: str) -> None: ...

    def say(self, text: str) -> None: ...

    def proved(self, text: str) -> None: ...

    def mishap(self, text: str) -> None: ...

    async def order(self, command: str, body: Body, deed: str) -> Body:
        """Send a command and follow it to its end; the terminal event's body. Raises if it failed."""

    async def plan(self, body: Body) -> str:
        """Show the plan of a restore; its hash."""

    async def window(self, *, since: datetime, deadline_s: float) -> None:
        """Wait until everything up to an instant can be restored, and show the window."""

    async def found(self, words: str, *, since: datetime, least_rows: int, deadline_s: float) -> str:
        """Look through what was written since, until a statement with these words is among it; show all statements, and
        what wrote so many rows. The position of the statement."""

    async def backup(self, causes: frozenset[str], *, since: datetime, deadline_s: float) -> Message:
        """Follow the next backup of the cluster that began since then; its completed event."""


@dataclass
class Timings:
    """How long each part took, in seconds, in the order of the story."""

    parts: list[tuple[str, float]] = field(default_factory=list)

    def note(self, name: str, began: float) -> None:
        self.parts.append((name, time.monotonic() - began))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """`trade_s`: how long the shop sells before the accident, and half as long after it."""

    trade_s: float


async def tell(stage: Stage, teller: Teller, pace: Pace, timings: Timings) -> None:
    """The whole story. Raises NotEqual, and whatever the commands raise."""
    password = secrets.token_urlsafe(12)
    shop = Shop(stage.database, password=password)
    try:
        await _open_shop(shop, teller, timings)
        zone = await _enroll(stage, teller, timings)
        backup = await _back_up(shop, teller, timings, zone)
        accident = await _accident(shop, teller, pace)
        before = await shop.picture()
        target = await _search(teller, timings, accident, backup)
        restored = await _restore(shop, teller, timings, target, accident=accident, backup=backup, password=password)
        await _undo(shop, teller, timings, restored, before)
    finally:
        await shop.abandon()


async def _open_shop(shop: Shop, teller: Teller, timings: Timings) -> None:
    teller.chapter("A shop")
    began = time.monotonic()
    rows = await shop.open()
    shop.trade()
    timings.note("making the shop", began)
    teller.say(f"{rows:,} rows in 5 tables with foreign keys, a view, a function; {BUYERS} customers buy all the time")


async def _enroll(stage: Stage, teller: Teller, timings: Timings) -> str:
    teller.chapter("Protect it")
    began = time.monotonic()
    region, zone = _region(datetime.now(UTC))
    await teller.order(
        "tidewind.cluster.enroll.v1",
        {
            "cluster_id": CLUSTER,
            "engine": "mariadb",
            "region": region,
            "endpoints": [{"host": stage.database.host, "port": stage.database.port}],
            "credentials": CREDENTIALS,
            "setting": {"backup_time": LATE, "retention_days": 7},
        },
        f"enrol {CLUSTER}",
    )
    timings.note("enrolling", began)
    teller.say(f"from now on: a backup every day at {LATE} in {zone}, kept for at least 7 days")
    return zone


async def _back_up(shop: Shop, teller: Teller, timings: Timings, zone: str) -> Body:
    teller.chapter("The daily backup, brought forward")
    earlier = (datetime.now(ZoneInfo(zone)) - timedelta(minutes=1)).strftime("%H:%M")
    teller.say(f"today's backup moves from {LATE} to {earlier}, which has gone by: so it is due at once")
    since = datetime.now(UTC)
    began = time.monotonic()
    await teller.order(
        "tidewind.backup-setting.set.v1",
        {"cluster_id": CLUSTER, "backup_time": earlier, "retention_days": 7},
        f"set the backups of {CLUSTER}",
    )
    sold = shop.sold
    completed = await teller.backup(frozenset({"slot"}), since=since, deadline_s=BACKUP_S)
    shop.check()
    timings.note("the daily backup", began)
    data = completed.data or {}
    stall = data.get("writer_stall_ms")
    waited = f"; the longest any had to wait for it: {stall:.1f} ms" if isinstance(stall, int | float) else ""
    teller.say(f"{shop.sold - sold:,} purchases were made meanwhile{waited}")
    return data


@dataclass(frozen=True, kw_only=True)
class Accident:
    """`since`: when business was still as it should be. `before` and `after`: the shop just before and just after the
    first of its statements; `searchable`: whether this server can be put back to a point in time."""

    since: datetime
    before: Moment
    after: Moment
    searchable: bool


async def _accident(shop: Shop, teller: Teller, pace: Pace) -> Accident:
    teller.chapter("Business goes on, then: oops")
    searchable = await shop.release() >= POINT_IN_TIME
    sold, since = shop.sold, datetime.now(UTC)
    await asyncio.sleep(pace.trade_s)
    if searchable:
        await teller.window(since=since, deadline_s=ARCHIVED_S)
    shop.check()
    teller.say(f"{shop.sold - sold:,} more purchases, and in the middle of it somebody is tired:")
    since = datetime.now(UTC)
    before, after = await shop.accident(secrets.token_urlsafe(12))
    teller.mishap("DROP TABLE coupons;")
    teller.mishap(f"DELETE FROM orders WHERE buyer = {BUYERS} AND number <= {DELETED_ORDERS};")
    teller.mishap(f"ALTER USER '{APP}' IDENTIFIED BY …;           (and now the shop cannot log in)")
    sold = shop.sold
    await asyncio.sleep(pace.trade_s / 2)
    await shop.rest()
    teller.say(f"{shop.sold - sold:,} purchases later somebody notices")
    return Accident(since=since, before=before, after=after, searchable=searchable)


async def _search(teller: Teller, timings: Timings, accident: Accident, backup: Body) -> Body:
    """Just before the accident, or the backup where only backups can be restored."""
    if not accident.searchable:
        teller.say("this MariaDB is older than 10.6: it goes back to the backup, not to just before the accident")
        return {"mode": "snapshot", "backup_id": backup["backup_id"]}
    teller.chapter("What happened?")
    began = time.monotonic()
    position = await teller.found("DROP TABLE", since=accident.since, least_rows=MANY_ROWS, deadline_s=ARCHIVED_S)
    timings.note("finding the accident", began)
    return {"mode": "point_in_time", "target_position": position, "before": True}


async def _restore(
    shop: Shop, teller: Teller, timings: Timings, target: Body, *, accident: Accident, backup: Body, password: str
) -> Body:
    teller.chapter("Back, to just before it" if accident.searchable else "Back")
    target = {"cluster_id": CLUSTER, **target}
    plan_hash = await teller.plan(target)
    since = datetime.now(UTC)
    began = time.monotonic()
    completed = await teller.order(
        "tidewind.restore.request.v1", {**target, "plan_hash": plan_hash}, f"restore {CLUSTER}"
    )
    timings.note("the restore", began)
    _closed(timings, "  closed for", completed)
    found = await shop.compare()
    _require_equal(found, teller, "equal to what the shop's own books say of that moment")
    if accident.searchable:
        _require_nothing_lost(found, accident, teller)
    if not await shop.admits(password):
        raise NotEqual("the application's old password is refused after the restore")
    teller.proved("the password of before the accident works again")
    base = (await teller.backup(frozenset({"base"}), since=since, deadline_s=BACKUP_S)).data or {}
    if base.get("tables") != backup.get("tables"):
        raise NotEqual(f"the base after the restore holds {base.get('tables')} tables, not {backup.get('tables')}")
    teller.say("opening ordered a new base backup by itself")
    return completed


def _require_nothing_lost(found: Comparison, accident: Accident, teller: Teller) -> None:
    """Everything that was committed before the accident is there, and nothing that began after it."""
    bounds = zip(accident.before.committed, found.done, accident.after.begun, strict=True)
    if any(not committed <= done <= begun for committed, done, begun in bounds):
        raise NotEqual(
            f"of purchases {found.done} were restored; {accident.before.committed} were committed before the accident, "
            f"and {accident.after.begun} had begun when it was done"
        )
    teller.proved(
        f"every one of the {sum(accident.before.committed):,} purchases before the accident is there: nothing else lost"
    )


async def _undo(shop: Shop, teller: Teller, timings: Timings, restored: Body, before: Mapping[str, Any]) -> None:
    teller.chapter("And back from that")
    await shop.resume()
    shop.trade()
    sold = shop.sold
    while shop.sold < sold + 50:
        shop.check()
        await asyncio.sleep(0.02)
    await shop.rest()
    teller.say(f"{shop.sold - sold:,} purchases on the restored data; then somebody wants the other state after all")
    began = time.monotonic()
    undone = await teller.order(
        "tidewind.restore.undo.v1",
        {"cluster_id": CLUSTER, "restore_id": restored["restore_id"]},
        f"undo {restored['restore_id']}",
    )
    timings.note("the undo", began)
    _closed(timings, "  closed for", undone)
    after = await shop.picture()
    differing = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    if differing:
        raise NotEqual(f"after the undo these differ from just before the restore: {', '.join(differing)}")
    teller.proved(f"all {len(after)} things compared are as just before the restore: contents, definitions, accounts")


def _require_equal(found: Comparison, teller: Teller, claim: str) -> None:
    if found.differing:
        raise NotEqual(f"after the restore the content of {', '.join(found.differing)} is not what it must be")
    teller.proved(
        f"{found.rows:,} rows of {found.tables} tables, {found.transactions:,} live purchases among them: {claim}"
    )


def _closed(timings: Timings, name: str, completed: Body) -> None:
    timings.parts.append((name, float(completed["closed_ms"]) / 1000))


def _region(now: datetime) -> tuple[str, str]:
    """A region where it is neither just past midnight nor nearly midnight: there today's backup is still owed."""
    table = shipped_regions()
    for region in _REGIONS:
        if 1 <= now.astimezone(ZoneInfo(table[region])).hour <= 22:
            return region, table[region]
    raise AssertionError("it cannot be midnight in all of these at once")

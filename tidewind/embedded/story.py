"""The story the demo tells, on a real database and with the real services: a shop, its daily backup, an accident, the
way back, and the way back from that.

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
from tidewind.embedded.shop import APP, BUYERS, Comparison, Shop
from tidewind.embedded.stage import CREDENTIALS, Stage

CLUSTER: Final = "shop"
LATE: Final = "23:59"
BACKUP_S: Final = 60.0
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
    """`trade_s`: how long the shop sells before the accident."""

    trade_s: float


async def tell(stage: Stage, teller: Teller, pace: Pace, timings: Timings) -> None:
    """The whole story. Raises NotEqual, and whatever the commands raise."""
    password = secrets.token_urlsafe(12)
    shop = Shop(stage.database, password=password)
    try:
        await _open_shop(shop, teller, timings)
        zone = await _enroll(stage, teller, timings)
        backup = await _back_up(shop, teller, timings, zone)
        await _accident(shop, teller, pace)
        before = await shop.picture()
        restored = await _restore(shop, teller, timings, backup, password)
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


async def _accident(shop: Shop, teller: Teller, pace: Pace) -> None:
    teller.chapter("Business goes on, then: oops")
    sold = shop.sold
    await asyncio.sleep(pace.trade_s)
    await shop.rest()
    teller.say(f"{shop.sold - sold:,} more purchases")
    await shop.accident(secrets.token_urlsafe(12))
    teller.mishap("DROP TABLE coupons;")
    teller.mishap("UPDATE customers SET balance_cents = 0;      (the WHERE is missing)")
    teller.mishap(f"ALTER USER '{APP}' IDENTIFIED BY …;           (and now the shop cannot log in)")


async def _restore(shop: Shop, teller: Teller, timings: Timings, backup: Body, password: str) -> Body:
    teller.chapter("Back")
    target = {"cluster_id": CLUSTER, "mode": "snapshot", "backup_id": backup["backup_id"]}
    plan_hash = await teller.plan(target)
    since = datetime.now(UTC)
    began = time.monotonic()
    completed = await teller.order(
        "tidewind.restore.request.v1", {**target, "plan_hash": plan_hash}, f"restore {CLUSTER}"
    )
    timings.note("the restore", began)
    _closed(timings, "  closed for", completed)
    _require_equal(await shop.compare(), teller, "equal to what the shop's own books say of that moment")
    if not await shop.admits(password):
        raise NotEqual("the application's old password is refused after the restore")
    teller.proved("the password of before the accident works again")
    base = (await teller.backup(frozenset({"base"}), since=since, deadline_s=BACKUP_S)).data or {}
    if base.get("tables") != backup.get("tables"):
        raise NotEqual(f"the base after the restore holds {base.get('tables')} tables, not {backup.get('tables')}")
    teller.say("opening ordered a new base backup by itself")
    return completed


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

"""The server's clock at both ends of a restore: which timeline an instant belongs to depends on nothing else."""

from datetime import UTC, datetime
from typing import Any

from tidewind.engines.mariadb.restore import gate, ways_out
from tidewind.ports.engine import RestoreScope

CLOCK = datetime(2026, 11, 23, 1, 58, 0, 250000, tzinfo=UTC)
SCOPE = RestoreScope(
    cluster_id="shop", restore_id="rst_0123456789", job_id="job", operation=1, epoch=1, replicas="attached"
)


class Memory:
    def __init__(self, **kept: dict[str, Any]) -> None:
        self.kept = kept

    async def get(self, name: str) -> dict[str, Any] | None:
        return self.kept.get(name)

    async def keep(self, name: str, facts: dict[str, Any]) -> dict[str, Any]:
        return self.kept.setdefault(name, facts)


class Link:
    """A server where nobody is connected and nothing is there; `said` is what happened, in order."""

    id = 1
    logged = True

    def __init__(self) -> None:
        self.said: list[str] = []

    async def run(self, sql: str) -> int:
        self.said.append(sql)
        return 0

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [("", "0")] if "init_connect" in sql else []

    async def value(self, sql: str) -> Any:
        self.said.append(sql)
        return {
            "SELECT @@GLOBAL.log_bin": 1,
            "SELECT @@GLOBAL.gtid_binlog_pos": "0-1-50",
            "SELECT UTC_TIMESTAMP(6)": CLOCK.replace(tzinfo=None),
        }[sql]

    def unlogged(self) -> "Link":
        return self

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *_: object) -> None:
        pass


class Doors:
    def __init__(self, link: Link) -> None:
        self.link = link

    async def prepare(self, stage: object) -> None:
        pass

    async def close(self) -> None:
        self.link.said.append("closed")

    async def remember(self, stage: object) -> None:
        self.link.said.append("remembered")

    async def open(self, wanted: str) -> None:
        self.link.said.append("opened")

    async def by_hand(self) -> tuple[str, ...]:
        return ()


async def test_the_gate_reads_the_servers_clock_once_nobody_is_left() -> None:
    link = Link()
    memory = Memory(**{gate.KEPT_EVENTS: {"events": []}})
    closed = await gate.close(link, SCOPE, Doors(link), keep_users=(), fill_target=None, memory=memory)  # type: ignore[arg-type]
    assert (closed.position, closed.clock) == ("0-1-50", CLOCK)
    assert link.said.index("SELECT UTC_TIMESTAMP(6)") > link.said.index("remembered")


async def test_the_opening_has_the_servers_clock_of_before_the_first_user_and_a_successor_the_same() -> None:
    link, memory = Link(), Memory()
    opened = await ways_out.open_up(link, SCOPE, Doors(link), memory)  # type: ignore[arg-type]
    assert (opened.position, opened.clock) == ("0-1-50", CLOCK)
    assert link.said.index("SELECT UTC_TIMESTAMP(6)") < link.said.index("opened")
    link.said.clear()
    assert await ways_out.open_up(link, SCOPE, Doors(link), memory) == opened  # type: ignore[arg-type]
    assert link.said == ["opened"]


async def test_an_opening_that_an_earlier_release_kept_has_no_clock() -> None:
    link, memory = Link(), Memory(**{ways_out.KEPT_OPENING: {"position": "0-1-50"}})
    opened = await ways_out.open_up(link, SCOPE, Doors(link), memory)  # type: ignore[arg-type]
    assert (opened.position, opened.clock) == ("0-1-50", None)

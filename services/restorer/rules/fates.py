"""What becomes of tables and accounts, by how a backup has them and how the server has them now. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tidewind.ports.engine import TargetState
from tidewind.ports.restore import SourceState

Fate = Literal["replaced", "disappears", "returns"]


@dataclass(frozen=True, kw_only=True)
class TableFate:
    """What becomes of a table. `rows_now` is the server's estimate; `rows_then`, of the backup, is None where only the
    table moves, or where the backup has none."""

    schema: str
    table: str
    fate: Fate
    rows_now: int | None
    rows_then: int | None


@dataclass(frozen=True, kw_only=True)
class AccountFates:
    """None of these lists is known where the server would not tell."""

    appear: tuple[str, ...] = ()
    disappear: tuple[str, ...] = ()
    change: tuple[str, ...] = ()

    def listed(self, most: int) -> "AccountFates":
        """The first of each."""
        return AccountFates(
            appear=self.appear[:most],
            disappear=self.disappear[:most],
            change=self.change[:most],
        )


def table_fates(target: TargetState, then: Mapping[tuple[str, str], int | None]) -> list[TableFate]:
    """Largest difference first, so that a list cut short shows what matters."""
    fates = []
    for schema, table in sorted({*target.tables, *then}):
        now = target.tables.get((schema, table))
        fate: Fate = "replaced" if now and (schema, table) in then else "disappears" if now else "returns"
        rows_now = int(now["rows"]) if now else None
        fates.append(
            TableFate(schema=schema, table=table, fate=fate, rows_now=rows_now, rows_then=then.get((schema, table)))
        )
    return sorted(fates, key=lambda one: -abs((one.rows_now or 0) - (one.rows_then or 0)))


def account_fates(now: Mapping[str, str], source: SourceState) -> AccountFates:
    """Nothing of the service's own accounts: a restore leaves them alone."""
    if source.account_prints is None or not now:
        return AccountFates()
    now, then = (
        {name: value for name, value in prints.items() if user_of(name) not in source.kept_users}
        for prints in (now, source.account_prints)
    )
    return AccountFates(
        appear=tuple(sorted(then.keys() - now.keys())),
        disappear=tuple(sorted(now.keys() - then.keys())),
        change=tuple(sorted(name for name in now.keys() & then.keys() if now[name] != then[name])),
    )


def user_of(account: str) -> str:
    """Of 'user'@'host', or of a role, which stands without a host."""
    return account.rpartition("@")[0].strip("'") or account.strip("'")

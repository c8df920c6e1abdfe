"""Account statements while the gate is closed: whatever one does, the server is closed behind it.

While the gate is closed every account but ours is locked, and the row of each says under a key of ours whether it was
locked before. A statement that makes an account, or unlocks one, leaves a row without that key: such rows are locked at
once. A statement that names the lock itself is run between taking our locks off (in the table alone: what is in force
stays) and putting them back.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from tidewind.engines.mariadb.quoting import quote_name, text_literals
from tidewind.engines.mariadb.replay.rewrite import locks_accounts
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.accounts import LOCKED_BEFORE
from tidewind.engines.mariadb.restore.names import ACCOUNT_TABLES
from tidewind.engines.mariadb.restore.statements import path

Ask = Callable[[str], list[tuple[object, ...]]]
_LIVE: Final = "mysql.global_priv"
_WITH_GRANTOR: Final = ("tables_priv", "procs_priv", "proxies_priv")
_OURS: Final = names.MINTED_PATTERN.removesuffix("$") + "@"


class KeptShut:
    """`ask` runs a statement of ours; `spared` are users whose rows stay what the restore wants of them."""

    def __init__(self, ask: Ask, restore_id: str, spared: tuple[str, ...]) -> None:
        self._ask = ask
        self._restore_id = restore_id
        self._spared = spared

    @contextlib.contextmanager
    def around(self, text: bytes) -> Iterator[None]:
        """Raises DatabaseError."""
        self._administer_roles()
        if locks_accounts(text):
            self._ask(unmark(_LIVE))
        try:
            yield
        finally:
            self.shut()

    def _administer_roles(self) -> None:
        """No right covers GRANT and REVOKE of a role: only who administers it may. Our rows go with our account."""
        of_ours = (
            f"FROM mysql.global_priv o JOIN mysql.global_priv r WHERE o.User REGEXP '{names.MINTED_PATTERN}' "
            "AND JSON_VALUE(r.Priv, '$.is_role') IS NOT NULL AND NOT EXISTS (SELECT 1 FROM mysql.roles_mapping m "
            "WHERE m.Host = o.Host AND m.User = o.User AND m.Role = r.User AND m.Admin_option = 'Y')"
        )
        if self._ask(f"SELECT 1 {of_ours} LIMIT 1"):
            self._ask(
                "REPLACE INTO mysql.roles_mapping (Host, User, Role, Admin_option) "
                f"SELECT o.Host, o.User, r.User, 'Y' {of_ours}"
            )
            self._ask("FLUSH PRIVILEGES")

    def shut(self) -> None:
        """Lock what is not locked, and give the spared users their rows again. Raises DatabaseError."""
        wanted = text_literals(self._spared)
        for table in ACCOUNT_TABLES:
            live = f"mysql.{quote_name(table)}"
            kept = path((names.WORK_SCHEMA, names.account_table(self._restore_id, "target", table)))
            self._ask(f"DELETE FROM {live} WHERE User IN ({wanted})")
            self._ask(f"INSERT INTO {live} SELECT * FROM {kept} WHERE User IN ({wanted})")
        for table in _WITH_GRANTOR:
            self._ask(f"UPDATE mysql.{table} SET Grantor = '' WHERE Grantor REGEXP '{_OURS}'")
        self._ask(f"DELETE FROM {_LIVE} WHERE User = ''")
        self._ask(mark(_LIVE, self._spared))
        self._ask("FLUSH PRIVILEGES")


def mark(table: str, spared: tuple[str, ...]) -> str:
    """Lock the rows that are not marked as locked by us, but for the spared and the restore's own."""
    return (
        f"UPDATE {table} SET Priv = JSON_SET(Priv, '{LOCKED_BEFORE}', "
        "COALESCE(JSON_VALUE(Priv, '$.account_locked'), 0) = 1, '$.account_locked', true) "
        f"WHERE User NOT IN ({text_literals(spared)}) AND User NOT REGEXP '{names.MINTED_PATTERN}' "
        f"AND JSON_VALUE(Priv, '$.is_role') IS NULL AND JSON_VALUE(Priv, '{LOCKED_BEFORE}') IS NULL"
    )


def unmark(table: str) -> str:
    """Every row as it is without our lock."""
    return (
        f"UPDATE {table} SET Priv = JSON_REMOVE(IF(JSON_VALUE(Priv, '{LOCKED_BEFORE}') = 1, "
        "JSON_SET(Priv, '$.account_locked', true), JSON_REMOVE(Priv, '$.account_locked')), "
        f"'{LOCKED_BEFORE}') WHERE JSON_VALUE(Priv, '{LOCKED_BEFORE}') IS NOT NULL"
    )

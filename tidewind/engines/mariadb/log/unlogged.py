"""What no log holds and a restore needs nevertheless: global variables, servers, plugins. Looked at again and again.

Fetching hundreds of variables from hundreds of clusters every few seconds would cost more than capturing them. So the
server is asked for a digest, and for everything only where that has changed.

Contents: `variables` maps lower-case names to values as text, or None; `servers` maps each name of CREATE SERVER to its
columns; `plugins` maps each plugin that was installed while the server ran to its library.
"""

from typing import Any, Final

from tidewind.domain.log_stream import State, StateKind
from tidewind.engines.mariadb.connection import Control
from tidewind.engines.mariadb.quoting import text_literals
from tidewind.engines.mariadb.variables import NEVER, NEVER_PREFIXES, read_variables
from tidewind.ports.engine import DatabaseError

KINDS: Final[tuple[StateKind, ...]] = ("variables", "servers", "plugins")

_DIGEST: Final = "COUNT(*), BIT_XOR(CONV(LEFT(MD5({text}), 16), 16, 10)), SUM(CRC32({text}))"
_SETTABLE: Final = (
    "information_schema.SYSTEM_VARIABLES WHERE READ_ONLY = 'NO' AND VARIABLE_SCOPE IN ('GLOBAL', 'SESSION')"
    " AND GLOBAL_VALUE IS NOT NULL AND LOWER(VARIABLE_NAME) NOT IN ({names}){prefixes}"
)


class Unlogged:
    """Of one server, over one connection."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: dict[StateKind, tuple[tuple[Any, ...], dict[str, Any]]] = {}

    async def look(self, kind: StateKind) -> State | None:
        """As it is now; None where the account may not see it. Raises DatabaseError."""
        try:
            position, time_us, *digest = (await self._control.rows(_digest_query(kind)))[0]
            known = self._known.get(kind)
            if known is None or known[0] != tuple(digest):
                known = tuple(digest), await self._content(kind)
                self._known[kind] = known
        except DatabaseError as error:
            if error.kind == "database-rights-missing":
                return None
            raise
        return State(kind=kind, position=str(position or ""), time_us=int(time_us), content=known[1])

    async def _content(self, kind: StateKind) -> dict[str, Any]:
        if kind == "variables":
            values, _ = await read_variables(self._control)
            return dict(values)
        if kind == "servers":
            rows = await self._control.records("SELECT * FROM mysql.servers ORDER BY Server_name")
            return {str(row["Server_name"]): {name: _plain(value) for name, value in row.items()} for row in rows}
        found = await self._control.rows("SELECT name, dl FROM mysql.plugin ORDER BY name")
        return {str(name): str(library) for name, library in found}


def _digest_query(kind: StateKind) -> str:
    """The position and the clock are read first: what is found is that of then or later."""
    if kind == "variables":
        prefixes = "".join(
            f" AND VARIABLE_NAME NOT LIKE '{one.replace('_', chr(92) + '_')}%'" for one in NEVER_PREFIXES
        )
        source = _SETTABLE.format(names=text_literals(sorted(NEVER)), prefixes=prefixes)
        text = "CONCAT_WS('=', VARIABLE_NAME, GLOBAL_VALUE)"
    elif kind == "servers":
        source = "mysql.servers"
        text = "CONCAT_WS('|', HEX(Server_name), HEX(Host), HEX(Db), HEX(Username), HEX(Password), Port, HEX(Socket),"
        text += " HEX(Wrapper), HEX(Owner))"
    else:
        source, text = "mysql.plugin", "CONCAT_WS('|', HEX(name), HEX(dl))"
    return (
        "SELECT @@global.gtid_binlog_pos, ROUND(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000),"
        f" {_DIGEST.format(text=text)} FROM {source}"
    )


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else str(value)

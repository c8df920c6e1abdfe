"""Global variables: put back by SET GLOBAL where they differ."""

from collections.abc import Mapping

from tidewind.engines.mariadb.quoting import quote_name, text_literal
from tidewind.engines.mariadb.restore.link import Link
from tidewind.ports.engine import DatabaseError

HELD_BY_THE_RESTORE = frozenset({"init_connect", "local_infile"})
"""Put back when the cluster opens, because the gate needs them."""
_NUMERIC = ("INT", "BIGINT", "DOUBLE", "BOOLEAN")


async def settable(link: Link) -> dict[str, tuple[str, str]]:
    """Name to (type, present value) of every global variable that can be set while the server runs."""
    found = await link.rows(
        "SELECT LOWER(VARIABLE_NAME), VARIABLE_TYPE, GLOBAL_VALUE FROM information_schema.SYSTEM_VARIABLES "
        "WHERE READ_ONLY = 'NO' AND GLOBAL_VALUE IS NOT NULL"
    )
    return {str(name): (str(kind), str(value)) for name, kind, value in found}


async def apply(link: Link, wanted: Mapping[str, str | None]) -> list[str]:
    """Set what differs. Returns those the server would not take, with its reason: a variable of an older version, or
    one that another one rules out."""
    refused: list[str] = []
    present = await settable(link)
    for name, value in sorted(wanted.items()):
        if name in HELD_BY_THE_RESTORE or name not in present or value is None or present[name][1] == value:
            continue
        try:
            await link.run(f"SET GLOBAL {quote_name(name)} = {literal(present[name][0], value)}")
        except DatabaseError as error:
            if error.kind == "database-unreachable":
                raise
            refused.append(f"{name}: {error.detail}")
    return refused


def literal(kind: str, value: str) -> str:
    """The value as SET GLOBAL takes it for a variable of this type."""
    numeric = kind.upper().startswith(_NUMERIC) and value.lstrip("+-").replace(".", "", 1).isdigit()
    return value if numeric else text_literal(value)

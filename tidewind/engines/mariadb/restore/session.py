"""The session under which a definition was made, and must be made again."""

from collections.abc import Mapping

from tidewind.engines.mariadb.quoting import quote_name, text_literal
from tidewind.engines.mariadb.restore.link import Link

_DEFAULTS = {
    "character_set_client": "utf8mb4",
    "collation_connection": "utf8mb4_general_ci",
    "sql_mode": "",
    "time_zone": "+00:00",
}


async def set_session(link: Link, settings: Mapping[str, str]) -> None:
    """Put these session variables in force, and the ones every restore works under where they are not among them."""
    wanted = {**_DEFAULTS, **settings}
    assigned = ", ".join(f"SESSION {quote_name(name)} = {text_literal(value)}" for name, value in wanted.items())
    await link.run(f"SET {assigned}")

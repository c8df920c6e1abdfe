"""The session under which a logged statement ran, as SET statements that make it again. Pure.

What an event does not say is set to the default the server itself assumes for it, so that no statement inherits what an
earlier one set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.log.statements import Query, QueryContext

_FLAGS: Final = (
    ("foreign_key_checks", 1 << 26, True),
    ("unique_checks", 1 << 27, True),
    ("check_constraint_checks", 1 << 15, True),
    ("sql_auto_is_null", 1 << 14, False),
    ("sql_if_exists", 1 << 28, False),
    ("explicit_defaults_for_timestamp", 1 << 24, False),
)
"""Variable, bit of flags2, whether the bit means off."""
SUPPRESS_USE: Final = 0x8
_UTF8_CLIENT: Final = (33, 33, 8)


_INSERT_HISTORY: Final = 1 << 30


@dataclass(frozen=True)
class Knows:
    """What the server knows of contexts beyond what all do. `collations`: number to (character set, collation), None
    if it has no defaults by character set (before 11.2)."""

    insert_history: bool = False
    collations: Mapping[int, tuple[str, str]] | None = None


def settings(query: Query, *, stamp: int, knows: Knows) -> bytes:
    """The SET statement. `stamp` is the event's, in seconds. ValueError for a collation the server does not know."""
    context = query.context
    flags = context.flags2 or 0
    micro = context.microseconds or 0
    assigned = [f"timestamp = {stamp}.{micro:06d}"]
    assigned += [f"{name} = {int(bool(flags & bit) != negated)}" for name, bit, negated in _FLAGS]
    if context.sql_mode is not None:
        assigned.append(f"sql_mode = {context.sql_mode}")
    increment, offset = context.auto_increment
    assigned += [f"auto_increment_increment = {increment}", f"auto_increment_offset = {offset}"]
    client, connection, server = context.charset or _UTF8_CLIENT
    assigned += [f"character_set_client = {client}", f"collation_connection = {connection}"]
    assigned.append(f"collation_server = {server}")
    assigned.append(f"lc_time_names = {context.lc_time_names}")
    database = context.charset_database
    assigned.append(f"collation_database = {'DEFAULT' if database is None else database}")
    assigned.append("time_zone = " + ("DEFAULT" if context.time_zone is None else f"'{_plain(context.time_zone)}'"))
    if knows.insert_history:
        assigned.append(f"system_versioning_insert_history = {int(bool(flags & _INSERT_HISTORY))}")
    if knows.collations is not None:
        assigned.append(f"character_set_collations = '{_collations(context, knows.collations)}'")
    return ("SET " + ", ".join(f"SESSION {one}" for one in assigned)).encode()


def _collations(context: QueryContext, known: Mapping[int, tuple[str, str]]) -> str:
    """The default collation of each character set for which the session had one of its own."""
    named = []
    for charset, collation in context.charset_collations:
        if charset not in known or collation not in known:
            raise ValueError(f"collation {collation} is not known to this server")
        named.append(f"{known[charset][0]}={known[collation][1]}")
    return ",".join(named)


def _plain(zone: str) -> str:
    """A time zone's name needs no quoting but that of a quote."""
    return zone.replace("\\", "").replace("'", "")

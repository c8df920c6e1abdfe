"""The session under which a logged statement ran, as SET statements that make it again. Pure.

What an event does not say is set to the default the server itself assumes for it, so that no statement inherits what an
earlier one set.
"""

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


def settings(query: Query, *, stamp: int, insert_history_bit: int | None = None) -> tuple[bytes, ...]:
    """The SET statements. `stamp` is the event's, in seconds."""
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
    if insert_history_bit is not None:
        assigned.append(f"system_versioning_insert_history = {int(bool(flags & insert_history_bit))}")
    return ("SET " + ", ".join(f"SESSION {one}" for one in assigned)).encode(), *_collations(context)


def _collations(context: QueryContext) -> tuple[bytes, ...]:
    """Only servers from 11.2 on know the variable, and only they write it."""
    return ()


def _plain(zone: str) -> str:
    """A time zone's name needs no quoting but that of a quote."""
    return zone.replace("\\", "").replace("'", "")

"""Bodies of real events, from logs that servers of four releases wrote."""

import zlib
from itertools import islice

import pytest

from tests.golden.binlogs import RELEASES, recorded
from tidewind.engines.mariadb.log import events
from tidewind.engines.mariadb.log.compression import decompress, plain_event
from tidewind.engines.mariadb.log.cursor import Cursor, EventDamaged
from tidewind.engines.mariadb.log.events import FormatDescription, iterate
from tidewind.engines.mariadb.log.rows import STATEMENT_END, parse_rows
from tidewind.engines.mariadb.log.statements import (
    NO_FOREIGN_KEY_CHECKS,
    Query,
    parse_context,
    parse_intvar,
    parse_load_query,
    parse_query,
    parse_rand,
    parse_user_var,
)
from tidewind.engines.mariadb.log.tables import RowCounts, count_rows, decimal_bytes, parse_table_map, split_rows


def description_of(log: bytes) -> FormatDescription:
    return events.parse_format_description(log[: events.parse_header(log).length])


def queries(log: bytes) -> list[tuple[events.GtidEvent, Query]]:
    found = []
    for event in iterate(log):
        if event.type == events.GTID:
            gtid = events.parse_gtid(event.header, event.body)
        elif event.type in events.QUERIES:
            found.append((gtid, parse_query(event.type, event.body)))
    return found


def the_query(log: bytes, beginning: bytes) -> tuple[events.GtidEvent, Query]:
    return next((gtid, query) for gtid, query in queries(log) if query.text.startswith(beginning))


@pytest.mark.parametrize("release", RELEASES)
def test_every_row_is_found_in_its_table(release: str) -> None:
    log = recorded(release)
    description = description_of(log)
    assert description.server_version.startswith(release)
    assert description.checksum_bytes == 4
    tables, counts, ends = {}, {}, 0
    for event in iterate(log):
        if event.type == events.TABLE_MAP:
            table = parse_table_map(event.body)
            tables[table.table_id] = table
        elif event.type in events.ROWS:
            header = parse_rows(event.type, event.body, description)
            table = tables[header.table_id]
            counts[table.table] = counts.get(table.table, RowCounts()) + count_rows(header, table)
            assert b"".join(bytes(one) + bytes(two or b"") for one, two in split_rows(header, table)) == header.rows
            ends += header.flags & STATEMENT_END
    assert counts == {
        b"every_type": RowCounts(4, 4, 2),
        b"parent": RowCounts(7, 0, 1),
        b"child": RowCounts(7, 0, 0),
        b"plain": RowCounts(10, 0, 0),
        b"kept": RowCounts(1, 0, 0),
        b"copy": RowCounts(4, 0, 0),
        b"numbers": RowCounts(2, 0, 0),
        b"versioned": RowCounts(2, 2, 0),
        b"packed": RowCounts(2, 2, 1),
    }
    assert ends > 20


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_compressed_comes_out_plain(release: str) -> None:
    log = recorded(release)
    description = description_of(log)
    found = [event for event in iterate(log) if event.type in events.PLAIN_OF_COMPRESSED]
    assert {event.type for event in found} == {165, 166, 167, 168}
    for event in found:
        [plain] = iterate(plain_event(event, description), description)
        assert plain.type == events.PLAIN_OF_COMPRESSED[event.type]
        if event.type == events.QUERY_COMPRESSED:
            assert parse_query(plain.type, plain.body) == parse_query(event.type, event.body)
            assert parse_query(plain.type, plain.body).text.startswith(b"CREATE TABLE packed")
        else:
            one, two = (parse_rows(each.type, each.body, description) for each in (event, plain))
            assert one == two
    [first, *_] = iterate(log)
    assert plain_event(first, description) == first.raw


def test_two_phases_of_an_alter() -> None:
    log = recorded("10.11")
    alters = [
        (gtid.sequence, gtid.extra_flags & 14, gtid.alter_start)
        for gtid, query in queries(log)
        if query.text.startswith(b"ALTER TABLE parent ADD") and b"note" not in query.text
    ]
    (start, _, _), (_, _, committed), (failing, _, _), (_, _, rolled_back) = alters
    assert [flags for _, flags, _ in alters] == [
        events.ALTER_START,
        events.ALTER_COMMIT,
        events.ALTER_START,
        events.ALTER_ROLLBACK,
    ]
    assert (committed, rolled_back) == (start, failing)


def test_xa() -> None:
    found = []
    for event in iterate(recorded("11.8")):
        if event.type == events.GTID:
            gtid = events.parse_gtid(event.header, event.body)
            if gtid.xid is not None:
                found.append((bool(gtid.flags & events.XA_PREPARED), gtid.xid))
        elif event.type == events.XA_PREPARE:
            one_phase, xid = events.parse_xa_prepare(event.body)
            assert not one_phase
            assert xid == found[-1][1]
    assert [prepared for prepared, _ in found] == [True, False, True, False]
    assert found[0][1] == events.Xid(7, b"global", b"branch") == found[1][1]


def test_the_session_of_a_statement() -> None:
    log = recorded("10.11")
    _, quoted = the_query(log, b'CREATE TABLE "quoted"')
    assert quoted.context.sql_mode == 4
    assert quoted.context.lc_time_names != 0
    assert quoted.context.flags2 & NO_FOREIGN_KEY_CHECKS
    assert quoted.schema == b"w"
    assert quoted.context.catalog == b"std"
    _, granted = the_query(log, b"GRANT SELECT")
    assert granted.context.invoker == (b"root", b"localhost")
    _, stamped = the_query(log, b"CREATE TABLE stamped")
    assert stamped.context.microseconds is None
    _, trigger = the_query(log, b"CREATE DEFINER=`root`@`localhost` TRIGGER")
    assert 0 < trigger.context.microseconds < 1_000_000
    assert all(query.context.unknown is None for _, query in queries(log))
    gtid, _ = the_query(log, b"CREATE DATABASE w")
    assert str(gtid) == "0-1-1"
    assert gtid.standalone
    assert gtid.flags & events.IS_DDL


def test_statuses_that_are_rare() -> None:
    context = parse_context(
        b"\x02\x03std\0"
        + b"\x05\x06+05:30"
        + b"\x03\x0a\0\x03\0"
        + b"\x08\x21\0"
        + b"\x09"
        + (5).to_bytes(8, "little")
        + b"\x0a\1\0\0\0"
        b"\x81"
        + (9).to_bytes(8, "little")
        + b"\x82\x04"
        + (77).to_bytes(8, "little")
        + b"\x83\1\x2d\0\x2b\x09"
        + b"\xee12"
    )
    assert (context.catalog, context.time_zone) == (b"std", "+05:30")
    assert context.auto_increment == (10, 3)
    assert (context.charset_database, context.table_map_for_update, context.master_data_written) == (33, 5, 1)
    assert (context.xid, context.extra_flags, context.alter_start) == (9, 4, 77)
    assert context.charset_collations == ((45, 0x092B),)
    assert context.unknown == 0xEE
    with pytest.raises(EventDamaged):
        parse_context(b"\x01\1\2")


def test_values_that_stand_before_statements() -> None:
    assert parse_intvar(b"\2" + (7).to_bytes(8, "little")) == (2, 7)
    assert parse_rand((3).to_bytes(8, "little") + (4).to_bytes(8, "little")) == (3, 4)
    plain = parse_user_var(b"\1\0\0\0a\0\2\x3f\0\0\0\x08\0\0\0" + (5).to_bytes(8, "little") + b"\1")
    assert (plain.name, plain.kind, plain.charset, plain.value, plain.unsigned) == (b"a", 2, 63, b"\5" + bytes(7), True)
    assert parse_user_var(b"\1\0\0\0b\1").value is None
    load = parse_load_query(b"\1\0\0\0\0\0\0\0\1\0\0\0\0" + b"\6\0\0\0\7\0\0\0\x08\0\0\0\2" + b"w\0LOAD DATA")
    assert (load.file_id, load.name_start, load.name_end, load.duplicates) == (6, 7, 8, 2)
    assert (load.query.schema, load.query.text) == (b"w", b"LOAD DATA")


def test_lists_rotations_incidents() -> None:
    log = recorded("10.5")
    lists = [events.parse_gtid_list(one.body) for one in iterate(log) if one.type == events.GTID_LIST]
    assert lists[0] == ()
    assert {domain for domain, _, _ in lists[1]} == {0, 5}
    [rotate] = [events.parse_rotate(one.body) for one in iterate(log) if one.type == events.ROTATE]
    assert rotate == (4, "binlog.000002")
    assert events.parse_incident(b"\1\0\5oh no") == (1, "oh no")


def test_what_is_damaged_is_refused() -> None:
    whole = bytearray(b"".join(bytes(event.raw) for event in islice(iterate(recorded("10.11")), 8)))
    assert len(list(iterate(whole))) == 8
    for at in (25, 300, 700, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[at] ^= 1
        with pytest.raises(EventDamaged):
            list(iterate(damaged))
    with pytest.raises(EventDamaged):
        list(iterate(whole[:-1]))
    with pytest.raises(EventDamaged):
        decompress(b"\x82\0\5" + zlib.compress(b"four"))
    with pytest.raises(EventDamaged):
        decompress(b"\x12abc")
    with pytest.raises(EventDamaged):
        Cursor(b"\xfb").packed()
    with pytest.raises(EventDamaged):
        decimal_bytes(3, 5)
    with pytest.raises(EventDamaged):
        next(iterate(b"\0" * 30))

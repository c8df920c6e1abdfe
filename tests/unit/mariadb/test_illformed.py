"""Taking single rows out of a chunk's text, and reading them."""

from hypothesis import given
from hypothesis import strategies as st

from tidewind.engines.mariadb.illformed import fields, ill_formed_rows, without_rows
from tidewind.engines.mariadb.log_scan import _names as names_in_log
from tidewind.engines.mariadb.rows import escape
from tidewind.engines.mariadb.watchdog import _names as names_in_statement

value = st.one_of(st.none(), st.binary(max_size=20))


@given(st.lists(value, min_size=1, max_size=5))
def test_fields_undo_the_escaping(values: list[bytes | None]) -> None:
    line = b"\t".join(b"\\N" if one is None else escape(one) for one in values)
    assert fields(line) == values


@given(st.lists(st.binary(max_size=5).map(escape), max_size=20), st.sets(st.integers(1, 20)), st.integers(1, 9))
def test_without_rows(lines: list[bytes], taken: set[int], size: int) -> None:
    text = b"".join(line + b"\n" for line in lines)
    aside: list[bytes] = []
    rest = b"".join(without_rows([text[at : at + size] for at in range(0, len(text), size)], taken, aside))
    assert rest == b"".join(line + b"\n" for n, line in enumerate(lines, 1) if n not in taken)
    assert aside == [line for n, line in enumerate(lines, 1) if n in taken]


def test_rows_named_by_warnings() -> None:
    warnings = [
        ("Warning", 1366, "Incorrect string value: '\\xFF at row 9' for column `a`.`b`.`c` at row 12"),
        ("Warning", 1265, "Data truncated for column 'e' at row 13"),
        ("Warning", 1366, "Incorrect string value: '\\xFF' for column `a`.`b`.`d` at row 12"),
    ]
    assert ill_formed_rows(warnings) == {12}


def test_what_a_log_event_names() -> None:
    tables = {("mysql", "global_priv"), ("shop", "isam")}
    assert names_in_log("Table_map", "table_id: 18 (shop.isam)", tables)
    assert not names_in_log("Table_map", "table_id: 18 (shop.isam2)", tables)
    assert names_in_log("Query", "use `shop`; ALTER TABLE Isam ADD x INT", tables)
    assert names_in_log("Query", "CREATE USER a", tables)
    assert not names_in_log("Query", "CREATE USER a", {("shop", "isam")})
    assert not names_in_log("Query", "BEGIN", tables)
    assert not names_in_log("Write_rows_v1", "table_id: 18 flags: STMT_END_F", tables)


def test_whom_a_waiting_statement_names() -> None:
    assert names_in_statement("alter table Orders add x int", ("shop", "orders"))
    assert names_in_statement("DROP DATABASE Shop", ("shop", "orders"))
    assert not names_in_statement("alter table items add x int", ("shop", "orders"))
    assert not names_in_statement("anything", None)

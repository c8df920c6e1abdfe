"""Each type's way out and back in."""

import pytest

from tidewind.domain.manifest import Column
from tidewind.engines.mariadb.columns import (
    INDEX,
    PERIOD,
    PLAIN,
    ColumnFacts,
    load_rule,
    members_are_plain,
    read_column,
)
from tidewind.engines.mariadb.loading import computes, load_settings, load_statement, unexpected_warning


def facts(data_type: str, column_type: str | None = None, generation: str | None = None) -> ColumnFacts:
    return ColumnFacts(
        name="c`1",
        data_type=data_type,
        column_type=column_type or data_type,
        charset=None,
        collation=None,
        generation=generation,
    )


@pytest.mark.parametrize(
    ("column", "expression", "rule"),
    [
        (facts("int", "int(11)"), "`c``1`", PLAIN),
        (facts("float"), "`c``1` * 1e0", PLAIN),
        (facts("float", "float(7,2) unsigned"), "`c``1` * 1e0", PLAIN),
        (facts("double"), "`c``1`", PLAIN),
        (facts("double", "double(10,3)"), "`c``1` * 1e0", PLAIN),
        (facts("uuid"), "CAST(`c``1` AS BINARY(16))", PLAIN),
        (facts("inet6"), "CAST(`c``1` AS BINARY(16))", PLAIN),
        (facts("inet4"), "CAST(`c``1` AS BINARY(4))", PLAIN),
        (facts("enum", "enum('a','b')"), "`c``1`", PLAIN),
        (facts("enum", "enum('','b')"), "CAST(`c``1` AS UNSIGNED)", INDEX),
        (facts("set", "set('a','A')"), "CAST(`c``1` AS UNSIGNED)", INDEX),
        (facts("timestamp", "timestamp(6)", "ROW START"), "`c``1`", PERIOD),
    ],
)
def test_read_column(column: ColumnFacts, expression: str, rule: str) -> None:
    read = read_column(column)
    assert read is not None
    assert (read.expression, read.column.load) == (expression, rule)


def test_generated_columns_are_not_read() -> None:
    assert read_column(facts("int", generation="`a` + 1")) is None


@pytest.mark.parametrize(
    ("members", "plain"),
    [
        ("enum('small','x-large','a b')", True),
        ("enum('it''s')", False),
        ("enum('a','b ')", False),
        ("enum('é')", False),
        ("enum('a,b')", False),
        (r"enum('a\\b')", False),
        ("set('x','X')", False),
        ("enum('')", False),
    ],
)
def test_members_are_plain(members: str, plain: bool) -> None:
    assert members_are_plain(members) is plain


def test_load_statement() -> None:
    columns = [
        Column(name="id", kind="int"),
        Column(name="e`x", kind="enum('')", load=INDEX),
        Column(name="row_start", kind="timestamp(6)", load=PERIOD),
    ]
    assert load_statement("s", "t`t", columns) == (
        "LOAD DATA LOCAL INFILE 'chunk' INTO TABLE `s`.`t``t` CHARACTER SET binary FIELDS TERMINATED BY X'09'"
        " ESCAPED BY X'5C' LINES TERMINATED BY X'0A' (`id`, @v1, `row_start`) SET `e``x` = CAST(@v1 AS UNSIGNED)"
    )
    assert load_settings(columns)["system_versioning_insert_history"] == "1"
    assert "system_versioning_insert_history" not in load_settings(columns[:2])


def test_a_label_cannot_carry_sql() -> None:
    with pytest.raises(ValueError, match="label"):
        load_statement("s", "t", [Column(name="id", kind="int")], file_name="/etc/passwd")


def test_a_rule_of_a_newer_release_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown rule 'novel'"):
        load_rule(Column(name="c", kind="int", load="novel"), 0)


LOADED = [Column(name="price", kind="decimal(10,2)", load="plain"), Column(name="it`s", kind="text", load="plain")]


@pytest.mark.parametrize(
    ("code", "text", "computed", "expected"),
    [
        (1265, "Data truncated for column 'tax' at row 1", True, True),
        (1265, "Data truncated for column 'tax' at row 1", False, False),
        (1265, "Data truncated for column 'price' at row 1", True, False),
        (1265, "Data truncated for column 'PRICE' at row 1", True, False),
        (1264, "Out of range value for column 'tax' at row 7", True, True),
        (1292, "Truncated incorrect DOUBLE value: 'abc'", True, True),
        (1292, "Truncated incorrect DOUBLE value: 'abc'", False, False),
        (1292, "Incorrect datetime value: 'x' for column `s`.`t`.`it``s` at row 1", True, False),
        (1292, "Incorrect datetime value: 'x' for column `s`.`t`.`tax` at row 1", True, True),
        (1365, "Division by 0", True, True),
        (1262, "Row 1 was truncated; it contained more data than there were input columns", True, False),
    ],
)
def test_only_computed_columns_may_be_warned_of(code: int, text: str, computed: bool, expected: bool) -> None:
    told = unexpected_warning([("Warning", code, text)], LOADED, has_members=False, computed=computed)
    assert (told is None) == expected, told


def test_what_the_server_computes_is_told_by_the_definition() -> None:
    assert computes("CREATE TABLE `t` (`a` int(11) GENERATED ALWAYS AS (`b` * 2) STORED)")
    assert not computes("CREATE TABLE `t` (`s` timestamp(6) GENERATED ALWAYS AS ROW START)")

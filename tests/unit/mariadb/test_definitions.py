"""Definitions: identity, text, order, quoting, errors."""

from datetime import UTC, datetime, timedelta

import pymysql
import pytest

from tidewind.domain.manifest import DatabaseObject
from tidewind.engines.mariadb.definition import auto_increment, identity, settled
from tidewind.engines.mariadb.definition_text import is_text, with_hexadecimal_defaults, with_true_defaults
from tidewind.engines.mariadb.failures import code_of, translate
from tidewind.engines.mariadb.objects import in_order
from tidewind.engines.mariadb.quoting import account_name, bytes_literal, charset_literal, quote_name, text_literal
from tidewind.engines.mariadb.stored import by_table

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
CREATE = "CREATE TABLE `t` (\n  `id` int(11) NOT NULL AUTO_INCREMENT,\n  `v` int(11) COMMENT ') AUTO_INCREMENT=9'\n) ENGINE=InnoDB"


def test_the_counter_is_no_part_of_the_identity() -> None:
    one, other = (f"{CREATE} AUTO_INCREMENT={n} DEFAULT CHARSET=utf8mb4" for n in (5, 77))
    assert identity(one, NOON, "1") == identity(other, NOON, "1")
    assert identity(one, NOON, "1") == identity(f"{CREATE} DEFAULT CHARSET=utf8mb4", NOON, "1")
    assert identity(one, NOON, "1") != identity(one.replace("int(11) COMMENT", "bigint COMMENT"), NOON, "1")
    assert identity(one, NOON, "1") != identity(one, NOON + timedelta(seconds=1), "1")
    assert identity(one, NOON, "1") != identity(one, NOON, "2")
    assert auto_increment(one) == 5
    assert auto_increment(CREATE) is None


def test_the_stored_tables_behind_a_name() -> None:
    rows = [("d/t", 7), ("d/p#P#p1", 9), ("d/p#P#p0", 8), ("d/q@0023P", 10)]
    found = by_table(rows)
    assert set(found) == {"d/t", "d/p", "d/q@0023P"}
    assert by_table(reversed(rows)) == found
    exchanged = by_table([("d/t", 8), ("d/p#P#p1", 9), ("d/p#P#p0", 7)])
    assert exchanged["d/t"] != found["d/t"]
    assert exchanged["d/p"] != found["d/p"]
    swapped = by_table([("d/p#P#p1", 8), ("d/p#P#p0", 9)])
    assert swapped["d/p"] != found["d/p"]


def test_settled() -> None:
    assert settled(None, NOON)
    assert not settled(NOON, NOON + timedelta(milliseconds=900))
    assert not settled(NOON, NOON + timedelta(milliseconds=1010)), "clocks of files lag by a few milliseconds"
    assert settled(NOON, NOON + timedelta(milliseconds=1030))


def test_defaults_that_are_no_text() -> None:
    raw = b"  `b` varbinary(9) DEFAULT '\xff\\0\\\\''\\n',\n  `c` char(1) DEFAULT '\xc3\xa9'".decode(
        errors="surrogateescape"
    )
    assert not is_text(raw)
    fixed = with_hexadecimal_defaults(raw)
    assert fixed == "  `b` varbinary(9) DEFAULT X'ff005c270a',\n  `c` char(1) DEFAULT 'é'"


def test_true_defaults() -> None:
    create = "(\n  `d``x` varchar(5) NOT NULL DEFAULT '?' COMMENT '?',\n  `e` varchar(5) DEFAULT '?'\n)"
    assert with_true_defaults(create, {"d`x": b"\xf0"}) == (
        "(\n  `d``x` varchar(5) NOT NULL DEFAULT X'f0' COMMENT '?',\n  `e` varchar(5) DEFAULT '?'\n)"
    )


def view(name: str, shows: str) -> DatabaseObject:
    return DatabaseObject(kind="view", schema_name="s`1", name=name, create=f"CREATE VIEW `s``1`.`{name}` AS {shows}")


def test_views_follow_what_they_show() -> None:
    views = [view("a", "`s``1`.`c`"), view("b", "`s``1`.`a` join `s``1`.`c`"), view("c", "`other`.`b`"), view("d", "1")]
    assert [entry.name for entry in in_order(views)] == ["c", "a", "b", "d"]


def test_views_in_a_circle_are_all_kept() -> None:
    views = [view("a", "`s``1`.`b`"), view("b", "`s``1`.`a`")]
    assert {entry.name for entry in in_order(views)} == {"a", "b"}


@pytest.mark.parametrize("name", ["a", "a`b", "../x", "a\nb", "%s", "'; DROP TABLE x; --", "漢", "x" * 64])
def test_names_round_trip(name: str) -> None:
    quoted = quote_name(name)
    assert quoted[0] == quoted[-1] == "`"
    assert quoted[1:-1].replace("``", "") == name.replace("`", "")
    assert quoted[1:-1].replace("``", "`") == name


@pytest.mark.parametrize("name", ["", "a\0b", "😀"])
def test_names_no_server_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        quote_name(name)


def test_values_are_hexadecimal() -> None:
    assert text_literal("x' OR 1=1 -- \\") == "_utf8mb4 X'7827204f5220313d31202d2d205c'"
    assert bytes_literal(b"\xff'") == "X'ff27'"
    assert account_name("o'b`x", "%") == "`o'b``x`@`%`"
    with pytest.raises(ValueError, match="character set"):
        charset_literal("latin1 X'' OR 1 --", b"")


@pytest.mark.parametrize(
    ("code", "sql", "kind"),
    [
        (2003, "", "database-unreachable"),
        (2013, "SELECT 1", "database-unreachable"),
        (1045, "", "database-refused-login"),
        (1227, "SET sql_log_bin = 0", "database-rights-missing"),
        (1142, "SELECT secret FROM t", "database-rights-missing"),
        (1114, "INSERT", "database-full"),
        (1064, "SELEKT x", "database-failed"),
    ],
)
def test_errors_in_words(code: int, sql: str, kind: str) -> None:
    error = pymysql.err.OperationalError(code, "what the server\nsaid")
    translated = translate(error, "db:3306", "backup", f"{sql} and 'values never shown'")
    assert translated.kind == kind or (not sql and kind == translate(error, "db:3306", "backup").kind)
    assert "never shown" not in translated.detail
    assert "\n" not in translated.detail
    translated.__cause__ = error
    assert code_of(translated) == code

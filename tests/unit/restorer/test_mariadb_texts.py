"""The pure parts of MariaDB's restore: definitions taken apart, names, chunk text, fingerprints of accounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidewind.engines.mariadb.restore import accounts_of, create_table, fence, names, variables
from tidewind.engines.mariadb.restore.chunk_text import field
from tidewind.engines.mariadb.restore.objects import in_charset
from tidewind.engines.mariadb.restore.pool import pack, unpack
from tidewind.engines.mariadb.rows import escape
from tidewind.ports.engine import DatabaseError
from tidewind.ports.store import ObjectDamaged, StoreUnavailable

CREATE = """CREATE TABLE `o``d(d` (
  `id` int(11) NOT NULL AUTO_INCREMENT COMMENT 'a, (b) ''c'' \\\\',
  `x,y` varchar(10) DEFAULT 'KEY `z` (',
  `KEY ``no
` int(11) DEFAULT NULL,
  PRIMARY KEY (`id`),
  UNIQUE KEY `u` (`x,y`),
  SPATIAL KEY `s` (`g`),
  KEY `k` (`x,y`(3)) COMMENT 'AUTO_INCREMENT=9',
  FULLTEXT KEY `f` (`x,y`),
  CONSTRAINT `pa``rent` FOREIGN KEY (`id`) REFERENCES `p` (`id`) ON DELETE CASCADE,
  CONSTRAINT `c` CHECK (`id` > 0)
) ENGINE=InnoDB AUTO_INCREMENT=77 DEFAULT CHARSET=utf8mb4 COMMENT='has AUTO_INCREMENT=5 in it'
 PARTITION BY HASH (`id`)"""


def test_a_definition_is_taken_apart_at_its_own_commas():
    made = create_table.parse(CREATE)
    assert len(made.items) == 10
    assert made.plain_keys == ("SPATIAL KEY `s` (`g`)", "KEY `k` (`x,y`(3)) COMMENT 'AUTO_INCREMENT=9'")
    assert made.foreign_keys == ("CONSTRAINT `pa``rent` FOREIGN KEY (`id`) REFERENCES `p` (`id`) ON DELETE CASCADE",)
    assert made.auto_increment_column == "`id`"
    assert made.leads_a_kept_key("`id`")
    assert not made.leads_a_kept_key("`x`")


def test_putting_it_together_again_changes_nothing_else():
    made = create_table.parse(CREATE)
    assert made.without(()) == CREATE
    without = made.without((*made.foreign_keys, *made.plain_keys))
    assert "FOREIGN KEY" not in without
    assert create_table.parse(without).items == tuple(
        item for item in made.items if item not in (*made.foreign_keys, *made.plain_keys)
    )


def test_the_shape_leaves_only_the_counter_out():
    shape = create_table.parse(CREATE).shape()
    assert shape == CREATE.replace(" AUTO_INCREMENT=77", "")


@pytest.mark.parametrize(
    "text", ["", "CREATE VIEW v AS SELECT 1", "CREATE TABLE `t` (\n  `a` int", "CREATE TABLE `t (a)"]
)
def test_what_is_no_definition_is_refused(text):
    with pytest.raises(ValueError, match=r"definition|end"):
        create_table.parse(text)


def test_names_never_hold_anything_but_a_restore_id():
    assert names.safety_schema("rst_0123456789", 3) == "tidewind_rst_0123456789_s0003"
    assert names.minted_account("rst_ABCDEFGHJK", 4, 2) == "tw_rst_abcdefghjk_4_2"
    for hostile in ("rst_012345678", "rst_0123456789'", "x", "rst_0123456789\n"):
        with pytest.raises(ValueError, match="restore id"):
            names.tag(hostile)


@pytest.mark.parametrize(
    ("schema", "ours"),
    [
        ("tidewind", True),
        ("TIDEWIND", True),
        ("tidewind_rst_0123456789_s0001", True),
        ("tidewind_rst_0123456789_t12345", True),
        ("tidewind_shop", False),
        ("tidewind_rst_0123456789", False),
        ("mytidewind", False),
        ("tidewind_rst_0123456789_s0001x", False),
    ],
)
def test_our_schemas_are_told_from_the_users(schema, ours):
    assert names.is_ours(schema) is ours


@given(st.one_of(st.none(), st.binary()))
def test_a_field_reads_back_as_it_was_written(value):
    written = b"\\N" if value is None else escape(value)
    if value != b"\\N":
        assert field(written) == value


def test_the_hash_of_a_password_is_the_servers():
    # SELECT PASSWORD('apppw') on MariaDB 10.11
    assert fence.native_hash("apppw") == "*DB14CBAE92D7CB2F84BD3AA7222415B564A4054A"


def test_fingerprints_of_accounts_follow_what_matters_only():
    def prints(priv, stamp=b"1", extra=()):
        columns = ("Host", "User", "Priv")
        rights = ("Host", "Db", "User", "Timestamp")
        return accounts_of.digest(
            [
                ("global_priv", columns, [(b"%", b"app", priv), *extra]),
                ("db", rights, [(b"%", b"shop", b"app", stamp)]),
            ]
        )

    before = prints(b"{}")
    assert prints(b"{}", stamp=b"2") == before
    assert prints(b'{"x":1}') != before
    assert set(prints(b"{}", extra=[(b"", b"role", b"{}")])) == {"'app'@'%'", "'role'"}


@pytest.mark.parametrize(
    ("kind", "value", "literal"),
    [
        ("BIGINT UNSIGNED", "171", "171"),
        ("INT", "-1", "-1"),
        ("DOUBLE", "0.25", "0.25"),
        ("BOOLEAN", "ON", "_utf8mb4 X'4f4e'"),
        ("VARCHAR", "171", "_utf8mb4 X'313731'"),
        ("ENUM", "1; DROP TABLE x", "_utf8mb4 X'313b2044524f50205441424c452078'"),
        ("INT", "1; DROP", "_utf8mb4 X'313b2044524f50'"),
    ],
)
def test_variables_are_set_by_their_type(kind, value, literal):
    assert variables.literal(kind, value) == literal


def test_a_text_travels_in_the_character_set_it_was_made_in():
    sent = in_charset("SELECT 'é'", "latin1")
    assert sent.encode("utf-8", "surrogateescape") == b"SELECT '\xe9'"
    assert in_charset("SELECT 'é'", "utf8mb4") == "SELECT 'é'"


@pytest.mark.parametrize(
    "error",
    [
        ObjectDamaged("load", "snapshots/x", "cut off", "choose another"),
        StoreUnavailable("load", "snapshots/x", "no answer"),
        DatabaseError("database-full", "no space", "free some"),
    ],
)
def test_errors_cross_a_pipe_whole(error):
    again = unpack(pack(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)

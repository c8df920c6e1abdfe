"""What people are shown of a logged statement: all they need to find an accident, and no secret."""

import pytest

from tidewind.engines.mariadb.log.summary import LONGEST_STATEMENT, masked


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("CREATE USER 'a'@'%' IDENTIFIED BY 'hidden'", "CREATE USER 'a'@'%' IDENTIFIED BY '…'"),
        ("CREATE USER a IDENTIFIED BY PASSWORD '*hidden'", "CREATE USER a IDENTIFIED BY PASSWORD '…'"),
        ("SET PASSWORD FOR 'a'@'%'='*hidden'", "SET PASSWORD FOR 'a'@'%'='…'"),
        ("SET PASSWORD FOR a = PASSWORD('hidden')", "SET PASSWORD FOR a = PASSWORD('…')"),
        (
            "ALTER USER a IDENTIFIED VIA ed25519 USING 'hidden' OR unix_socket USING \"hidden\"",
            "ALTER USER a IDENTIFIED VIA ed25519 USING '…' OR unix_socket USING '…'",
        ),
        ("GRANT ALL ON *.* TO a IDENTIFIED BY 'it''s hidden\\' too'", "GRANT ALL ON *.* TO a IDENTIFIED BY '…'"),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h', PASSWORD 'hidden')",
            "CREATE SERVER s FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'h', PASSWORD '…')",
        ),
        (
            "CREATE TABLE t (a INT) ENGINE=FEDERATED CONNECTION='mysql://u:hidden@h/db/t'",
            "CREATE TABLE t (a INT) ENGINE=FEDERATED CONNECTION='…'",
        ),
        ("DROP\n  TABLE\t`a`.`b`", "DROP TABLE `a`.`b`"),
        ("ALTER TABLE t ADD c VARCHAR(9) DEFAULT 'shown'", "ALTER TABLE t ADD c VARCHAR(9) DEFAULT 'shown'"),
    ],
)
def test_secrets_are_masked_and_nothing_else(statement: str, shown: str) -> None:
    assert masked(statement) == shown
    assert "hidden" not in masked(statement)


def test_a_long_statement_shows_that_it_was_cut_off() -> None:
    shown = masked("DROP TABLE " + ", ".join(f"t{number}" for number in range(5000)))
    assert len(shown) == LONGEST_STATEMENT
    assert shown.endswith("…")

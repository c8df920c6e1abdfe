"""Where row events go, and how a replay is logged itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from tidewind.engines.mariadb.log import events as log
from tidewind.engines.mariadb.replay import session
from tidewind.engines.mariadb.replay.lanes import Lanes, item
from tidewind.engines.mariadb.replay.routing import Routes, is_dated
from tidewind.engines.mariadb.replay.tables import TableFacts
from tidewind.engines.mariadb.restore.link import logging_settings
from tidewind.ports.engine import RestoreScope


class Catalogue:
    def begin_stage(self) -> None:
        pass

    def facts(self, schema: str, table: str) -> TableFacts:
        name = (schema, table)
        return TableFacts(
            name,
            item(name),
            transactional=True,
            keyless=False,
            rows=0,
            counted=True,
            versioned=table in ("history", "tree"),
            own_parent=table == "tree",
        )


def table_map(schema: str, table: str) -> memoryview:
    """Of a table with one INT."""
    body = b"\x01\0\0\0\0\0" + b"\x01\0"
    for name in (schema, table):
        body += bytes([len(name)]) + name.encode() + b"\0"
    body += b"\x01\x03\x00\x01"
    return memoryview(log.with_checksum(log.HEADER.pack(5, log.TABLE_MAP, 1, 19 + len(body) + 4, 0, 0) + body))


@pytest.mark.parametrize(
    ("schema", "table", "where"),
    [
        ("shop", "orders", "lane"),
        ("tidewinds", "orders", "lane"),
        ("mysql", "global_priv", "accounts"),
        ("mysql", "innodb_index_stats", "nowhere"),
        ("tidewind", "fence", "nowhere"),
        ("tidewind", "progress", "nowhere"),
        ("tidewind_rst_0123456789_s0001", "orders", "nowhere"),
    ],
)
def test_what_restores_wrote_of_themselves_is_never_replayed(schema: str, table: str, where: str) -> None:
    routes = Routes(Catalogue(), Lanes(2), 2, {})  # type: ignore[arg-type]
    assert routes.of(table_map(schema, table)).where == where


def test_a_change_shares_no_statement_where_a_foreign_key_writes_history() -> None:
    routes = Routes(Catalogue(), Lanes(2), 2, {})  # type: ignore[arg-type]
    parent, plain, history = (routes.of(table_map("shop", name)) for name in ("parent", "plain", "history"))
    assert is_dated(parent, [parent, plain, history])
    assert not is_dated(parent, [parent, plain])
    assert not is_dated(history, [history]), "its own images say when"
    tree = routes.of(table_map("shop", "tree"))
    assert is_dated(tree, [tree]), "of the rows below it, which have no images"


@pytest.mark.parametrize("logged", [True, False])
def test_a_replay_is_logged_as_the_load_is(logged: bool) -> None:
    link: Any = SimpleNamespace(access=None, logged=logged)
    source: Any = SimpleNamespace(
        open_store=None,
        legs=(),
        segments=(),
        manifest=SimpleNamespace(cluster_id="shop", tables=(), system_tables=()),
    )
    scope = RestoreScope(
        cluster_id="shop", restore_id="rst_0123456789", job_id="job", operation=1, epoch=1, replicas="attached"
    )
    settings = session._start(link, scope, source, (), 2).settings
    assert settings.items() >= logging_settings(logged=logged).items()

"""A replay severed at every command it sends: whoever goes on leaves each transaction done once, whole.

The log holds one of each kind of thing that keeps progress in another way: rows of tables with keys, without, and in
cascades; definitions; account statements; XA; savepoints; tables without transactions, after which the restore begins
anew from its base. The reference is the server that wrote the log.

At each state of progress the replay is severed at its first command, its second, and so on, until one moves progress
on: `TIDEWIND_STRIKES=all` does that at every command; by default each is struck with a chance, from a seed.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest

from schemas.commands import Endpoint
from tests.faults.severing_proxy import Moment, SeveringProxy, Strike
from tests.integration.mariadb.snapshot_support import client, rows, run
from tests.integration.mariadb.test_replay import children_of
from tests.point_lab import SERVICE, Facts, PointLab, content_of, lab_in
from tidewind.engines.mariadb.replay import progress, start_over
from tidewind.engines.mariadb.replay import session as replaying
from tidewind.engines.mariadb.replay.worker import Advanced, Start, _Replay
from tidewind.ports.engine import DatabaseError, Report

SEED = int(os.environ.get("TIDEWIND_SEED", "0")) or int.from_bytes(os.urandom(3), "big")
CHANCE = 1.0 if os.environ.get("TIDEWIND_STRIKES") == "all" else 0.05
EPOCH_S = 60.0
CLEARING, STRUCK = 40, 4
"""So many commands there are at least while a replay begins anew; at so many of them it is severed."""
BASE = (
    "CREATE DATABASE shop",
    "USE shop",
    "CREATE TABLE shop.items (id INT PRIMARY KEY, n INT, v VARCHAR(20)) ENGINE=InnoDB",
    "CREATE TABLE shop.keyless (a INT, b VARCHAR(20)) ENGINE=InnoDB",
    "CREATE TABLE shop.parents (id INT PRIMARY KEY) ENGINE=InnoDB",
    "CREATE TABLE shop.children (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES shop.parents (id) "
    "ON DELETE CASCADE ON UPDATE CASCADE) ENGINE=InnoDB",
    "CREATE TABLE shop.plain (a INT, b VARCHAR(20)) ENGINE=MyISAM",
    "CREATE SEQUENCE shop.numbers START WITH 5",
    "INSERT INTO shop.items SELECT seq, 0, 'base' FROM seq_1_to_20",
    "INSERT INTO shop.keyless SELECT seq MOD 3, 'dup' FROM seq_1_to_12",
    "INSERT INTO shop.parents SELECT seq FROM seq_1_to_6",
    "INSERT INTO shop.children SELECT seq, 1 + seq MOD 6 FROM seq_1_to_12",
    "INSERT INTO shop.plain VALUES (1, 'base')",
    "CREATE USER app@'%' IDENTIFIED BY 'app-secret'",
)
ROWS = (
    "UPDATE shop.items SET n = n + 1",
    "INSERT INTO shop.keyless VALUES (1, 'dup'), (7, 'new')",
    "DELETE FROM shop.keyless WHERE a = 2 LIMIT 2",
    "UPDATE shop.parents SET id = 60 WHERE id = 6",
    "DELETE FROM shop.parents WHERE id = 5",
)
DEFINITIONS = (
    "ALTER TABLE shop.items ADD COLUMN w INT DEFAULT 3",
    "UPDATE shop.items SET n = n + 1, w = id",
    "CREATE TABLE shop.made SELECT id, n FROM shop.items WHERE id < 5",
    "RENAME TABLE shop.made TO shop.swapped, shop.keyless TO shop.made, shop.swapped TO shop.keyless",
    "INSERT INTO shop.made VALUES (1, 'dup')",
    "TRUNCATE TABLE shop.children",
    "DROP TABLE shop.keyless",
    "CREATE DATABASE later",
    "CREATE PROCEDURE shop.mine () SELECT 1",
    "SELECT NEXTVAL(shop.numbers)",
)
ACCOUNTS = (
    "CREATE USER newer@'%' IDENTIFIED BY 'x'",
    "GRANT SELECT ON shop.* TO newer@'%'",
    "ALTER USER app@'%' IDENTIFIED BY 'changed'",
    "DROP USER newer@'%'",
    "CREATE ROLE clerk",
)
XA = (
    "XA START 'kept'",
    "UPDATE shop.items SET n = n + 10 WHERE id <= 4",
    "INSERT INTO shop.made VALUES (9, 'xa')",
    "XA END 'kept'",
    "XA PREPARE 'kept'",
)
WHILE_PREPARED = ("UPDATE shop.items SET n = n + 100 WHERE id > 10",)
BEHIND_XA = ("XA COMMIT 'kept'", "UPDATE shop.items SET n = n + 1000 WHERE id <= 4")
UNTRANSACTED = (
    "INSERT INTO shop.plain VALUES (2, 'one'), (2, 'one')",
    "UPDATE shop.plain SET a = a + 1",
    "BEGIN",
    "INSERT INTO shop.items (id, n) VALUES (200, 0)",
    "SAVEPOINT s",
    "INSERT INTO shop.plain VALUES (3, 'in savepoint')",
    "UPDATE shop.items SET n = 7 WHERE id = 200",
    "ROLLBACK TO SAVEPOINT s",
    "INSERT INTO shop.items (id, n) VALUES (201, 0)",
    "COMMIT",
    "UPDATE shop.items SET n = n + 1",
)
LOG = (*ROWS, *DEFINITIONS, *ACCOUNTS)


def moves_something(command: str) -> bool:
    """Not a look, nor a setting of the session."""
    return not command.lstrip().upper().startswith(("SELECT", "SHOW", "SET "))


class Uncertain(Exception):
    """Tables without transactions were being written: the session begins anew."""


class Severed:
    """Does the replay in place of its worker process, severed again and again; `history` is what was struck."""

    def __init__(self, lab: PointLab, proxy: SeveringProxy, strikes: Sequence[Strike] | None = None) -> None:
        """`strikes` are all there are, or None: at whatever the chance takes."""
        self.target = lab.target
        self.proxy = proxy
        self.strikes = None if strikes is None else list(strikes)
        self.rng = Random(SEED)
        self.history: list[str] = []
        self._next = 1
        self._moment: Moment = "before"
        self._stood: tuple[Any, ...] | None = None

    async def __call__(self, start: Start, report: Report) -> Advanced:
        endpoint = Endpoint(host="127.0.0.1", port=self.proxy.listening)
        severable = replace(start, access=start.access.pinned(endpoint))
        target = self.target
        self._admin = pymysql.connect(
            host=target.host, port=target.port, user=SERVICE.user, password=SERVICE.password, autocommit=True
        )
        others = self._connections(start)
        while True:
            strike = self._aimed(start)
            self.proxy.aim(strike)
            try:
                done = await self._epoch(severable)
            except (DatabaseError, pymysql.err.Error):
                if self.proxy.struck is None:
                    raise
                self.history.append(f"{strike.moment if strike else ''} {self.proxy.struck[:60]}")
                while self._connections(start) - others:
                    await asyncio.sleep(0.01)
                if self._progress(start).uncertain:
                    raise Uncertain from None
            else:
                return done

    def _aimed(self, start: Start) -> Strike | None:
        """The next command of this state of progress that the chance takes, before it and behind it."""
        if self.strikes is not None:
            return self.strikes.pop(0) if self.strikes else None
        now = self._progress(start)
        stands = (now.barrier, tuple(sorted(now.components.items())), now.intent)
        if stands != self._stood:
            self._stood, self._next, self._moment = stands, 1, "before"
        else:
            self._step()
        while self.rng.random() >= CHANCE:
            self._step()
        return Strike(self._next, self._moment, moves_something)

    def _step(self) -> None:
        if self._moment == "before":
            self._moment = "after"
        else:
            self._next, self._moment = self._next + 1, "before"

    async def _epoch(self, start: Start) -> Advanced:
        async with start.open_store() as store:
            replay = _Replay(start, store)
            try:
                async with asyncio.timeout(EPOCH_S):
                    while not (done := await replay.advance()).ended:
                        pass
                assert replay._directing is not None
                replay._directing.result()
                return done
            except TimeoutError:
                stands = rows(
                    self._admin, "SELECT ID, USER, COMMAND, TIME, STATE, INFO FROM information_schema.PROCESSLIST"
                )
                raise AssertionError(f"TIDEWIND_SEED={SEED}: it stands still: {stands}, {self.history[-3:]}") from None
            finally:
                if replay._feeding is not None:
                    replay._feeding.cancel()

    def _progress(self, start: Start) -> progress.Progress:
        return progress.read(rows(self._admin, progress.select(start.restore_id)))

    def _connections(self, start: Start) -> set[int]:
        asked = f"SELECT ID FROM information_schema.PROCESSLIST WHERE USER = '{start.access.login.user}'"
        return {int(row[0]) for row in rows(self._admin, asked)}


@pytest.fixture
async def lab(mariadb_factory: Any, tmp_path: Path) -> PointLab:
    source, target = await mariadb_factory(server_id=1), await mariadb_factory(server_id=3)
    run(client(source), "SET GLOBAL log_bin_trust_function_creators = 1")
    return lab_in(tmp_path / "deployment", source, target, None)


@pytest.fixture
async def proxy(lab: PointLab) -> AsyncIterator[SeveringProxy]:
    made = SeveringProxy(lab.target.host, lab.target.port)
    await made.start()
    yield made
    await made.close()


async def written(lab: PointLab, *parts: tuple[str, ...]) -> None:
    """A base, the log behind it, archived; parts on two connections by turns."""
    run(client(lab.source), *BASE)
    await lab.base()
    connections = client(lab.source), client(lab.source)
    for connection in connections:
        run(connection, "USE shop")
    for index, part in enumerate(parts):
        run(connections[index % 2], *part)
    await lab.archive(Random(SEED), mean_bytes=2_000)
    lab.restores, lab.facts = 1, Facts()


@pytest.mark.timeout(900)
async def test_severed_at_every_command(lab: PointLab, proxy: SeveringProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    await written(lab, LOG, XA, WHILE_PREPARED, BEHIND_XA)
    severed = Severed(lab, proxy)
    monkeypatch.setattr(replaying, "_run", severed)
    source = lab.point(lab.points()[-1])
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        await lab.complete(session, source)
    assert await differing(lab) == [], f"TIDEWIND_SEED={SEED}: {severed.history}"
    assert severed.history


class BehindOpen:
    """Counts commands from the one on that says tables without transactions are written."""

    def __init__(self) -> None:
        self._seen = False

    def __call__(self, command: str) -> bool:
        self._seen = self._seen or (command.startswith("REPLACE") and f"'{progress.OPEN}'" in command)
        return self._seen


@pytest.mark.timeout(300)
async def test_severed_while_tables_without_transactions_are_written_it_begins_anew(
    lab: PointLab, proxy: SeveringProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(lab, ROWS, ACCOUNTS, UNTRANSACTED)
    rng = Random(SEED)
    strikes = [Strike(1, "after", BehindOpen())]
    strikes += [Strike(rng.randint(2, 20), rng.choice(("before", "after")), BehindOpen()) for _ in range(2)]
    severed = Severed(lab, proxy, strikes)
    monkeypatch.setattr(replaying, "_run", severed)
    source = lab.point(lab.points()[-1])
    anew = 0
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        while True:
            try:
                await lab.complete(session, source)
            except Uncertain:
                anew += 1
            else:
                break
    assert anew
    assert await differing(lab) == [], f"TIDEWIND_SEED={SEED}: {severed.history}"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("end", ["completed", "given back"])
async def test_beginning_anew_is_severed_too(
    lab: PointLab, proxy: SeveringProxy, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Between dropping what was replayed and the end of the second load, by one epoch after the other."""
    await written(lab, ROWS, ACCOUNTS, UNTRANSACTED)
    run(client(lab.target), "CREATE DATABASE ours", "CREATE TABLE ours.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    run(client(lab.target), "INSERT INTO ours.t VALUES (1), (2)", "CREATE USER mine@'%' IDENTIFIED BY 'mine'")
    before = await content_of(lab.target)
    severed = Severed(lab, proxy, [Strike(4, "after", BehindOpen())])
    monkeypatch.setattr(replaying, "_run", severed)
    source = lab.point(lab.points()[-1])
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        with pytest.raises(Uncertain):
            await session.replay(source, lab.facts, lab.reports)
    rng, history, epoch = Random(SEED), [], 1
    direct, behind = lab.target, SimpleNamespace(host="127.0.0.1", port=proxy.listening)
    for at in sorted(rng.sample(range(1, CLEARING), STRUCK)):
        epoch += 1
        proxy.aim(None)
        lab.target = behind  # type: ignore[assignment]
        with contextlib.suppress(DatabaseError, OSError):
            async with lab.session(lab.scope(epoch=epoch)) as session:
                proxy.aim(Strike(at, rng.choice(("before", "after")), moves_something))
                await session.replay(source, lab.facts, lab.reports)
        lab.target = direct
        assert proxy.struck is not None, f"{at}: {history}, {proxy.commands}"
        history.append(proxy.struck)
    where = f"TIDEWIND_SEED={SEED}: {history}"
    async with lab.session(lab.scope(epoch=epoch + 1)) as session:
        assert await start_over.must(session._link, lab.scope()), where
        if end == "completed":
            await lab.complete(session, source)
        else:
            await session.give_back(source, lab.facts, lab.reports)
            await session.settle(source, lab.facts, opened=False)
            await session.finish(source, lab.facts, opened=False)
    found = await differing(lab) if end == "completed" else (await content_of(lab.target)).differences(before)
    assert found == [], where


MANY = tuple(
    statement
    for number in range(60)
    for statement in (
        f"CREATE TABLE shop.t{number} (a INT) ENGINE=InnoDB",
        f"INSERT INTO shop.keyless VALUES ({number}, 'row'), ({number}, 'row')",
        "UPDATE shop.items SET n = n + 1",
    )
)


@pytest.mark.timeout(300)
async def test_a_replay_that_stands_still_is_followed_and_changes_nothing_when_it_wakes(lab: PointLab) -> None:
    await written(lab, MANY)
    source = lab.point(lab.points()[-1])
    async with lab.session(lab.scope()) as session:
        await lab.begin(session, source)
        asleep = asyncio.create_task(session.replay(source, lab.facts, lab.reports))
        stopped = await stop_behind(lab, Random(SEED).randint(5, 60))
        try:
            async with lab.session(lab.scope(epoch=2)) as successor:
                assert (await lab.complete(successor, source)).transactions == len(MANY)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        with pytest.raises(DatabaseError):
            await asleep
    assert await differing(lab) == [], f"TIDEWIND_SEED={SEED}"


async def stop_behind(lab: PointLab, ordinal: int) -> list[int]:
    """SIGSTOP the replaying process when so many transactions are done; there are more."""
    target = lab.target
    watching = pymysql.connect(
        host=target.host, port=target.port, user=SERVICE.user, password=SERVICE.password, autocommit=True
    )
    run(watching, progress.MAKE)
    asked = f"SELECT COALESCE(MAX(place), 0) FROM tidewind.replay WHERE restore_id = '{lab.scope().restore_id}'"
    async with asyncio.timeout(EPOCH_S):
        while progress.ordinal_of(int(rows(watching, asked)[0][0])) < ordinal:
            await asyncio.sleep(0.002)
    pids = children_of(forkserver._forkserver._forkserver_pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    assert progress.ordinal_of(int(rows(watching, asked)[0][0])) < len(MANY)
    watching.close()
    return pids


async def differing(lab: PointLab) -> list[str]:
    """Between the server that wrote the log and the one it was replayed on."""
    found = await content_of(lab.target, user=SERVICE.user, password=SERVICE.password)
    return found.differences(await content_of(lab.source))

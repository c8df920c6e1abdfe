"""Restores a base and the log behind it on one server, and lets a native replica be the judge.

source    the users' server; its log files become segments
replica   replicates from the source and is stopped at a position: START SLAVE UNTIL master_gtid_pos
target    where base and log are restored in place, as often as asked
"""

import functools
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from schemas.commands import BackupSetting, Endpoint
from services.restorer.bootstrap import mint_with
from services.snapshotter.handlers.manifests import manifest_of
from tests import oracle
from tests.binlog_segments import Archived, archive
from tests.integration.mariadb.snapshot_support import Reports, address_of, client, rows, run, sealed_store
from tidewind.domain.gtids import GtidList
from tidewind.domain.lived import Leg
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import RegistryEntry
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.engines.mariadb.restore.engine import MariaDBRestoreEngine, MariaDBRestoreSession
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.ports.engine import Login, RestoreScope, SnapshotContent, SnapshotRequest
from tidewind.ports.restore import PointSource, Replayed
from tidewind.store.factory import StoreSettings, open_store

CLUSTER = "shop"
SERVICE = Login(user="tidewind_svc", password="svc-Passw0rd")
HISTORY = "h_0000000001"
MINT = mint_with(b"the key of this test")


class Facts:
    """What a restore keeps, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, Any]] = {}

    async def get(self, name: str) -> Mapping[str, Any] | None:
        return self.kept.get(name)

    async def keep(self, name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        return self.kept.setdefault(name, facts)


@dataclass
class PointLab:
    source: PrivateMariaDB
    replica: PrivateMariaDB | None
    target: PrivateMariaDB
    settings: StoreSettings
    workers: int = 2
    manifest: Manifest | None = None
    taken: SnapshotContent | None = None
    archived: Archived | None = None
    restores: int = 0
    facts: Facts = field(default_factory=Facts)
    reports: Reports = field(default_factory=Reports)

    async def base(self) -> Manifest:
        """Take a backup of the source as the snapshotter does."""
        backup = f"bkp_{uuid.uuid4().hex[:10].upper()}"
        request = SnapshotRequest(
            cluster_id=CLUSTER,
            backup_id=backup,
            attempt=1,
            prefix=f"snapshots/{CLUSTER}/{backup}/a0001/",
            workers=2,
            chunk_bytes=1 << 20,
            excluded_schemas=(),
            open_store=functools.partial(open_store, self.settings),
        )
        self.taken = await MariaDBSnapshotEngine().take(
            address_of(self.source), Login(user=self.source.user, password=self.source.password), request, Reports()
        )
        self.manifest = manifest_of(self.entry(self.taken), backup, 1, "main", self.taken, history=HISTORY)
        return self.manifest

    def entry(self, taken: SnapshotContent) -> RegistryEntry:
        """The source as it is enrolled."""
        return RegistryEntry(
            cluster_id=CLUSTER,
            revision=1,
            engine="mariadb",
            engine_version=taken.facts.version,
            server_identity=taken.facts.identity,
            region="eu-central-1",
            zone="Europe/Berlin",
            endpoints=(Endpoint(host=self.source.host, port=self.source.port),),
            credentials="env:NOBODY",
            setting=BackupSetting(backup_time="02:00", retention_days=7),
            created_at=taken.snapshot_time,
            changed_at=taken.snapshot_time,
            job_id=str(uuid.uuid4()),
            first_slot_date="2026-11-23",
        )

    async def archive(self, rng: Random, **options: Any) -> Archived:
        """Put all of the source's log into the store."""
        run(client(self.source), "FLUSH BINARY LOGS")
        async with open_store(self.settings) as store:
            self.archived = await archive(store, CLUSTER, HISTORY, self.source, rng, **options)
        return self.archived

    def points(self) -> list[str]:
        """Every position behind the base's, in order."""
        assert self.manifest is not None
        assert self.archived is not None
        base = GtidList.parse(self.manifest.position or "")
        return [one for one in self.archived.after if GtidList.parse(one).covers(base) and one != str(base)]

    def point(self, position: str) -> PointSource:
        assert self.manifest is not None
        assert self.archived is not None
        leg = Leg(history=HISTORY, after=self.manifest.position or "", upto=position)
        return PointSource(
            manifest=self.manifest,
            open_store=functools.partial(open_store, self.settings),
            legs=(leg,),
            segments=((1, self.archived.segments),),
            states={},
        )

    def scope(self, *, epoch: int = 1) -> RestoreScope:
        restore = f"rst_{self.restores:010d}"
        return RestoreScope(
            cluster_id=CLUSTER,
            restore_id=restore,
            job_id=str(uuid.uuid4()),
            operation=self.restores,
            epoch=epoch,
            replicas="none",
        )

    def session(self, scope: RestoreScope) -> Any:
        engine = MariaDBRestoreEngine(workers=self.workers)
        return engine.session(scope, address_of(self.target), SERVICE, mint=MINT, keep_accounts=(), began_on=None)

    async def begin(self, session: MariaDBRestoreSession, source: PointSource) -> None:
        """Everything before the replay."""
        await session.gate(source, self.facts, self.reports)
        await session.safeguard(self.facts, self.reports)
        await session.load(source, self.reports)

    async def complete(self, session: MariaDBRestoreSession, source: PointSource) -> Replayed:
        """The replay and everything behind it."""
        replayed = await session.replay(source, self.facts, self.reports)
        refused = await session.define(source, self.facts, self.reports)
        assert not [one for one in refused if "plugin" not in one], refused
        await session.verify(source, self.reports)
        await session.open(self.facts, self.reports)
        await session.settle(source, self.facts, opened=True)
        await session.finish(source, self.facts, opened=True)
        return replayed

    async def restore(self, position: str) -> Replayed:
        """To a position, from beginning to end, and let go of what was set aside."""
        return await self.restore_from(self.point(position))

    async def restore_from(self, source: PointSource) -> Replayed:
        self.restores += 1
        self.facts = Facts()
        scope = self.scope()
        async with self.session(scope) as session:
            await self.begin(session, source)
            replayed = await self.complete(session, source)
        engine = MariaDBRestoreEngine(workers=self.workers)
        await engine.expire(address_of(self.target), SERVICE, scope.restore_id, replicas="none")
        return replayed

    def replicate_to(self, position: str) -> None:
        """Let the replica run on to a position, and wait until it stands there."""
        assert self.replica is not None
        connection = client(self.replica)
        try:
            run(connection, f"START SLAVE UNTIL master_gtid_pos = '{position}'")
            found = rows(connection, f"SELECT MASTER_GTID_WAIT('{position}', 60)")
            with connection.cursor() as cursor:
                cursor.execute("SHOW SLAVE STATUS")
                names = [column[0] for column in cursor.description]
                status = dict(zip(names, cursor.fetchone(), strict=True))
            assert found[0][0] == 0, status["Last_SQL_Error"] or status["Last_IO_Error"] or status
            run(connection, "STOP SLAVE")
        finally:
            connection.close()

    async def content(self) -> oracle.Content:
        """Of the target: its root came with the source's accounts, so the service's account looks."""
        return await content_of(self.target, user=SERVICE.user, password=SERVICE.password)

    async def differences(self) -> list[str]:
        """Between the replica, which is right, and the target."""
        assert self.replica is not None
        return (await self.content()).differences(await content_of(self.replica))

    async def clear(self) -> None:
        """After a restore that failed: what it had set aside comes back, so that the next one can begin."""
        async with self.session(self.scope(epoch=2)) as session:
            await session.give_back(None, self.facts, self.reports)
            await session.settle(None, self.facts, opened=False)
            await session.finish(None, self.facts, opened=False)


async def content_of(server: PrivateMariaDB, **login: str) -> oracle.Content:
    """Everything but what differs by nature: our account, variables, and events that a replica keeps disabled."""
    connection = await server.connect(**login)
    try:
        found = await oracle.content(connection, spared_accounts=(SERVICE.user, server.user), variables=())
    finally:
        connection.close()
    for name, text in found.objects.items():
        if name.startswith("event "):
            found.objects[name] = text.replace("DISABLE ON SLAVE", "ENABLE")
    return found


def make_service(server: PrivateMariaDB) -> None:
    from tidewind.engines.mariadb.grants import RESTORE_GRANTS

    connection = client(server)
    user = f"'{SERVICE.user}'@'%'"
    run(
        connection,
        "SET sql_log_bin = 0",
        f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY '{SERVICE.password}'",
        f"GRANT {', '.join(sorted(RESTORE_GRANTS))} ON *.* TO {user}",
    )
    connection.close()


def make_replica(replica: PrivateMariaDB, source: PrivateMariaDB) -> None:
    connection = client(replica)
    run(
        connection,
        "SET GLOBAL gtid_slave_pos = ''",
        f"CHANGE MASTER TO MASTER_HOST='{source.host}', MASTER_PORT={source.port}, MASTER_USER='{source.user}', "
        f"MASTER_PASSWORD='{source.password}', MASTER_USE_GTID=slave_pos",
    )
    connection.close()


def lab_in(folder: Path, source: PrivateMariaDB, target: PrivateMariaDB, replica: PrivateMariaDB | None) -> PointLab:
    """`source` must not have been written to yet if there is a replica."""
    make_service(target)
    make_service(source)
    if replica is not None:
        make_replica(replica, source)
    return PointLab(source, replica, target, sealed_store(folder))

"""Many points of one log, each found by the restorer's own planning and restored by its engine, and judged by a native
replica stopped there.

The source's log lies in the store as the archive would leave it, with the documents that the services put beside it:
the history, the root timeline, the outcomes of backups. So a point is asked for as users ask for one, by a command, and
whatever leads there is chosen from manifests and segments.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from schemas.commands import RestoreRequest
from services.restorer.handlers.points import point_origin
from services.restorer.handlers.tools import RestoreTools
from services.snapshotter.handlers.manifests import write_manifest
from services.snapshotter.handlers.outcomes import completed_outcome
from tests.exact_workload import DATED_BY_FOREIGN_KEYS
from tests.integration.mariadb.restore_lab import tools_on
from tests.integration.mariadb.snapshot_support import client, rows, run
from tests.oracle import Content
from tests.point_lab import CLUSTER, HISTORY, SERVICE, PointLab, content_of
from tidewind.domain import keys
from tidewind.domain.gtids import GtidList
from tidewind.domain.histories import History
from tidewind.domain.manifest import Manifest
from tidewind.domain.records import Timeline
from tidewind.embedded.mariadb import PrivateMariaDB
from tidewind.ports.restore import PointSource
from tidewind.store.factory import open_store


@dataclass
class ExactLab:
    """`bases` are the backups that were taken, `settled` is from where on the first leads to points, `began` is when the
    log is said to begin."""

    points: PointLab
    bases: list[Manifest] = field(default_factory=list)
    settled: str = ""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def base(self) -> Manifest:
        """Take a backup as the snapshotter does, and put it into the catalogue."""
        manifest = await self.points.base()
        taken = self.points.taken
        assert taken is not None
        frame = {
            "cluster_id": CLUSTER,
            "backup_id": manifest.backup_id,
            "job_id": str(uuid.uuid4()),
            "attempt": 1,
            "cause": "manual",
            "started_at": manifest.snapshot_time,
            "ended_at": manifest.snapshot_time,
        }
        async with open_store(self.points.settings) as store:
            key = keys.manifest(keys.attempt(CLUSTER, manifest.backup_id, 1))
            stored = await write_manifest(store, key, manifest)
            outcome = completed_outcome(frame, manifest, taken, stored, key_id=None)
            await store.put_if_absent(keys.outcome(CLUSTER, manifest.backup_id), outcome.to_bytes())
        if not self.bases:
            assert outcome.settled_position is not None
            self.settled = outcome.settled_position
        self.bases.append(manifest)
        return manifest

    async def archive(self, rng: Random, *, mean_bytes: int) -> None:
        """Put the source's log, and what says where it begins."""
        await self.points.archive(rng, mean_bytes=mean_bytes, complete_us=time.time_ns() // 1000)
        root = Timeline(
            cluster_id=CLUSTER,
            timeline="main",
            parent=None,
            cut=None,
            parent_end=None,
            history=HISTORY,
            start="",
            started_at=self.began,
        )
        history = History(
            cluster_id=CLUSTER,
            history=HISTORY,
            number=1,
            position="",
            begin_us=round(self.began.timestamp() * 1_000_000),
            cause="first",
            server_identity=self.bases[0].server_identity,
            server_version=self.bases[0].engine_version,
            started_at=self.began,
        )
        async with open_store(self.points.settings) as store:
            await store.put_if_absent(keys.timeline(CLUSTER, "main"), root.to_bytes())
            await store.put_if_absent(keys.history_claim(CLUSTER, 1), history.to_bytes())

    def position(self) -> str:
        """Where the source's log ends now."""
        return str(rows(client(self.points.source), "SELECT @@global.gtid_binlog_pos")[0][0])

    def restorable(self) -> list[tuple[str, str]]:
        """(transaction, position with and after it) of everything to which the first backup leads, in order."""
        archived = self.points.archived
        assert archived is not None
        first = GtidList.parse(self.settled)
        pairs = zip(archived.gtids, archived.after, strict=True)
        return [(gtid, after) for gtid, after in pairs if GtidList.parse(after).covers(first)]

    async def planned(self, tools: RestoreTools, gtid: str) -> PointSource:
        """What a command for the state right behind a transaction leads to."""
        command = RestoreRequest(cluster_id=CLUSTER, mode="point_in_time", target_position=gtid)
        origin = await point_origin(tools, command)
        assert isinstance(origin.source, PointSource)
        return origin.source

    async def apart(self, chosen: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
        """Restore every point, in order, while the replica runs on to it: the points that differ, and how."""
        found: dict[str, list[str]] = {}
        async with open_store(self.points.settings) as store:
            tools = tools_on(store, self.points.settings)
            judging = asyncio.create_task(self._judged(chosen[0][1]))
            for number, (gtid, position) in enumerate(chosen):
                right = await judging
                if number + 1 < len(chosen):
                    judging = asyncio.create_task(self._judged(chosen[number + 1][1]))
                differing = await self._differences(tools, gtid, right)
                if differing:
                    found[f"{gtid} ({position})"] = differing
                    print(f"{gtid}:", *differing, sep="\n  ")
        return found

    async def _differences(self, tools: RestoreTools, gtid: str, right: Content) -> list[str]:
        source = await self.planned(tools, gtid)
        try:
            await self.points.restore_from(source)
        except Exception as error:
            await self.points.clear()
            return [f"from {source.manifest.position}: {type(error).__name__}: {error}"]
        differing = (await seen(self.points.target, user=SERVICE.user, password=SERVICE.password)).differences(right)
        return [f"from {source.manifest.position}: {one}" for one in differing]

    async def _judged(self, position: str) -> Content:
        assert self.points.replica is not None
        await asyncio.to_thread(self.points.replicate_to, position)
        # Account tables that were changed by hand: a restored server has read them.
        run(client(self.points.replica), "FLUSH NO_WRITE_TO_BINLOG PRIVILEGES")
        return await seen(self.points.replica)


async def seen(server: PrivateMariaDB, **login: str) -> Content:
    """A server's content, as `content_of` reads it, with what no log holds left out: a foreign key that changes rows whose history is kept dates
    it with fractions of a second, and the log has whole ones. A replica makes some up."""
    found = await content_of(server, **login)
    connection = await server.connect(**login)
    try:
        for table, columns in DATED_BY_FOREIGN_KEYS.items():
            if table in found.rows:
                async with connection.cursor() as cursor:
                    whole = ", ".join(f"DATE_FORMAT({one}, '%Y-%m-%d %H:%i:%s')" for one in ("row_start", "row_end"))
                    await cursor.execute(
                        f"SELECT {columns}, {whole} FROM {table} FOR SYSTEM_TIME ALL ORDER BY 1, 2, 3, 4"
                    )
                    found.rows[table] = (found.rows[table][0], str(await cursor.fetchall()))
    finally:
        connection.close()
    return found

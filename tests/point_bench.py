"""A cluster whose real log lies archived in a store, and the planning code of the restorer on it. No server, no Kafka.

The log is one that a server wrote (`tests.golden.binlogs`); transaction `n`, counted from 0, was committed `n` seconds
after BEGIN. Segments are cut at random bytes, so that transactions span them.
"""

import random
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from schemas.commands import RestoreRequest
from schemas.status import WindowStatus
from schemas.topics import STATUS
from services.restorer.handlers.behind import Seen, look_behind
from services.restorer.handlers.points import point_origin, read_lived
from services.restorer.handlers.sources import Origin
from services.restorer.handlers.tools import RestoreTools
from services.restorer.settings import RestorerSettings
from tests.fakes import ManualClock, RecordingPublisher, SharedView
from tests.golden.binlogs import recorded
from tests.unit.restorer.bench import entry, manifest, outcome
from tidewind.domain import keys
from tidewind.domain.gtids import Gtid, GtidList
from tidewind.domain.histories import History
from tidewind.domain.lived import microseconds
from tidewind.domain.log_stream import Transaction
from tidewind.domain.records import Timeline
from tidewind.domain.segments import SegmentHead, build
from tidewind.engines.mariadb.log.summary import MariaDBLogDecoder
from tidewind.engines.mariadb.log.transactions import Splitter
from tidewind.runtime.catalogue import Catalogue
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.operations import OperationLock
from tidewind.runtime.outbox import Composer
from tidewind.runtime.registry import Registry
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring
from tidewind.store.sealed import SealedStore

CLUSTER = "shop"
HISTORY = "hst_AAAAAAAAAA"
BEGIN = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
BASE = "bkp_0000000001"

_BEGUN: dict[tuple[int, int, int], tuple[tempfile.TemporaryDirectory[str], "PointBench"]] = {}
"""Benches as they were begun, by how: putting a hundred objects durably takes a second, copying their files does not."""


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


class PointBench:
    """`begin` first. `gtids[n]` is committed at `at(n)`; `after[n]` is the position with it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        randomness = SystemRandomness()
        self.folder = folder
        self.inner = DirectoryStore(folder)
        self.keyring = Keyring.generate("test", randomness)
        self.store = SealedStore(self.inner, self.keyring, randomness)
        self.clock = ManualClock(at(3600))
        self.publisher = RecordingPublisher()
        self.gtids: list[str] = []
        self.after: list[str] = []
        self.segments: list[SegmentHead] = []
        self._settings = RestorerSettings(**settings)
        self.forget()

    def forget(self) -> None:
        """What a new process knows."""
        ledger = Ledger(self.store)
        self.tools = RestoreTools(
            engines={},
            store=self.store,
            open_store=lambda: None,  # type: ignore[arg-type, return-value]
            ledger=ledger,
            operations=OperationLock(self.store, ledger),
            registry=Registry(self.store),
            catalogue=Catalogue(self.store),
            archived=LogArchive(self.store),
            decoders={"mariadb": MariaDBLogDecoder()},
            view=SharedView(self.publisher),
            clock=self.clock,
            mint=lambda name: name,
            settings=self._settings,
        )

    async def begin(self, *, base_after: int = 4, seed: int = 1, mean_bytes: int = 3_000) -> "PointBench":
        """Archive the log, with a base behind transaction `base_after`."""
        how = (base_after, seed, mean_bytes)
        if how not in _BEGUN:
            await self.inner.open()
            await self.history(1)
            await self._archive(random.Random(seed), mean_bytes)
            await self.base(BASE, base_after)
            await self.timeline("main")
            aside = tempfile.TemporaryDirectory()
            shutil.copytree(self.folder, aside.name, dirs_exist_ok=True)
            _BEGUN[how] = aside, self
        else:
            aside, like = _BEGUN[how]
            shutil.copytree(aside.name, self.folder, dirs_exist_ok=True)
            self.keyring = like.keyring
            self.store = SealedStore(self.inner, self.keyring, SystemRandomness())
            self.gtids, self.after, self.segments = list(like.gtids), list(like.after), list(like.segments)
            self.forget()
            await self.inner.open()
        return self

    async def history(self, number: int, **more: Any) -> None:
        values = {
            "cluster_id": CLUSTER,
            "history": HISTORY if number == 1 else f"hst_{number:010d}",
            "number": number,
            "position": "",
            "begin_us": microseconds(at(-1)),
            "cause": "first",
            "server_identity": "1-aaaa",
            "server_version": "10.11.19",
            "started_at": at(-1),
            **more,
        }
        await self.store.put(keys.history_claim(CLUSTER, number), History.model_validate(values).to_bytes())

    async def _archive(self, rng: random.Random, mean_bytes: int) -> None:
        splitter = Splitter()
        data, groups = splitter.feed(recorded("10.11"))
        whole = [
            Transaction(gtid, start, end, microseconds(at(number)), flags, checksum)
            for number, (gtid, _, _, start, end, _, flags, checksum) in enumerate(groups)
        ]
        position, begun, rest = GtidList(), 0, whole
        while begun < len(data):
            end = min(begun + rng.randint(1, 2 * mean_bytes), len(data))
            ended = [one for one in rest if one.end <= end]
            rest = rest[len(ended) :]
            before = position
            for one in ended:
                position = position.advanced(Gtid.parse(one.gtid))
                self.gtids.append(one.gtid)
                self.after.append(str(position))
            last_us = ended[-1].time_us if ended else None
            head = SegmentHead(
                cluster_id=CLUSTER,
                history=HISTORY,
                number=len(self.segments) + 1,
                session="000000000001",
                start=begun,
                end=end,
                from_position=str(before),
                to_position=str(position),
                first_us=ended[0].time_us if ended else None,
                last_us=last_us,
                complete_us=max(microseconds(at(len(self.gtids) - 1)), microseconds(at(-1))),
                precision="clock",
                transactions=len(ended),
                preamble=bytes(splitter.description).hex(),
                table_stored=0,
                table_crc=0,
                frames=(),
                sealed_us=0,
            )
            self.segments.append(head)
            await self.store.put(
                keys.segment(CLUSTER, HISTORY, head.number), build(head, ended, bytes(data[begun:end]))
            )
            begun = end

    async def base(self, backup: str, behind: int, **more: Any) -> None:
        """A backup taken half a second behind a transaction."""
        key = f"snapshots/{CLUSTER}/{backup}/a0001/manifest.json"
        values = {
            "backup_id": backup,
            "manifest_key": key,
            "snapshot_time": at(behind + 0.5),
            "position": self.after[behind],
            "history": HISTORY,
            "timeline": "main",
            **more,
        }
        held = manifest(backup_id=backup, snapshot_time=values["snapshot_time"], position=values["position"])
        await self.store.put(key, held.to_bytes())
        await self.store.put(keys.outcome(CLUSTER, backup), outcome(**values).to_bytes())

    async def timeline(self, name: str, **more: Any) -> None:
        values = {
            "cluster_id": CLUSTER,
            "timeline": name,
            "parent": None if name == "main" else "main",
            "cut": None,
            "parent_end": None,
            "history": None,
            "start": None,
            "started_at": at(-1),
            **more,
        }
        await self.store.put(keys.timeline(CLUSTER, name), Timeline.model_validate(values).to_bytes())

    async def origin(self, **target: Any) -> Origin:
        """What the restorer's planning finds for a command. Raises Refused, StoreError."""
        command = {"cluster_id": CLUSTER, "mode": "point_in_time", **target}
        return await point_origin(self.tools, RestoreRequest.model_validate(command))

    async def behind(self, *, server_position: str | None = None, **target: Any) -> Seen | None:
        lived = await read_lived(self.tools, CLUSTER)
        position = self.after[-1] if server_position is None else server_position
        return await look_behind(self.tools, entry(), lived, await self.origin(**target), position)

    def window(self, **fields: Any) -> None:
        """What the archive says, as a status on Kafka."""
        body = WindowStatus.model_validate({"cluster_id": CLUSTER, "at": self.clock.now(), "intervals": (), **fields})
        composer = Composer("/tidewind/changelog/test", self.clock, self.tools.view)
        self.publisher.post(STATUS, composer.status("window", body))

"""MariaDB's side of a restore in place: implements `tidewind.ports.restore`."""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal

from tidewind.domain.manifest import DatabaseObject, Schema
from tidewind.engines.mariadb.connection import Access
from tidewind.engines.mariadb.illformed import HELPER_PREFIX
from tidewind.engines.mariadb.loading import LOAD_SQL_MODE
from tidewind.engines.mariadb.quoting import quote_table
from tidewind.engines.mariadb.replay import progress as replay_progress
from tidewind.engines.mariadb.replay import session as replaying
from tidewind.engines.mariadb.replay import start_over
from tidewind.engines.mariadb.restore import (
    account_statements,
    accounts_of,
    archived_servers,
    by_hand,
    doors,
    examination,
    fence,
    gate,
    load,
    names,
    objects,
    position,
    reading,
    safeguard,
    survey,
    system_rows,
    variables,
    verify,
    ways_out,
    worker,
)
from tidewind.engines.mariadb.restore.account_rows import RowDoors
from tidewind.engines.mariadb.restore.account_statements import StatementDoors
from tidewind.engines.mariadb.restore.account_swap import SwapDoors
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.definitions import Definitions
from tidewind.engines.mariadb.restore.doors import Doors
from tidewind.engines.mariadb.restore.fence import Held
from tidewind.engines.mariadb.restore.link import Link, open_link
from tidewind.engines.mariadb.restore.pool import Pool
from tidewind.engines.mariadb.restore.worker import LoadPool
from tidewind.engines.mariadb.variables import read_variables
from tidewind.ports.engine import Address, Login, Report, RestoreScope, TargetState
from tidewind.ports.restore import (
    Gated,
    Loaded,
    Memory,
    Mint,
    Opened,
    PointSource,
    Replayed,
    SafeguardSource,
    SnapshotSource,
    Source,
    SourceState,
)

DEFAULT_WORKERS = 2
_SETS: tuple[names.SetKind, ...] = ("gate", "target", "closed")
"""Sets of account tables that no restore needs any more when it is over."""


class MariaDBRestoreEngine:
    """`workers`: processes that load and verify."""

    def __init__(self, *, workers: int = DEFAULT_WORKERS) -> None:
        self._workers = workers

    async def survey(self, address: Address, login: Login) -> TargetState:
        async with _linked(Access(address=address, login=login)) as link:
            return await survey.look(link)

    async def examine(
        self,
        address: Address,
        login: Login,
        source: Source,
        *,
        keep_accounts: tuple[str, ...],
        replicas: Literal["none", "attached"],
    ) -> SourceState:
        async with _linked(Access(address=address, login=login)) as link:
            return await examination.examine(link, source, keep_accounts, logged=replicas == "attached")

    @contextlib.asynccontextmanager
    async def session(
        self,
        scope: RestoreScope,
        address: Address,
        login: Login,
        *,
        mint: Mint,
        keep_accounts: tuple[str, ...],
        began_on: str | None,
    ) -> AsyncIterator["MariaDBRestoreSession"]:
        logged = scope.replicas == "attached"
        service = Access(address=address, login=login)
        async with _linked(service, logged=logged) as link:
            held = await fence.take(link, scope, mint, began_on)
            minted = Access(address=link.access.address, login=held.login)
        async with _linked(minted, logged=logged) as link:
            identity = await fence.server_identity(link)
            session = MariaDBRestoreSession(
                link, scope, held, identity=identity, keep_accounts=keep_accounts, workers=self._workers
            )
            try:
                yield session
            finally:
                await session.close()

    async def expire(
        self, address: Address, login: Login, restore_id: str, *, replicas: Literal["none", "attached"]
    ) -> int:
        async with _linked(Access(address=address, login=login), logged=replicas == "attached") as link:
            dropped = await safeguard.drop_schemas(link, names.own_prefix(restore_id))
            async with link.unlogged():
                await AccountSets(link, restore_id).drop("saved")
            return dropped


class MariaDBRestoreSession:
    """One epoch, on one connection under its own account."""

    def __init__(
        self,
        link: Link,
        scope: RestoreScope,
        held: Held,
        *,
        identity: str,
        keep_accounts: tuple[str, ...],
        workers: int,
    ) -> None:
        self.identity = identity
        self._link = link
        self._scope = scope
        self._held = held
        self._keep_users = list(dict.fromkeys((held.service[0], *keep_accounts)))
        self._workers = workers
        self._pool: LoadPool | None = None

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def gate(self, source: Source, memory: Memory, report: Report) -> Gated:
        report("gating", 0, None, "")
        return await gate.close(
            self._link,
            self._scope,
            await self._doors(memory),
            keep_users=self._keep_users,
            fill_target=lambda sets: accounts_of.fill(self._link, sets, source, self._pool_for),
            memory=memory,
        )

    async def safeguard(self, memory: Memory, report: Report) -> int:
        kept = await memory.get(safeguard.KEPT_DEFINITIONS)
        if kept is None:
            present = await reading.definitions(self._link)
            kept = await memory.keep(safeguard.KEPT_DEFINITIONS, present.to_facts())
        return await safeguard.set_aside(self._link, self._scope.restore_id, Definitions.from_facts(kept), report)

    async def load(self, source: Source, report: Report) -> Loaded:
        if isinstance(source, SnapshotSource):
            return await load.load(self._link, source.manifest, self._pool_for(source), report)
        kept = _definitions_of(source)
        await objects.create_schemas(self._link, kept.schemas)
        moves = safeguard.safety_moves(source.restore_id, kept)
        await safeguard.move(self._link, [(safe, home) for home, safe in moves])
        return Loaded(tables=len(moves), rows=0, row_bytes=0)

    async def replay(self, source: PointSource, memory: Memory, report: Report) -> Replayed:
        report("replaying", 0, None, "")
        await self._keep_variables(memory)
        if await start_over.must(self._link, self._scope):
            await start_over.clear(self._link, self._scope, [self._held.service[0]])
            await self.load(source, report)
            await start_over.loaded(self._link, self._scope)
        await self.close()  # the memory of workers that idle is the replay's
        return await replaying.replay(
            self._link,
            self._scope,
            source,
            memory,
            report,
            spared=tuple(self._keep_users),
            lanes=self._workers,
        )

    async def define(self, source: Source, memory: Memory, report: Report) -> tuple[str, ...]:
        report("defining", 0, None, "")
        if isinstance(source, PointSource):
            broken = list(await replaying.broken_objects(memory))
        elif isinstance(source, SnapshotSource):
            wanted = [one for one in source.manifest.objects if one.kind not in ("event", "sequence")]
            broken = await objects.create_objects(self._link, wanted, source.manifest.schemas)
        else:
            kept = _definitions_of(source)
            broken = await objects.create_objects(self._link, kept.objects, kept.schemas)
        await self._keep_variables(memory)
        refused = await variables.apply(self._link, _variables_of(source))
        if isinstance(source, SnapshotSource):
            pool = None if self._held.closing == "statements" else self._pool_for(source)
            refused += await system_rows.put_back(self._link, source, pool)
        async with self._link.unlogged():
            if isinstance(source, PointSource) and "servers" in source.states:
                sets = AccountSets(self._link, self._scope.restore_id)
                await archived_servers.put(self._link, sets, source.states["servers"])
            untaken = await (await self._doors(memory)).bring("target", tolerant=False)
        return (*broken, *refused, *untaken)

    async def verify(self, source: Source, report: Report) -> Loaded:
        if isinstance(source, PointSource):
            report("verifying", 0, None, "")
            await self.close()
            return await verify.replayed(self._link, source.manifest, self._scope.restore_id)
        if isinstance(source, SnapshotSource):
            report("verifying", 0, None, "")
            pool = self._pool_for(source)
            verified = await verify.verify(self._link, source.manifest, self._scope.restore_id, pool)
            await self.close()  # so that no worker is connected under the epoch's account when the users come back
            return verified
        return await verify.moved(self._link, _definitions_of(source))

    async def unchanged_since(self, position_then: str | None) -> bool:
        return self._link.logged or await position.head(self._link) == position_then

    async def open(self, memory: Memory, report: Report) -> Opened:
        report("opening", 0, None, "")
        return await ways_out.open_up(self._link, self._scope, await self._doors(memory), memory)

    async def give_back(self, source: Source | None, memory: Memory, report: Report) -> tuple[str, ...]:
        report("returning", 0, None, "")
        return await ways_out.give_back(self._link, self._scope, await self._doors(memory), source, memory)

    async def settle(self, source: Source | None, memory: Memory, *, opened: bool) -> tuple[str, ...]:
        if not opened:
            return await ways_out.settle_returned(self._link, memory)
        not_made = await ways_out.settle_opened(
            self._link,
            self._scope,
            memory,
            events=[] if source is None else await _events_of(source, memory),
            schemas=await _schemas_then(self._link, source),
            wanted={} if source is None else _variables_of(source),
        )
        return not_made if source is not None else (*not_made, "events: the backup can no longer be read")

    async def open_by_hand(self, memory: Memory) -> tuple[str, ...]:
        return await by_hand.way_back(self._link, self._scope, await self._doors(memory), memory)

    async def finish(self, source: Source | None, memory: Memory, *, opened: bool) -> None:
        if not opened:
            await self._refuse_to_lose_tables(memory)
        sets = AccountSets(self._link, self._scope.restore_id)
        async with self._link.unlogged():
            await sets.drop(*(_SETS if opened else (*_SETS, "saved")))
            await account_statements.forget(self._link, self._scope.restore_id)
            if opened and isinstance(source, SafeguardSource):
                await AccountSets(self._link, source.restore_id).drop("saved")
        await safeguard.drop_schemas(self._link, names.own_prefix(self._scope.restore_id) + ("t" if opened else ""))
        if opened and isinstance(source, SafeguardSource):
            await safeguard.drop_schemas(self._link, names.own_prefix(source.restore_id))
        await self._drop_helpers()
        await self._link.run(replay_progress.DROP)
        await fence.end(self._link, self._scope, self._held.closing)

    async def _doors(self, memory: Memory) -> Doors:
        """The way in which the first epoch that came to the gate closed it, or will."""
        kept = await memory.keep(doors.KEPT_CLOSING, {"closing": self._held.closing})
        sets = AccountSets(self._link, self._scope.restore_id)
        if kept["closing"] == "swap":
            return SwapDoors(self._link, sets, self._scope.restore_id, self._keep_users[0])
        if kept["closing"] == "rows":
            return RowDoors(self._link, sets, self._keep_users[0], memory)
        return StatementDoors(self._link, sets, self._scope.restore_id, self._keep_users, memory)

    async def _keep_variables(self, memory: Memory) -> None:
        if await memory.get(ways_out.KEPT_VARIABLES) is None:
            present, _ = await read_variables(self._link.control)
            ours = variables.HELD_BY_THE_RESTORE
            own = {name: value for name, value in present.items() if name not in ours}
            await memory.keep(ways_out.KEPT_VARIABLES, {"variables": own})

    def _pool_for(self, source: SnapshotSource) -> LoadPool:
        """The workers of this session, made at the first call: a session restores from one source."""
        if self._pool is None:
            start = worker.Start(
                access=self._link.access,
                open_store=source.open_store,
                restore_id=self._scope.restore_id,
                logged=self._link.logged,
                sql_mode=LOAD_SQL_MODE,
            )
            self._pool = Pool(worker.main, start, self._workers)
        return self._pool

    async def _refuse_to_lose_tables(self, memory: Memory) -> None:
        """Raises DatabaseError while a table of the users may be in what `finish` drops. Once the users are in they may
        drop tables themselves, so what counts then is that all stood at home before."""
        kept = await memory.get(safeguard.KEPT_DEFINITIONS)
        if kept is not None and await memory.get(ways_out.KEPT_BACK) is None:
            await verify.moved(self._link, Definitions.from_facts(kept))

    async def _drop_helpers(self) -> None:
        """What dead workers and a dead predecessor left in the work schema."""
        found = await self._link.rows(
            f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{names.WORK_SCHEMA}' "
            f"AND table_name REGEXP '^{HELPER_PREFIX}[0-9]+$'"
        )
        for (table,) in found:
            await self._link.run(f"DROP TABLE IF EXISTS {quote_table(names.WORK_SCHEMA, str(table))}")


@contextlib.asynccontextmanager
async def _linked(access: Access, *, logged: bool = False) -> AsyncIterator[Link]:
    link = await open_link(access, logged=logged)
    try:
        yield link
    finally:
        await link.close()


def _definitions_of(source: SafeguardSource) -> Definitions:
    return Definitions.from_facts(source.kept[safeguard.KEPT_DEFINITIONS])


async def _events_of(source: Source, memory: Memory) -> Sequence[DatabaseObject]:
    if isinstance(source, PointSource):
        return await replaying.replayed_events(memory)
    if isinstance(source, SnapshotSource):
        return [one for one in source.manifest.objects if one.kind == "event"]
    return [DatabaseObject.model_validate(event) for event in source.kept[gate.KEPT_EVENTS]["events"]]


async def _schemas_then(link: Link, source: Source | None) -> Sequence[Schema]:
    """As the users find them."""
    if source is None:
        return []
    if isinstance(source, PointSource):
        return await reading.present_schemas(link)
    return source.manifest.schemas if isinstance(source, SnapshotSource) else _definitions_of(source).schemas


def _variables_of(source: Source) -> Mapping[str, str | None]:
    """Those of a safeguard are what was kept when it was made; the gate keeps the ones it needs itself."""
    if isinstance(source, PointSource) and "variables" in source.states:
        return {**source.manifest.variables, **source.states["variables"]}
    if isinstance(source, SnapshotSource):
        return source.manifest.variables
    return {**source.kept[ways_out.KEPT_VARIABLES]["variables"], **source.kept[gate.KEPT_GATE]}

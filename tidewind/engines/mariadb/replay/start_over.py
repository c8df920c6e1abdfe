"""Begins a restore's load and replay anew, after a crash left tables without transactions in a state nobody can tell.

Everything in the users' schemas is the restore's own by then: what was there before stands in the safety schemas, which
this never touches. The live account tables are made the base's again, locked, in one swap.

Invariant: what says that this is needed stays until the base is loaded again. Whoever dies in between is followed by
one that begins with dropping; without it the follower would replay onto whatever part of the base was there.
"""

from collections.abc import Sequence

from tidewind.engines.mariadb.quoting import quote_name, text_literal
from tidewind.engines.mariadb.replay import progress
from tidewind.engines.mariadb.restore import safeguard
from tidewind.engines.mariadb.restore.account_swap import SwapDoors
from tidewind.engines.mariadb.restore.accounts import AccountSets
from tidewind.engines.mariadb.restore.fence import PROGRESS
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.statements import path
from tidewind.ports.engine import RestoreScope

_DROP_SECONDS = 3600.0


async def must(link: Link, scope: RestoreScope) -> bool:
    """Whether a predecessor died where only this helps. Raises DatabaseError."""
    await link.run(progress.MAKE)
    return progress.read(await link.rows(progress.select(scope.restore_id))).uncertain


async def clear(link: Link, scope: RestoreScope, spared: Sequence[str]) -> None:
    """Drop what was loaded and replayed. Raises DatabaseError."""
    for schema in await safeguard.user_schemas(link):
        await link.run(f"DROP DATABASE IF EXISTS {quote_name(schema)}", deadline_s=_DROP_SECONDS)
    sets = AccountSets(link, scope.restore_id)
    async with link.unlogged():
        await sets.make_empty("gate")
        await sets.copy("gate", sets.tables("target"))
        await sets.lock_all_but("gate", spared)
        await sets.add_minted("gate")
        await SwapDoors(link, sets, scope.restore_id, spared[0]).put_in_force("gate", "closed")
        await sets.drop("closed")
    await link.run(f"DELETE FROM {path(PROGRESS)} WHERE restore_id = {text_literal(scope.restore_id)}")


async def loaded(link: Link, scope: RestoreScope) -> None:
    """The base is there again: the replay begins at it. Raises DatabaseError."""
    await link.run(progress.forget(scope.restore_id))

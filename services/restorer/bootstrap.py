"""Names the restorer's adapters and starts it."""

import hashlib
import hmac

from schemas.topics import RESTORES
from services.restorer.handlers.availability import AvailabilityKeeper
from services.restorer.handlers.cancel import CancelRestore
from services.restorer.handlers.expiry import Expiry
from services.restorer.handlers.request import RequestRestore
from services.restorer.handlers.statuses import RestoreStatuses
from services.restorer.handlers.tools import RestoreTools
from services.restorer.handlers.undo import UndoRestore
from services.restorer.handlers.undone import UndoneRestores
from services.restorer.settings import RestorerSettings
from tidewind.assembly import Platform, command_consumer, open_platform, serve_health
from tidewind.engines.mariadb.log.summary import MariaDBLogDecoder
from tidewind.engines.mariadb.restore.engine import MariaDBRestoreEngine
from tidewind.ports.restore import Mint
from tidewind.runtime.clock import SystemRandomness
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.service import JobService
from tidewind.runtime.workers import prepare_workers
from tidewind.store.keyring import MINTED_ACCOUNTS

NAME = "restorer"


async def serve() -> int:
    """Run until a signal; the exit code."""
    async with open_platform(NAME) as platform:
        await _assemble(platform)
        await serve_health(platform)
        return await platform.host.run()


def mint_with(key: bytes) -> Mint:
    """Passwords that follow from an account's name and the deployment's key: every instance derives the same ones, and
    nothing but the key tells them."""

    def mint(account: str) -> str:
        return hmac.new(key, account.encode(), hashlib.sha256).hexdigest()

    return mint


def mint_of(platform: Platform) -> Mint:
    """By the keyring's active key. A deployment that keeps none uses a key of this process: a successor replaces its
    predecessor's accounts anyway."""
    keyring = platform.store.keyring
    return mint_with(keyring.derive(MINTED_ACCOUNTS, 32) if keyring else SystemRandomness().token(32))


async def _assemble(platform: Platform) -> None:
    settings = RestorerSettings()
    await prepare_workers(
        (
            "tidewind.engines.mariadb.restore.worker",
            "tidewind.engines.mariadb.replay.worker",
            *platform.store_modules,
        )
    )
    service = JobService(
        NAME,
        platform.service.instance,
        store=platform.store,
        publisher=platform.publisher,
        view=platform.view,
        clock=platform.clock,
        partition_of=platform.partition_of,
        partitions=platform.partitions,
        max_age_s=settings.restore_max_age_s,
    )
    tools = RestoreTools(
        engines={"mariadb": MariaDBRestoreEngine(workers=settings.workers)},
        store=platform.store,
        open_store=platform.open_store,
        ledger=service.ledger,
        operations=service.operations,
        registry=service.registry,
        catalogue=service.catalogue,
        archived=LogArchive(platform.store),
        decoders={"mariadb": MariaDBLogDecoder()},
        view=platform.view,
        clock=platform.clock,
        mint=mint_of(platform),
        settings=settings,
    )
    service.offer((RequestRestore(tools), UndoRestore(tools), CancelRestore(tools)))
    consumer = command_consumer(platform, service, RESTORES, group=NAME)
    availability = AvailabilityKeeper(
        tools, publisher=platform.publisher, composer=service.composer, view=platform.view, owns=service.owns
    )
    statuses = RestoreStatuses(
        tools, publisher=platform.publisher, composer=service.composer, view=platform.view, owns=service.owns
    )
    undone = UndoneRestores(
        publisher=platform.publisher,
        composer=service.composer,
        view=platform.view,
        clock=platform.clock,
        owns=service.owns,
    )
    expiry = Expiry(tools, publisher=platform.publisher, composer=service.composer, owns=service.owns)
    platform.host.add("consumer", consumer.run)
    platform.host.add("takeover", service.take_over)
    platform.host.add("late statuses", service.late_statuses.run)
    platform.host.add("availability", availability.run)
    platform.host.add("restore statuses", statuses.run)
    platform.host.add("undone restores", undone.run)
    platform.host.add("expiry", expiry.run)
    platform.host.on_close("jobs", lambda: service.stop(platform.service.stop_deadline_s))

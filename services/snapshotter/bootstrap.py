"""Names the snapshotter's adapters and starts it."""

from schemas.topics import BACKUPS
from services.snapshotter.handlers.delete import DeleteBackup
from services.snapshotter.handlers.enroll import Enroll, Probe, UpdateConnection
from services.snapshotter.handlers.run import RunBackup
from services.snapshotter.handlers.statuses import StatusKeeper
from services.snapshotter.handlers.sweep import Sweeper
from services.snapshotter.handlers.tools import SnapshotTools
from services.snapshotter.handlers.verify import VerifyBackup
from services.snapshotter.settings import SnapshotterSettings
from tidewind.assembly import Platform, command_consumer, open_platform, serve_health
from tidewind.domain.regions import extend_regions, shipped_regions
from tidewind.engines.mariadb.snapshot import MariaDBSnapshotEngine
from tidewind.runtime.service import JobService
from tidewind.runtime.settings import RegionSettings

NAME = "snapshotter"


async def serve() -> int:
    """Run until a signal; the exit code."""
    async with open_platform(NAME) as platform:
        await _assemble(platform)
        await serve_health(platform)
        return await platform.host.run()


async def _assemble(platform: Platform) -> None:
    settings = SnapshotterSettings()
    service = JobService(
        NAME,
        platform.service.instance,
        store=platform.store,
        publisher=platform.publisher,
        view=platform.view,
        clock=platform.clock,
        partition_of=platform.partition_of,
        partitions=platform.partitions,
        for_others=frozenset({"tidewind.segments.delete.v1"}),
    )
    tools = SnapshotTools(
        engines={"mariadb": MariaDBSnapshotEngine()},
        store=platform.store,
        open_store=platform.open_store,
        registry=service.registry,
        catalogue=service.catalogue,
        clock=platform.clock,
        settings=settings,
        key_id=platform.store.keyring.active if platform.store.keyring else None,
    )
    probe = Probe(tools.engines, settings.preflight_timeout_s)
    regions = extend_regions(shipped_regions(), RegionSettings().regions)
    service.offer(
        (
            Enroll(probe, service.registry, regions),
            UpdateConnection(probe, service.registry, regions, platform.clock),
            RunBackup(tools),
            DeleteBackup(tools, service.ledger),
            VerifyBackup(tools, platform.store),
        )
    )
    sweeper = Sweeper(tools, service.ledger, platform.publisher, service.composer, service.owns)
    keeper = StatusKeeper(
        service.registry,
        service.catalogue,
        publisher=platform.publisher,
        composer=service.composer,
        view=platform.view,
        clock=platform.clock,
        owns=service.owns,
        every_s=settings.statuses_every_s,
    )
    consumer = command_consumer(platform, service, BACKUPS, group=NAME)
    platform.host.add("consumer", consumer.run)
    platform.host.add("takeover", service.take_over)
    platform.host.add("late statuses", service.late_statuses.run)
    platform.host.add("sweeper", sweeper.run)
    platform.host.add("statuses", keeper.run)
    platform.host.on_close("jobs", lambda: service.stop(platform.service.stop_deadline_s))

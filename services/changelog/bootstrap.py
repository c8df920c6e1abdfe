"""Names the changelog's adapters and starts it."""

from datetime import timedelta
from functools import partial

from schemas.envelope import Message
from schemas.topics import BACKUPS, CHANGES
from services.changelog.handlers.archive import Archive
from services.changelog.handlers.captures import Captures
from services.changelog.handlers.figures import figures
from services.changelog.handlers.notices import CaptureNotices
from services.changelog.handlers.removal import DeleteSegments
from services.changelog.handlers.rollups import RollUps
from services.changelog.handlers.room import Room
from services.changelog.handlers.sending import CaptureTools
from services.changelog.handlers.windows import Windows
from services.changelog.settings import MIB, ChangelogSettings
from tidewind.assembly import Platform, open_platform, serve_health
from tidewind.bus.consumer import Consumer, ConsumerRules
from tidewind.engines.mariadb.capture import MariaDBCaptureEngine
from tidewind.ports.bus import RecordHandler
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.metrics import follow_consumer, follow_logs
from tidewind.runtime.service import JobService

NAME = "changelog"


async def serve() -> int:
    """Run until a signal; the exit code."""
    async with open_platform(NAME) as platform:
        _assemble(platform)
        await serve_health(platform)
        return await platform.host.run()


def deletions_only(handle: RecordHandler) -> RecordHandler:
    """Whatever else comes on the topic, the snapshotter answers, also what nobody knows: once, not twice."""

    async def handled(message: Message) -> None:
        if message.type == DeleteSegments.command:
            await handle(message)

    return handled


def _assemble(platform: Platform) -> None:
    settings = ChangelogSettings()
    service = JobService(
        NAME,
        platform.service.instance,
        store=platform.store,
        publisher=platform.publisher,
        view=platform.view,
        clock=platform.clock,
        partition_of=platform.partition_of,
        partitions=platform.partitions,
    )
    composer = service.composer
    archived = LogArchive(platform.store)
    removal = DeleteSegments(
        platform.store,
        archived,
        service.catalogue,
        service.registry,
        service.ledger,
        clock=platform.clock,
        window=timedelta(days=settings.point_in_time_days),
    )
    service.offer((removal,))

    def commit_soon() -> None:
        consumer.commit_soon()

    archive = Archive(
        platform.store,
        platform.store,
        archived,
        clock=platform.clock,
        settings=settings,
        commit_soon=commit_soon,
    )
    tools = CaptureTools(
        store=platform.store,
        seal=platform.store,
        archived=archived,
        publisher=platform.publisher,
        view=platform.view,
        clock=platform.clock,
        settings=settings,
        room=Room(settings.capture_total_mib * MIB),
        notices=partial(
            CaptureNotices,
            publisher=platform.publisher,
            composer=composer,
            view=platform.view,
            clock=platform.clock,
        ),
    )
    engines = {"mariadb": MariaDBCaptureEngine()} if settings.capture else {}
    captures = Captures(service.registry, engines, tools, service.owns)

    async def assigned(partitions: frozenset[int]) -> None:
        await service.assigned(partitions)
        await captures.assigned()

    consumer = Consumer(
        platform.connection,
        platform.publisher,
        ConsumerRules(group=f"{platform.connection.settings.prefix}{NAME}", others=frozenset({BACKUPS.name})),
        {BACKUPS: deletions_only(service.handle)},
        clock=platform.clock,
        binary={CHANGES: archive.take},
        held_back={CHANGES: archive.held_back},
        on_assigned=assigned,
        on_revoked=archive.lost,
    )
    windows = Windows(
        archive,
        archived,
        service.catalogue,
        publisher=platform.publisher,
        composer=composer,
        view=platform.view,
        clock=platform.clock,
        settings=settings,
    )
    roll_ups = RollUps(
        archive,
        archived,
        platform.store,
        service.catalogue,
        service.ledger,
        clock=platform.clock,
        settings=settings,
    )
    follow_consumer(NAME, consumer)
    follow_logs(
        lambda: [
            figures(
                cluster,
                platform.view.get(f"capture/{cluster}"),
                platform.view.get(f"window/{cluster}"),
                platform.clock.now(),
            )
            for cluster in sorted(captures.clusters | archive.logs.keys())
        ]
    )
    platform.host.add("consumer", consumer.run)
    platform.host.add("takeover", service.take_over)
    platform.host.add("late statuses", service.late_statuses.run)
    platform.host.add("captures", captures.run)
    platform.host.add("archive", archive.run)
    platform.host.add("windows", windows.run)
    platform.host.add("roll-ups", roll_ups.run)
    platform.host.on_close("archive", archive.flush)
    platform.host.on_close("jobs", lambda: service.stop(platform.service.stop_deadline_s))

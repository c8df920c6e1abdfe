"""Names the scheduler's adapters and starts it."""

from datetime import timedelta

from schemas.envelope import Message
from schemas.topics import COMMANDS, SCHEDULER_TABLE, SCHEDULER_TICKS
from services.scheduler.faust_app import FaustSettings, TickApplication, Work
from services.scheduler.handlers.backups import RouteDelete, RouteRun, RouteVerify
from services.scheduler.handlers.bases import BaseKeeper
from services.scheduler.handlers.clusters import EnrollCluster, RetireCluster, UpdateCluster
from services.scheduler.handlers.days import SlotDays
from services.scheduler.handlers.enrolments import Enrolments
from services.scheduler.handlers.log_removals import LogRemovals, Promise
from services.scheduler.handlers.registry_changes import Nudge, RegistryChanges
from services.scheduler.handlers.removals import RemovalKeeper
from services.scheduler.handlers.setting import SetBackupSetting
from services.scheduler.handlers.slots import SlotKeeper, SlotRules
from services.scheduler.handlers.speaker import Speaker
from services.scheduler.handlers.statuses import StatusKeeper
from services.scheduler.handlers.survey import Survey
from services.scheduler.handlers.ticks import Keepers, TickHandler, TickRules
from services.scheduler.rules.emission import forged
from services.scheduler.rules.overdue import Limits
from services.scheduler.settings import SchedulerSettings
from tidewind.assembly import Platform, command_consumer, open_platform, serve_health
from tidewind.domain import ids
from tidewind.domain.regions import extend_regions, shipped_regions
from tidewind.ports.bus import BusError, RecordHandler
from tidewind.runtime.log_archive import LogArchive
from tidewind.runtime.metrics import STREAM_RESTARTS
from tidewind.runtime.service import JobService
from tidewind.runtime.settings import RegionSettings

NAME = "scheduler"
ENGINES = frozenset({"mariadb"})


async def serve() -> int:
    """Run until a signal; the exit code."""
    async with open_platform(NAME) as platform:
        app = await _assemble(platform, SchedulerSettings())
        await serve_health(platform, {"ticks": lambda: stuck_in_words(app.stuck())})
        return await platform.host.run()


async def _assemble(platform: Platform, settings: SchedulerSettings) -> TickApplication:
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
    days = SlotDays(service.ledger, service.catalogue)

    def nudge(cluster: str) -> None:
        platform.publisher.post(SCHEDULER_TICKS, _tick(platform, platform.partition_of(cluster), fresh=True))

    _offer_commands(service, days, platform, settings, nudge)
    ticks = _tick_handler(service, days, platform, settings)

    async def send_tick(partition: int) -> None:
        await platform.publisher.send(SCHEDULER_TICKS, _tick(platform, partition, fresh=False))

    app = TickApplication(
        await _faust_settings(platform, settings),
        Work(tick=ticks.handle, send_tick=send_tick, assigned=ticks.assigned),
        platform.clock,
    )
    consumer = command_consumer(platform, service, COMMANDS, group=f"{NAME}-commands", handle=_handler(service))
    platform.host.add("consumer", consumer.run)
    platform.host.add("stream application", app.run)
    platform.host.add("takeover", service.take_over)
    platform.host.add("late statuses", service.late_statuses.run)
    platform.host.add("enrolments", Enrolments(platform.view, platform.clock, nudge, owns=service.owns).run)
    platform.host.on_close("jobs", lambda: service.stop(platform.service.stop_deadline_s))
    STREAM_RESTARTS.set_function(lambda: app.restarts)
    return app


def stuck_in_words(partitions: frozenset[int]) -> str | None:
    """For `/readyz`."""
    return f"no tick comes back from the partitions {sorted(partitions)}" if partitions else None


def _offer_commands(
    service: JobService, days: SlotDays, platform: Platform, settings: SchedulerSettings, nudge: Nudge
) -> None:
    regions = extend_regions(shipped_regions(), RegionSettings().regions)
    changes = RegistryChanges(service.registry, platform.clock, nudge)
    service.offer(
        (
            EnrollCluster(regions, ENGINES),
            UpdateCluster(changes, regions),
            RetireCluster(changes, service.catalogue),
            SetBackupSetting(changes, days, service.catalogue, platform.clock),
            RouteRun(allowed=settings.allow_manual_backups),
            RouteDelete(),
            RouteVerify(),
        )
    )


def _tick_handler(service: JobService, days: SlotDays, platform: Platform, settings: SchedulerSettings) -> TickHandler:
    survey = Survey(platform.store, platform.clock, max_age_s=settings.tick_s / 2)
    speaker = Speaker(platform.publisher, service.composer.source)
    rules = SlotRules(
        grace=timedelta(hours=settings.grace_h),
        limits=Limits(begin=timedelta(minutes=settings.overdue_begin_min), end=timedelta(hours=settings.overdue_end_h)),
    )
    return TickHandler(
        TickRules(removal_every_s=settings.retention_every_min * 60),
        Keepers(
            slots=SlotKeeper(rules, days, survey, speaker, platform.view),
            bases=BaseKeeper(service.ledger, service.catalogue, survey, speaker),
            removals=RemovalKeeper(
                service.ledger,
                service.catalogue,
                survey,
                speaker,
                LogRemovals(
                    LogArchive(platform.store),
                    speaker,
                    Promise(
                        window=timedelta(days=settings.point_in_time_days),
                        max_replay=timedelta(days=settings.max_replay_days),
                    ),
                ),
            ),
            statuses=StatusKeeper(platform.publisher, service.composer, platform.view),
        ),
        survey=survey,
        store=platform.store,
        clock=platform.clock,
        partition_of=platform.partition_of,
    )


async def _faust_settings(platform: Platform, settings: SchedulerSettings) -> FaustSettings:
    """Raises BusError if a topic is missing or has another number of partitions than the rest."""
    for topic in (SCHEDULER_TICKS, SCHEDULER_TABLE):
        count = await platform.publisher.partitions(topic)
        if count != platform.partitions:
            raise BusError(
                f"{platform.connection.name(topic)} has {count} partitions, the others have {platform.partitions}; "
                "make all topics alike: tidewind topics check"
            )
    bus = platform.connection.settings
    return FaustSettings(
        prefix=bus.prefix,
        bootstrap=bus.bootstrap,
        partitions=platform.partitions,
        session_timeout_s=bus.session_timeout_s,
        request_timeout_s=bus.request_timeout_s,
        tick_s=settings.tick_s,
        stop_deadline_s=platform.service.stop_deadline_s / 2,
        security=await platform.connection.security(),
    )


def _tick(platform: Platform, partition: int, *, fresh: bool) -> Message:
    now = platform.clock.now()
    return Message(
        id=ids.derived_id(platform.service.instance, "tick", str(partition), now.isoformat()),
        type="tidewind.scheduler.tick.v1",
        source=f"/tidewind/{NAME}/{platform.service.instance}",
        time=now,
        key=str(partition),
        data={"fresh": fresh},
    )


def _handler(service: JobService) -> RecordHandler:
    async def handle(message: Message) -> None:
        poison = forged(message)
        if poison is not None:
            await service.refuse_poison(poison, message.key)
            raise poison
        await service.handle(message)

    return handle

"""Commands about backups: checked for what the scheduler knows, then sent on to the snapshotter, which answers them."""

from schemas.commands import BackupDelete, BackupRun
from schemas.replies import FieldError
from schemas.topics import BACKUPS
from services.scheduler.handlers.registry_changes import RoutedOnly, enrolled, known
from tidewind.domain.problems import refused
from tidewind.ports.jobs import Incoming, Route


class RouteRun(RoutedOnly):
    """`tidewind.backup.run.v1` from a user: only where the deployment allows manual backups."""

    command = "tidewind.backup.run.v1"

    def __init__(self, *, allowed: bool) -> None:
        self._allowed = allowed

    async def decide(self, incoming: Incoming) -> Route:
        command = incoming.command
        assert isinstance(command, BackupRun)
        enrolled(incoming)
        if not self._allowed:
            raise refused(
                "manual-backup-unsupported",
                "Backups are automatic and daily here; this deployment does not allow manual ones",
            )
        if command.cause != "manual" or command.slot_date is not None:
            raise refused(
                "invalid-command",
                'A backup that a user asks for has the cause "manual" and no slot_date',
                errors=(FieldError(field="cause", problem='"slot" and "base" are the scheduler\'s own'),),
            )
        return Route(topic=BACKUPS)


class RouteDelete(RoutedOnly):
    """`tidewind.backup.delete.v1` from a user. Backups of retired clusters can be deleted too."""

    command = "tidewind.backup.delete.v1"

    async def decide(self, incoming: Incoming) -> Route:
        command = incoming.command
        assert isinstance(command, BackupDelete)
        known(incoming)
        if command.cause != "manual":
            raise refused(
                "invalid-command",
                'A deletion that a user asks for has the cause "manual"',
                errors=(FieldError(field="cause", problem='"retention" is the scheduler\'s own'),),
            )
        return Route(topic=BACKUPS)


class RouteVerify(RoutedOnly):
    """`tidewind.backup.verify.v1`."""

    command = "tidewind.backup.verify.v1"

    async def decide(self, incoming: Incoming) -> Route:
        known(incoming)
        return Route(topic=BACKUPS)

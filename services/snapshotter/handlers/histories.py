"""The captured logs of a cluster."""

import structlog

from tidewind.domain.histories import History
from tidewind.ports.store import UNREADABLE
from tidewind.runtime.log_archive import LogArchive

log = structlog.get_logger()


async def newest_history(archived: LogArchive, cluster: str) -> History | None:
    """The one being written now. None where nobody captures, and where it cannot be read: a backup is worth having
    also if no replay can begin at it. Raises StoreError."""
    try:
        histories = await archived.histories(cluster)
    except UNREADABLE as error:
        log.warning(str(error), action="histories-unreadable", cluster=cluster)
        return None
    return histories[-1] if histories else None

"""The captured logs of a cluster."""

from tidewind.domain.histories import History
from tidewind.runtime.log_archive import LogArchive


async def newest_history(archived: LogArchive, cluster: str) -> History | None:
    """The one being written now, None where nobody captures. Raises StoreError."""
    histories = await archived.histories(cluster)
    return histories[-1] if histories else None

"""What else the `mysql` schema holds of a backup: statistics, which go back to the tables they are about, and names of
loadable libraries, which only the operator can bring back."""

from tidewind.domain.manifest import Manifest, SystemTable
from tidewind.engines.mariadb.quoting import quote_name
from tidewind.engines.mariadb.restore import names
from tidewind.engines.mariadb.restore.accounts_of import load_rows
from tidewind.engines.mariadb.restore.chunk_text import rows_of
from tidewind.engines.mariadb.restore.link import Link
from tidewind.engines.mariadb.restore.worker import LoadPool
from tidewind.ports.restore import SnapshotSource


async def put_back(link: Link, source: SnapshotSource, pool: LoadPool | None) -> list[str]:
    """Returns what cannot be put back, in words. Without a `pool` nothing is loaded into the `mysql` schema."""
    found = source.manifest.system_tables
    held_statistics = [held for held in found if held.rule == "statistics" and held.chunks]
    missing: list[str] = []
    if held_statistics and pool is not None:
        await _statistics(pool, source.manifest, held_statistics)
    elif held_statistics:
        missing.append("statistics of ANALYZE TABLE … PERSISTENT need rights on the tables of mysql")
    for held in found:
        if held.rule == "library":
            missing += await _library(link, source, held)
    return missing


async def _statistics(pool: LoadPool, manifest: Manifest, held: list[SystemTable]) -> None:
    """The rows about what was set aside stay: they followed the rename and follow it back."""
    wanted = [(one, ("mysql", one.name)) for one in held]
    await load_rows(pool, manifest, wanted, spare=f"db_name LIKE '{names.WORK_SCHEMA}%'")


async def _library(link: Link, source: SnapshotSource, held: SystemTable) -> list[str]:
    """What the backup knows of a library that is not loaded now, and the reverse."""
    chunks = {chunk.number: chunk.key for chunk in source.manifest.chunks}
    place = [column.lower() for column in held.columns].index("name")
    async with source.open_store() as store:
        then = {
            (row[place] or b"").decode(errors="replace")
            for number in held.chunks
            for row in await rows_of(store, chunks[number])
        }
    now = {str(row[0]) for row in await link.rows(f"SELECT name FROM mysql.{quote_name(held.name)}")}
    kind = "loadable function" if held.name == "func" else "plugin"
    return [
        *(f"{kind} {name} was installed then and is not now" for name in sorted(then - now)),
        *(f"{kind} {name} is installed now and was not then" for name in sorted(now - then)),
    ]

"""Which release takes back what another one wrote."""

from collections.abc import Sequence
from typing import Final

from tidewind.domain.manifest import Manifest
from tidewind.ports.engine import Finding

_LATER_END_OF_TIME: Final = (11, 5)
"""From this release on MariaDB's present rows end in 2106; before, they ended in 2038, which is the past of history."""
_LISTED: Final = 20


def crossing(manifest: Manifest, version: Sequence[int]) -> list[Finding]:
    """What speaks against putting a backup back on a server of this version: the same release takes back what any of
    its patches wrote, a later one what earlier ones did."""
    running = ".".join(map(str, version))
    then, now = tuple(int(part) for part in manifest.engine_version.split(".")[:2]), tuple(version[:2])
    if now < then:
        text = f"the server runs {running}, older than {manifest.engine_version} of the backup"
        return [Finding(subject="release", level="error", text=text, fix="upgrade the server")]
    if not then < _LATER_END_OF_TIME <= now:
        return []
    versioned = [table for table in manifest.tables if table.attributes.get("versioned")]
    return [
        Finding(
            subject="release",
            level="error",
            text=f"{table.schema_name}.{table.name} is system-versioned, and its present rows, as "
            f"{manifest.engine_version} wrote them, would be history on {running}",
            fix="restore on a server older than 11.5",
        )
        for table in versioned[:_LISTED]
    ]

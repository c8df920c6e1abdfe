"""Logs of real servers, one a release, written by `tests.servers.binlog_workload`; without the files' first four bytes.

`python -m tests.golden.binlogs` records them again.
"""

from pathlib import Path

import zstandard

RELEASES = ("10.5", "10.11", "11.4", "11.8")
HERE = Path(__file__).parent


def recorded(release: str) -> bytes:
    return zstandard.ZstdDecompressor().decompress((HERE / f"{release}.zst").read_bytes())

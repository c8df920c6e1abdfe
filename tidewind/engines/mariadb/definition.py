"""When is a table still the table it was? Pure.

DDL inside a consistent snapshot often passes without an error: an instant ADD, DROP or RENAME COLUMN, or two tables
swapped by RENAME, read as if nothing had happened, with wrong rows. So a table's definition is taken before the
snapshot begins and again, under the metadata lock of the read itself, after every chunk: the same text, the same
time of creation and the same stored tables behind the name (`stored`), on both sides of the snapshot's instant, mean
the same table at that instant.

The time of creation is that of the definition file, which every DDL that changes the text writes anew, also one that
undoes another. It has steps of one second, so a definition made in the very second of the first look is not settled:
one change before the snapshot and its undoing after it might not show. The snapshot begins when that second is over:
then the undoing does.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

_COUNTER: Final = re.compile(r"^(\) .*?)\s+AUTO_INCREMENT=\d+", re.MULTILINE)
_CLOCK_GRAIN: Final = timedelta(milliseconds=20)


@dataclass(frozen=True)
class Identity:
    """`text_sha256` is that of SHOW CREATE without its AUTO_INCREMENT counter; `made` the time of creation, UTC;
    `stored` as in `stored.by_table`."""

    text_sha256: str
    made: datetime | None
    stored: str


def identity(create: str, made: datetime | None, stored: str) -> Identity:
    text = _COUNTER.sub(r"\1", create)
    return Identity(sha256(text.encode(errors="surrogateescape")).hexdigest(), made, stored)


def auto_increment(create: str) -> int | None:
    """The counter in a SHOW CREATE TABLE."""
    found = re.search(r"^\) .*?\sAUTO_INCREMENT=(\d+)", create, re.MULTILINE)
    return int(found.group(1)) if found else None


def settled(made: datetime | None, looked_at: datetime) -> bool:
    """Whether a later change must show a later time of creation. `looked_at` is the server's clock."""
    return made is None or made < (looked_at - _CLOCK_GRAIN).replace(microsecond=0)

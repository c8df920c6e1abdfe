"""Rows events: what stands before the rows. No I/O."""

from dataclasses import dataclass
from typing import Final

from tidewind.engines.mariadb.log.compression import decompress
from tidewind.engines.mariadb.log.cursor import Cursor, Data
from tidewind.engines.mariadb.log.events import PLAIN_OF_COMPRESSED, UPDATE_ROWS, UPDATE_ROWS_V1, FormatDescription

STATEMENT_END: Final = 1
ROWS_NO_FOREIGN_KEY_CHECKS: Final = 2
ROWS_RELAXED_UNIQUE_CHECKS: Final = 4
"""Bits of the flags of a rows event."""


@dataclass(frozen=True, slots=True)
class RowsHeader:
    """What stands before the rows. `present` and `present_after` are bitmaps of the columns in the images; the latter
    is that of an UPDATE's second image. `rows` are plain, whatever they were in the log."""

    kind: int
    table_id: int
    flags: int
    columns: int
    present: bytes
    present_after: bytes | None
    rows: memoryview


def parse_rows(kind: int, body: Data, description: FormatDescription) -> RowsHeader:
    """Of any rows event; compressed rows come out plain, under the plain type. Raises EventDamaged."""
    cursor = Cursor(body)
    post_header = description.post_header_length(kind)
    table_id = cursor.number(4 if post_header == 6 else 6)
    flags = cursor.number(2)
    if post_header == 10:
        cursor.take(cursor.number(2) - 2)
    columns = cursor.packed()
    plain = PLAIN_OF_COMPRESSED.get(kind, kind)
    bitmap = (columns + 7) // 8
    present = cursor.text(bitmap)
    after = cursor.text(bitmap) if plain in (UPDATE_ROWS_V1, UPDATE_ROWS) else None
    rows = memoryview(decompress(cursor.rest())) if plain != kind else cursor.rest()
    return RowsHeader(plain, table_id, flags, columns, present, after, rows)

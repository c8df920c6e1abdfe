"""Counts the rows of row events, as fast as they are sent: what was applied is held against it.

The widths of a table's columns are numbers of 16 bits: a column of fixed size has it, one whose value begins with its
length has minus the bytes that the length takes. An UPDATE has two images a row; their widths differ only where the two
images hold different columns, which a log of full images never does.
"""

import struct
from collections.abc import Callable
from typing import Final

from tidewind.engines.mariadb.log.cursor import Cursor, EventDamaged
from tidewind.engines.mariadb.log.events import UPDATE_ROWS, UPDATE_ROWS_V1
from tidewind.engines.mariadb.log.tables import TableMap, parse_table_map, widths_of

_UPDATES: Final = (UPDATE_ROWS, UPDATE_ROWS_V1)


def count_images_in_python(data: bytes | bytearray | memoryview, widths: bytes) -> int:
    """Of images with these widths; -1 if they do not end with the data. See `_count.c`."""
    columns = struct.unpack(f"={len(widths) // 2}h", widths)
    if not columns:
        return -1
    at = count = 0
    while at < len(data):
        nulls = at
        at += (len(columns) + 7) // 8
        if at > len(data):
            return -1
        for number, width in enumerate(columns):
            if data[nulls + number // 8] >> number % 8 & 1:
                continue
            if width >= 0:
                at += width
            else:
                if at - width > len(data):
                    return -1
                at += int.from_bytes(data[at : at - width], "little") - width
            if at > len(data):
                return -1
        count += 1
    return count


count_images: Callable[[bytes | bytearray | memoryview, bytes], int]
try:
    from tidewind.engines.mariadb.replay._count import count_images
except ImportError:
    count_images = count_images_in_python


class RowCounter:
    """Counts the rows of one table's events."""

    def __init__(self, table_map: memoryview) -> None:
        """Of a TABLE_MAP event, whole. Raises EventDamaged."""
        self._table: TableMap = parse_table_map(table_map[19:-4])
        self._widths: dict[bytes, bytes] = {}

    def count(self, event: memoryview) -> int:
        """Of a plain row event, whole. Raises EventDamaged."""
        kind = event[4]
        at = 27 if kind < 30 else 27 + int.from_bytes(event[27:29], "little")
        columns = event[at]
        if columns < 251:
            at += 1
        else:
            cursor = Cursor(event, at)
            columns = cursor.packed()
            at = cursor.at
        bitmap = (columns + 7) // 8
        present = bytes(event[at : at + bitmap])
        at += bitmap
        update = kind in _UPDATES
        if update:
            present += bytes(event[at : at + bitmap])
            at += bitmap
        widths = self._widths.get(present)
        if widths is None:
            widths = self._widths[present] = self._packed(present, columns, bitmap)
        found = count_images(event[at:-4], widths)
        if not update:
            return self._whole(found)
        both = self._whole(found)
        if both % 2:
            raise EventDamaged("an UPDATE ends between the two images of a row")
        return both // 2

    def _packed(self, present: bytes, columns: int, bitmap: int) -> bytes:
        if columns != len(self._table.columns):
            raise EventDamaged(f"rows of {columns} columns for a table of {len(self._table.columns)}")
        if present[bitmap:] and present[bitmap:] != present[:bitmap]:
            raise EventDamaged("the images of an UPDATE hold different columns")
        found = widths_of(self._table, present[:bitmap])
        return struct.pack(f"={len(found)}h", *found)

    def _whole(self, found: int) -> int:
        if found < 0:
            raise EventDamaged("the rows of an event do not end where it does")
        return found

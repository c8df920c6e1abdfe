"""Text of rows, as it is stored, turned into the parameters of an array binding (COM_STMT_BULK_EXECUTE). Pure.

`bound(text, columns)` takes whole lines of the text that `rows` describes and gives, for each field,

    1 for NULL, or 0 and then the value: its length as the protocol counts, and its bytes without escapes

The C module does this at more than a gigabyte a second; `python_bound` is for installations without a compiler. Both
give the same bytes, which a property test holds them to.
"""

import re
from typing import Final

_NOT_ROWS: Final = "this is not the text of whole rows"
_UNKNOWN: Final = re.compile(rb"\\(?![tn])")


def python_bound(text: bytes | memoryview, columns: int) -> bytes:
    """ValueError unless it is whole rows of so many columns, with escapes that we write."""
    out: list[bytes] = []
    *lines, rest = bytes(text).split(b"\n")
    if rest or columns < 1:
        raise ValueError(_NOT_ROWS)
    for line in lines:
        fields = line.split(b"\t")
        if len(fields) != columns:
            raise ValueError(_NOT_ROWS)
        out += [_bound_field(field) for field in fields]
    return b"".join(out)


def length(size: int) -> bytes:
    """A length as the protocol writes it."""
    if size < 251:
        return bytes((size,))
    for mark, width in ((b"\xfc", 2), (b"\xfd", 3)):
        if size < 1 << (8 * width):
            return mark + size.to_bytes(width, "little")
    return b"\xfe" + size.to_bytes(8, "little")


def _bound_field(field: bytes) -> bytes:
    if field == b"\\N":
        return b"\x01"
    value = _unescaped(field) if b"\\" in field else field
    return b"\x00" + length(len(value)) + value


def _unescaped(field: bytes) -> bytes:
    """Two backslashes that touch are one escape, read from the left; what lies between such pairs holds no other, and
    can be replaced as a whole: many times faster than escape by escape."""
    parts = field.split(b"\\\\")
    if any(_UNKNOWN.search(part) for part in parts):
        raise ValueError(_NOT_ROWS)
    return b"\\".join([part.replace(b"\\t", b"\t").replace(b"\\n", b"\n") for part in parts])


try:
    from tidewind.engines.mariadb._params import bound

    COMPILED = True
except ImportError:  # installed without a compiler
    bound = python_bound
    COMPILED = False

__all__ = ["COMPILED", "bound", "length", "python_bound"]

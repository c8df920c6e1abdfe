"""Revisions of status records: (epoch, count), by which a predecessor's late record is told from the present."""

from collections.abc import Mapping

Revision = tuple[int, int]

NONE: Revision = (0, 0)
"""Lower than every revision that is given out."""


def revision_of(body: Mapping[str, object]) -> Revision:
    """The revision of a status body; NONE where it has none, or not two integers."""
    found = body.get("revision")
    if isinstance(found, list | tuple) and len(found) == 2 and all(type(part) is int for part in found):
        return (found[0], found[1])
    return NONE

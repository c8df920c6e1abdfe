"""Which log lies behind a point: what going back to it undoes. Pure.

A *trail* is all the log that led to a state, from the first piece on: of each timeline what its users wrote, of its
parents only what lay before the cut. Going from the present back to a point undoes what is on the present's trail and
not on the point's. That is not "everything later": a point of a future that was abandoned undoes only what was lived
since it was abandoned, and what an earlier restore had undone already is not undone again.
"""

from dataclasses import dataclass
from itertools import pairwise

from tidewind.domain.gtids import GtidList
from tidewind.domain.lived import Leg, Lived, Piece, pieces, usable
from tidewind.domain.timelines import present


@dataclass(frozen=True, kw_only=True)
class Trail:
    """`whole`: the legs hold all that was written; False where a gap lies between two of them, or where nobody captured
    what came before."""

    legs: tuple[Leg, ...]
    whole: bool


def trail(lived: Lived, piece: Piece, position: str) -> Trail:
    """What led to a position of a piece."""
    earlier = [
        one
        for one in pieces(lived)
        if one.timeline == piece.timeline and one.reach.history.number < piece.reach.history.number
    ]
    own = tuple(Leg(history=one.history, after=one.floor, upto=_end(one)) for one in earlier)
    own += (Leg(history=piece.history, after=piece.floor, upto=position),)
    before = _before(lived, earlier[0] if earlier else piece)
    return Trail(legs=(*before.legs, *own), whole=before.whole and not earlier)


def undone_by(lived: Lived, piece: Piece, position: str) -> Trail | None:
    """What going back from the present to a position of a piece undoes, oldest first; None where the present was not
    captured."""
    newest = next((one for one in reversed(pieces(lived)) if one.timeline == present(lived.timelines)), None)
    if newest is None or newest.upto is not None:
        return None
    now, then = trail(lived, newest, newest.reach.position), trail(lived, piece, position)
    for index, leg in enumerate(now.legs):
        other = then.legs[index] if index < len(then.legs) else None
        if other == leg:
            continue
        rest, apart = now.legs[index:], False
        if other is not None and (other.history, other.after) == (leg.history, leg.after):
            cut = GtidList.parse(other.upto)
            kept = leg.upto if cut.covers(GtidList.parse(leg.upto)) else other.upto
            rest = (Leg(history=leg.history, after=kept, upto=leg.upto), *rest[1:])
        else:
            apart = index == 0
        passed = (*now.legs[max(0, index - 1) : index], *rest) if other is None else rest
        # Where one history follows another, what lies between the two may be a gap.
        gap = any(one.history != following.history for one, following in pairwise(passed))
        whole = not gap and (now.whole or not apart)
        return Trail(legs=tuple(one for one in rest if not _empty(one)), whole=whole)
    return Trail(legs=(), whole=True)


def _before(lived: Lived, piece: Piece) -> Trail:
    """What led to where a timeline's first piece begins."""
    timeline = next(one for one in lived.timelines if one.timeline == piece.timeline)
    if not piece.begins_timeline:
        # The root's first history is all there is of it; of a restored timeline, what nobody captured is missing.
        return Trail(legs=(), whole=timeline.restore_id is None)
    history, cut = timeline.cut_history, timeline.cut
    if timeline.cut_backup is not None and history is None:
        base = next((one for one in lived.bases if one.backup_id == timeline.cut_backup), None)
        parent = next((one for one in pieces(lived) if base is not None and usable(base, one)), None)
        return (
            Trail(legs=(), whole=False) if base is None or parent is None else trail(lived, parent, str(base.position))
        )
    for parent in pieces(lived):
        if (parent.timeline, parent.history) == (timeline.parent, history) and cut is not None and parent.contains(cut):
            return trail(lived, parent, cut)
    return Trail(legs=(), whole=False)


def _end(piece: Piece) -> str:
    return piece.reach.position if piece.upto is None else piece.upto


def _empty(leg: Leg) -> bool:
    return GtidList.parse(leg.after).covers(GtidList.parse(leg.upto))

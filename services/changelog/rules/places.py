"""Where archive and capture begin, from what the store and the status topic say."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from schemas.status import CaptureStatus
from services.changelog.rules.verdicts import Place
from tidewind.domain.gtids import GtidList
from tidewind.domain.histories import History
from tidewind.domain.log_stream import Transaction
from tidewind.domain.segments import SegmentRef


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is held of a history: everything up to `position`, whose last transaction is `last` (None at its
    beginning)."""

    history: str
    position: str
    last: Transaction | None


def place_of(history: History, last: SegmentRef | None) -> Place:
    """The end of a history's last segment."""
    if last is None:
        return Place(
            history=history.history,
            number=0,
            session=None,
            offset=0,
            position=history.position,
            preamble="",
            time_us=0,
            complete_us=history.begin_us,
        )
    head = last.head
    return Place(
        history=head.history,
        number=head.number,
        session=head.session,
        offset=head.end,
        position=head.to_position,
        preamble=head.preamble,
        time_us=head.last_us or head.complete_us,
        complete_us=head.complete_us,
        stamped=head.stamped,
    )


def acknowledged(status: Mapping[str, object] | None) -> Held | None:
    """What Kafka has acknowledged, by the capture status; None if it does not say."""
    if status is None:
        return None
    try:
        known = CaptureStatus.model_validate(status)
    except ValidationError:
        return None
    if known.history is None or known.position is None:
        return None
    last = None
    if known.last_gtid is not None and known.last_checksum is not None:
        last = Transaction(known.last_gtid, 0, 0, 0, 0, known.last_checksum)
    return Held(history=known.history, position=known.position, last=last)


def later(stored: Held | None, kafka: Held | None, *, known: frozenset[str]) -> Held | None:
    """Where to read on: at what Kafka holds beyond the store, else at the store's end. `known` are the histories of the
    store: one it does not know yet is newer than all it knows, one it knows and has left behind is older."""
    if kafka is None or stored is None:
        return stored or kafka
    if kafka.history == stored.history:
        ahead = GtidList.parse(kafka.position).covers(GtidList.parse(stored.position))
        return kafka if ahead and kafka.last is not None else stored
    return stored if kafka.history in known else kafka

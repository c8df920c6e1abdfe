"""Blocks become segments: every transaction once and whole, whatever order sessions, crashes and repeats leave."""

import random
from itertools import pairwise

import pytest

from services.changelog.rules.assembly import Assembly
from services.changelog.rules.verdicts import Begins, Draft, Hole, Place, SealFirst, Stale, Taken
from tests.unit.changelog.logs import PREAMBLE, SECOND, MadeUpLog
from tidewind.domain.log_stream import Block, Transaction

PLACE = Place(
    history="hst_AAAAAAAAAA",
    number=0,
    session=None,
    offset=0,
    position="",
    preamble="",
    time_us=0,
    complete_us=0,
)


class Archive:
    """What the handler does, with a list as the store."""

    def __init__(self) -> None:
        self.segments: list[Draft] = []
        self.assembly = Assembly("shop", PLACE)
        self.holes: list[Hole] = []
        self.now = 0.0

    def restart(self) -> None:
        place = PLACE
        if self.segments:
            head = self.segments[-1].head
            times = [one.time_us for draft in self.segments for one in draft.transactions]
            place = Place(
                history=head.history,
                number=head.number,
                session=head.session,
                offset=head.end,
                position=head.to_position,
                preamble=head.preamble,
                time_us=max(times, default=0),
                complete_us=head.complete_us,
            )
        self.assembly = Assembly("shop", place)

    def feed(self, block: Block) -> None:
        self.now += 0.5
        verdict = self.assembly.feed(block, self.now)
        while isinstance(verdict, SealFirst):
            self.seal(everything=True)
            verdict = self.assembly.feed(block, self.now)
        if isinstance(verdict, Begins):
            place = Place(
                history=verdict.start.history,
                number=0,
                session=None,
                offset=0,
                position=verdict.start.position,
                preamble="",
                time_us=0,
                complete_us=0,
            )
            self.assembly.begin(place)
            verdict = self.assembly.feed(block, self.now)
        if isinstance(verdict, Hole):
            self.holes.append(verdict)
        self.seal()

    def seal(self, *, everything: bool = False) -> None:
        while (draft := self.assembly.draft(self.now, everything=everything)) is not None:
            self.segments.append(draft)
            self.assembly.sealed(draft)

    def transactions(self) -> list[tuple[Transaction, bytes]]:
        """What a reader finds: per session its bytes, and the transactions whose bytes are all there."""
        found, session, base, data = [], None, 0, bytearray()
        for draft in self.segments:
            head = draft.head
            if head.session != session or head.start != base + len(data):
                assert head.session != session, "a session goes on where it ended"
                session, base, data = head.session, head.start, bytearray()
            data += draft.data
            for one in draft.transactions:
                found.append((one, bytes(data[one.start - base : one.end - base])))
        return found


def require_whole(archive: Archive, log: MadeUpLog, upto: int) -> None:
    found = archive.transactions()
    assert [one.gtid for one, _ in found] == [f"0-1-{number}" for number in range(1, upto + 1)]
    for number, (_, body) in enumerate(found, start=1):
        assert body == log.body(number)
    times = [one.time_us for one, _ in found]
    assert times == sorted(times)
    positions = [draft.head for draft in archive.segments]
    for before, after in pairwise(positions):
        assert after.from_position == before.to_position
        assert after.number == before.number + 1


@pytest.mark.parametrize("seed", range(120))
def test_any_cutting_repeating_restarting_and_following_sessions(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.randint(1, 40)
    log = MadeUpLog([rng.choice((1, 3, 20, 200, 700)) for _ in range(count)])
    archive, kafka, read = Archive(), [], 0
    for number in range(rng.randint(1, 5)):
        upto = rng.randint(read, count)
        blocks = log.session(f"{number:02d}", read, upto, rng, most=rng.choice((5, 60, 3000)))
        sent = blocks if rng.random() < 0.5 else blocks[: rng.randint(1, len(blocks))]
        kafka += sent
        whole = [one for block in sent for one in block.transactions]
        reached = int(whole[-1].gtid.split("-")[2]) if whole else read
        # The successor begins at a place Kafka has acknowledged: anywhere up to what was sent.
        read = rng.randint(min(read, reached), reached)
    kafka += log.session("99", read, count, rng)
    zombie = [block for block in kafka if block.session == "00"]
    if rng.random() < 0.5:
        kafka += zombie
    # A restart reads everything again that is not committed: in thousands of blocks some 25 say what more would.
    restarts = min(0.05, 25 / len(kafka))
    committed = 0
    for at, block in enumerate(kafka):
        archive.feed(block)
        if archive.assembly.committable:
            committed = at + 1
        if rng.random() < restarts:
            archive.restart()
            for again in kafka[committed : at + 1]:
                archive.feed(again)
    archive.seal(everything=True)
    require_whole(archive, log, count)


@pytest.mark.parametrize("seed", range(50))
def test_a_lost_block_is_a_hole_until_a_session_begins_before_it(seed: int) -> None:
    rng = random.Random(seed)
    log = MadeUpLog([rng.choice((1, 20, 90)) for _ in range(30)])
    blocks = log.session("1", 0, 20, rng)
    lost = rng.randrange(len(blocks))
    archive = Archive()
    for block in blocks[:lost] + blocks[lost + 1 :]:
        archive.feed(block)
    if lost < len(blocks) - 1:
        assert archive.holes
        assert archive.assembly.hole == archive.holes[-1]
    archive.seal(everything=True)
    reread = archive.segments[-1].head.to_position if archive.segments else ""
    after = int(reread.split("-")[2]) if reread else 0
    for block in log.session("2", after, 30, rng):
        archive.feed(block)
    archive.seal(everything=True)
    assert archive.assembly.hole is None
    require_whole(archive, log, 30)


def test_a_session_that_begins_too_late_is_a_hole_and_not_a_gap() -> None:
    log = MadeUpLog([10] * 9)
    archive = Archive()
    for block in log.session("1", 0, 3, random.Random(1)):
        archive.feed(block)
    late = log.session("2", 5, 9, random.Random(1))
    verdict = archive.assembly.feed(late[0], 1.0)
    assert isinstance(verdict, Hole)
    assert "0-1-5" in verdict.reason


def test_a_woken_zombie_changes_nothing() -> None:
    log, rng = MadeUpLog([10] * 9), random.Random(3)
    old, new = log.session("1", 0, 9, rng), log.session("2", 4, 9, rng)
    archive = Archive()
    held = next(index for index, block in enumerate(old, start=1) if any(t.gtid == "0-1-4" for t in block.transactions))
    for block in old[:held] + new[:1] + old[held:] + new[1:]:
        archive.feed(block)
    archive.seal(everything=True)
    assert isinstance(archive.assembly.feed(old[-1], 9.0), Stale)
    require_whole(archive, log, 9)


def test_a_new_history_follows_the_newest_only() -> None:
    rng = random.Random(5)
    log = MadeUpLog([10] * 5)
    other = MadeUpLog([7] * 4, history="hst_BBBBBBBBBB")
    archive = Archive()
    for block in log.session("1", 0, 5, rng):
        archive.feed(block)
    foreign = other.session("2", 0, 4, rng, cause="reset", after_history="hst_CCCCCCCCCC")
    assert isinstance(archive.assembly.feed(foreign[0], 1.0), Hole)
    for block in other.session("3", 0, 4, rng, cause="reset", after_history=log.history):
        archive.feed(block)
    archive.seal(everything=True)
    by_history = {draft.head.history: draft.head for draft in archive.segments}
    assert by_history[log.history].to_position == "0-1-5"
    assert by_history[other.history].to_position == "0-1-4"


def test_a_transaction_larger_than_a_segment_spans_several_and_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import services.changelog.rules.assembly as rules

    monkeypatch.setattr(rules, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(rules, "UNMARKED_BYTES", 400)
    rng = random.Random(7)
    log = MadeUpLog([30, 950, 20, 400, 5])
    archive = Archive()
    for block in log.session("1", 0, 5, rng):
        archive.feed(block)
    archive.seal(everything=True)
    assert max(len(draft.data) for draft in archive.segments) <= 100
    require_whole(archive, log, 5)


def test_an_idle_log_is_known_to_be_complete_without_a_segment_every_time() -> None:
    log, rng = MadeUpLog([10] * 2), random.Random(2)
    archive = Archive()
    for block in log.session("1", 0, 2, rng):
        archive.feed(block)
    archive.seal(everything=True)
    before = len(archive.segments)
    offset = len(PREAMBLE) + 20
    for minute in range(60):
        at = (10 + minute * 60) * 1_000_000
        mark = {"position": "0-1-2", "before_us": at, "after_us": at + 500}
        block = Block(
            cluster_id="shop", session="1", sequence=99 + minute, start=offset, data=b"", marks=(_mark(mark),)
        )
        assert isinstance(archive.assembly.feed(block, archive.now), Taken)
        archive.seal()
        assert archive.assembly.complete_us == at - 1
    assert len(archive.segments) - before == 3


def _mark(fields: dict[str, object]):
    from tidewind.domain.log_stream import Mark

    return Mark.model_validate(fields)


@pytest.mark.parametrize("after", [1, 2])
def test_an_idle_session_holds_nothing_back_once_it_is_known(after: int) -> None:
    """Also one that repeats what is held and then nothing more."""
    log, rng = MadeUpLog([10] * 2), random.Random(2)
    archive = Archive()
    for block in log.session("1", 0, 2, rng):
        archive.feed(block)
    archive.seal(everything=True)
    for block in log.session("2", after, 2, rng):
        archive.feed(block)
    assert not archive.assembly.committable
    later_us = 3600 * SECOND
    mark = _mark({"position": "0-1-2", "before_us": later_us, "after_us": later_us + 5})
    offset = len(PREAMBLE) + 10 * (2 - after)
    archive.feed(Block(cluster_id="shop", session="2", sequence=99, start=offset, data=b"", marks=(mark,)))
    assert archive.segments[-1].head.session == "2"
    assert archive.segments[-1].head.end == offset
    assert archive.assembly.committable
    archive.restart()
    for block in log.session("3", 2, 2, rng):
        archive.feed(block)
    assert archive.holes == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_mark_of_another_log_makes_nothing_complete(restarted: bool) -> None:
    """RESET MASTER began the numbers anew: they are held, but they are other transactions."""
    log = MadeUpLog([10] * 9)
    archive = Archive()
    for block in log.session("1", 0, 9, random.Random(1)):
        archive.feed(block)
    archive.seal(everything=True)
    if restarted:
        archive.restart()
    complete_us = archive.assembly.complete_us
    offset = archive.segments[-1].head.end
    for sequence, position in ((90, "0-1-3"), (91, ""), (92, "0-1-3")):
        mark = _mark({"position": position, "before_us": sequence * SECOND, "after_us": sequence * SECOND + 5})
        block = Block(cluster_id="shop", session="1", sequence=sequence, start=offset, data=b"", marks=(mark,))
        archive.feed(block)
    assert archive.assembly.complete_us == complete_us


def test_a_later_session_that_does_not_follow_leaves_the_one_in_hand_as_it_is() -> None:
    """It may be of a process that stood still before it claimed its session, and knew nothing then."""
    log = MadeUpLog([50] * 8)
    first = log.session("01", 0, 8, random.Random(3), most=40)
    assembly = Assembly("shop", PLACE)
    for block in first[:5]:
        assert isinstance(assembly.feed(block, 0.0), Taken)
    zombie = MadeUpLog([50] * 8, history="hst_BBBBBBBBBB").session("02", 3, 8, random.Random(4), cause="first")
    held = assembly.position
    verdict = assembly.feed(zombie[0], 0.0)
    assert isinstance(verdict, Hole)
    assert verdict.reread == held
    assert isinstance(assembly.feed(zombie[1], 0.0), Hole)
    for block in first[5:]:
        assert isinstance(assembly.feed(block, 0.0), Taken)
    assert assembly.position == "0-1-8"
    assert assembly.hole is not None
    assert isinstance(assembly.feed(log.session("03", 2, 8, random.Random(5))[0], 0.0), SealFirst)

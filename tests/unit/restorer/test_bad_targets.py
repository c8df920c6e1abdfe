"""Every target that cannot be: each is refused by the planning code on a real log, in words that say what to do next.

A target without its zone never gets here: it is refused as a field (`tests/contract/test_schemas.py`,
`tests/acceptance/test_bad_input.py`).
"""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.commands import RestoreRequest
from schemas.replies import Problem
from tests.point_bench import BASE, CLUSTER, HISTORY, PointBench, at
from tidewind.domain import keys
from tidewind.domain.lived import microseconds
from tidewind.domain.problems import Refused
from tidewind.domain.segments import build, parse_head, unpack_table
from tidewind.ports.store import StoreError
from tidewind.runtime.failures import store_problem

CHILD = "tl_CCCCCCCCCC"


@pytest.fixture
async def bench(tmp_path: Path) -> PointBench:
    return await PointBench(tmp_path).begin()


async def refused(bench: PointBench, kind: str, **target: Any) -> Problem:
    with pytest.raises(Refused) as caught:
        await bench.origin(**target)
    problem = caught.value.problem
    assert problem.type == f"urn:tidewind:problem:{kind}", problem
    (error,) = problem.errors
    assert problem.detail.startswith(f"{error.field}: "), "the field comes first"
    assert problem.next_step
    assert "CLUSTER" not in problem.next_step, "a line that can be pasted"
    assert f"--cluster {CLUSTER}" in problem.next_step
    return problem


async def restored(bench: PointBench, cut: int, *, gate: int, opened: int, **more: Any) -> None:
    """A restore to `cut` that closed the cluster behind `gate` and opened it behind `opened`."""
    values = {
        "cut": bench.after[cut],
        "cut_history": HISTORY,
        "cut_at": at(cut),
        "parent_end": bench.after[gate],
        "end_history": HISTORY,
        "ended_at": at(gate + 0.5),
        "history": HISTORY,
        "start": bench.after[opened],
        "started_at": at(opened + 0.5),
        "restore_id": "rst_CCCCCCCCCC",
        "operation": 3,
        **more,
    }
    await bench.timeline(CHILD, **values)


async def test_what_can_be_is_found(bench: PointBench) -> None:
    origin = await bench.origin(target_time=at(20))
    assert (origin.cut, origin.backup_id) == (bench.after[20], BASE)


def test_a_time_without_its_zone() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        RestoreRequest.model_validate_json(
            '{"cluster_id": "shop", "mode": "point_in_time", "target_time": "2026-11-23T08:00:20"}'
        )


async def test_in_the_future(bench: PointBench) -> None:
    problem = await refused(bench, "target-outside", target_time=at(7200))
    assert "lies in the future; it is 2026-11-23 09:00:00.000 UTC now" in problem.detail


async def test_before_the_first_base(bench: PointBench) -> None:
    problem = await refused(bench, "target-outside", target_time=at(2))
    assert "the first backup from which the log leads on was taken at 2026-11-23 08:00:04.500 UTC" in problem.detail
    assert "The nearest that can be restored: 2026-11-23 08:00:04.500 UTC" in (problem.next_step or "")
    assert problem.facts["nearest"] == [at(4.5).isoformat()]


async def test_before_any_base(bench: PointBench) -> None:
    await bench.store.delete([keys.outcome(CLUSTER, BASE)])
    problem = await refused(bench, "target-outside", target_time=at(20))
    assert "no backup is complete yet" in problem.detail
    assert "Nothing can be restored yet" in (problem.next_step or "")


async def test_between_a_base_and_the_time_of_what_it_holds_already(bench: PointBench) -> None:
    """Its last transaction was received half a second after it was taken."""
    await bench.store.delete([keys.outcome(CLUSTER, BASE)])
    await bench.base("bkp_0000000002", 10, snapshot_time=at(9.5))
    problem = await refused(bench, "target-outside", target_time=at(9.7))
    assert "choose an instant a second after it" in problem.detail


async def test_inside_a_gap(bench: PointBench) -> None:
    await bench.history(
        2, begin_us=microseconds(at(200)), cause="purged", detail="the log was purged before it was read", after=HISTORY
    )
    await bench.base("bkp_0000000002", 20, snapshot_time=at(220), history="hst_0000000002", position="0-1-9000")
    last = at(len(bench.gtids) - 1)
    problem = await refused(bench, "target-outside", target_time=at(150))
    assert f"a gap in the log from {last:%Y-%m-%d %H:%M:%S}.000 UTC to 2026-11-23 08:03:20.000 UTC" in problem.detail
    assert "the log was purged before it was read" in problem.detail
    assert problem.facts["nearest"] == [last.isoformat()]


async def test_inside_an_earlier_restore(bench: PointBench) -> None:
    await restored(bench, 15, gate=25, opened=30)
    problem = await refused(bench, "target-outside", target_time=at(28))
    assert "a restore was running from 2026-11-23 08:00:25.500 UTC to 2026-11-23 08:00:30.500 UTC" in problem.detail
    assert problem.facts["nearest"] == [at(25.5).isoformat(), at(30.5).isoformat()]
    within = await refused(bench, "unknown-position", target_position=bench.gtids[28])
    assert "in the log of a restore" in within.detail


async def test_older_than_what_is_promised(bench: PointBench) -> None:
    problem = await refused(bench, "target-outside", target_time=at(-91 * 86_400))
    assert "older than 90 days, which is how far back instants are kept" in problem.detail


async def test_past_the_watermark(bench: PointBench) -> None:
    last = len(bench.gtids) - 1
    problem = await refused(bench, "target-not-captured", target_time=at(last + 5))
    assert f"the log is held up to {at(last):%Y-%m-%d %H:%M:%S}.000 UTC" in problem.detail
    assert problem.retryable
    assert problem.facts["captured_up_to"] == at(last).isoformat()
    bench.window(history=HISTORY, position=bench.after[-1], complete_at=at(last + 10))
    origin = await bench.origin(target_time=at(last + 5))
    assert origin.cut == bench.after[-1], "an idle log is known to be complete"


async def test_on_an_unknown_timeline(bench: PointBench) -> None:
    problem = await refused(bench, "unknown-timeline", target_time=at(20), timeline="tl_ZZZZZZZZZZ")
    assert "no timeline tl_ZZZZZZZZZZ" in problem.detail
    assert (problem.next_step or "").startswith("It has main; ")


async def test_on_a_timeline_that_was_not_lived_then(bench: PointBench) -> None:
    await restored(bench, 15, gate=25, opened=30)
    problem = await refused(bench, "target-outside", target_time=at(20), timeline=CHILD)
    assert f"timeline {CHILD} was not lived then" in problem.detail
    problem = await refused(bench, "unknown-position", target_position=bench.gtids[20], timeline=CHILD)
    assert CHILD in problem.detail


@pytest.mark.parametrize(
    "position",
    [
        "449123456789012345",
        "3E11FA47-71CA-11E1-9E33-C80AA9429562:23",
        "binlog.000003:4711",
        "0-1",
        "zero",
        "0-1-4,1-1-4",
    ],
)
async def test_a_position_of_another_engine(bench: PointBench, position: str) -> None:
    with pytest.raises(Refused) as caught:
        await bench.origin(target_position=position)
    problem = caught.value.problem
    assert problem.type == "urn:tidewind:problem:invalid-command"
    assert problem.errors[0].field == "target_position"
    assert f"target_position: '{position}' is not a position of this engine, which looks like 0-1-42" in problem.detail


@pytest.mark.parametrize("position", ["0-1-99999", "7-1-4"])
async def test_a_position_that_no_log_holds(bench: PointBench, position: str) -> None:
    problem = await refused(bench, "unknown-position", target_position=position)
    assert f"the log that is held ends at {bench.after[-1]}: it comes later, or is another server's" in problem.detail


async def test_a_position_before_the_first_base(bench: PointBench) -> None:
    problem = await refused(bench, "unknown-position", target_position=bench.gtids[1])
    assert "before the first backup" in problem.detail


async def test_a_position_that_two_histories_hold(bench: PointBench) -> None:
    """RESET MASTER: the new log counts from the beginning, and the operator may mean either."""
    await bench.history(2, begin_us=microseconds(at(200)), cause="reset", after=HISTORY)
    for head in bench.segments:
        data = b"".join([piece async for piece in bench.store.stream(keys.segment(CLUSTER, HISTORY, head.number))])
        found = parse_head(data)
        assert not isinstance(found, int)
        whole, taken = found
        table = unpack_table(whole, data[taken : taken + whole.table_stored])
        later = tuple(one._replace(time_us=one.time_us + 300_000_000) for one in table)
        moved = whole.model_copy(
            update={
                "history": "hst_0000000002",
                "first_us": whole.first_us and whole.first_us + 300_000_000,
                "last_us": whole.last_us and whole.last_us + 300_000_000,
                "complete_us": whole.complete_us + 300_000_000,
            }
        )
        await bench.store.put(
            keys.segment(CLUSTER, "hst_0000000002", head.number), build(moved, later, bytes(head.end - head.start))
        )
    await bench.base("bkp_0000000002", 4, snapshot_time=at(304.5), history="hst_0000000002")
    problem = await refused(bench, "ambiguous-position", target_position=bench.gtids[20])
    assert "2026-11-23 08:00:20.000 UTC and 2026-11-23 08:05:20.000 UTC" in problem.detail
    assert (await bench.origin(target_time=at(20))).cut_history == HISTORY
    assert (await bench.origin(target_time=at(320))).cut_history == "hst_0000000002"


async def damaged(bench: PointBench, **target: Any) -> Problem:
    bench.forget()
    with pytest.raises(StoreError) as caught:
        await bench.origin(**target)
    problem = store_problem(caught.value)
    assert problem.type == "urn:tidewind:problem:log-damaged", problem
    assert "before it, or after the next backup" in (problem.next_step or "")
    return problem


async def test_a_missing_segment(bench: PointBench) -> None:
    number = bench.segments[len(bench.segments) // 2].number
    await bench.store.delete([keys.segment(CLUSTER, HISTORY, number)])
    problem = await damaged(bench, target_position=bench.gtids[-1])
    assert f"segment {number} is missing" in problem.detail


@pytest.mark.parametrize("at_byte", [3, 40, -1])
async def test_a_damaged_segment(bench: PointBench, at_byte: int) -> None:
    number = bench.segments[len(bench.segments) // 2].number
    key = keys.segment(CLUSTER, HISTORY, number)
    stored = bytearray(await bench.inner.get(key))
    stored[at_byte] ^= 0x10
    await bench.inner.delete([key])
    await bench.inner.put(key, bytes(stored))
    problem = await damaged(bench, target_position=bench.gtids[-1])
    assert key in problem.detail


async def test_two_segments_that_were_swapped(bench: PointBench) -> None:
    middle = len(bench.segments) // 2
    one, other = (keys.segment(CLUSTER, HISTORY, number) for number in (middle, middle + 1))
    content = {one: await bench.inner.get(other), other: await bench.inner.get(one)}
    await bench.inner.delete([one, other])
    for key, data in content.items():
        await bench.inner.put(key, data)
    problem = await damaged(bench, target_position=bench.gtids[-1])
    assert one in problem.detail or other in problem.detail
    assert "belongs to another object" in problem.detail


@pytest.mark.parametrize("field", [{"cluster_id": "bank"}, {"history": "hst_ZZZZZZZZZZ"}, {"number": 99}])
async def test_a_foreign_segment(bench: PointBench, field: dict[str, Any]) -> None:
    """Put under our key by somebody who has the key of the encryption: it tells itself whose it is."""
    head = bench.segments[len(bench.segments) // 2]
    key = keys.segment(CLUSTER, HISTORY, head.number)
    await bench.store.delete([key])
    await bench.store.put(key, build(head.model_copy(update=field), (), bytes(head.end - head.start)))
    problem = await damaged(bench, target_position=bench.gtids[-1])
    assert key in problem.detail

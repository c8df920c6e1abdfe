"""What a delete takes away, told for a cluster whose log is captured."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import BackupDelete
from tests.unit.snapshotter.bench import CLUSTER, NOW, Bench
from tests.unit.snapshotter.test_delete_and_verify import decide, take
from tests.unit.test_log_retention import head
from tidewind.domain import keys
from tidewind.domain.histories import History
from tidewind.domain.lived import microseconds
from tidewind.domain.segments import build
from tidewind.ports.jobs import Accept

HISTORY = "hst_AAAAAAAAAA"
END = NOW + timedelta(hours=3)


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Captured from before the first backup to END."""
    monkeypatch.setenv("TEST_LOGIN", "tidewind:secret")
    made = Bench(tmp_path / "store")
    await made.enroll()
    history = History(
        cluster_id=CLUSTER,
        history=HISTORY,
        number=1,
        position="",
        begin_us=microseconds(NOW),
        cause="first",
        server_identity="srv-1",
        server_version="10.11.19",
        started_at=NOW,
    )
    await made.store.put(keys.history_claim(CLUSTER, 1), history.to_bytes())
    first = head(1, "0-1-20").model_copy(update={"complete_us": microseconds(END)})
    await made.store.put(keys.segment(CLUSTER, HISTORY, 1), build(first, [], bytes(10)))
    return made


async def window(bench: Bench, backup: str) -> dict[str, Any]:
    body = BackupDelete(cluster_id=CLUSTER, backup_id=backup, confirm_shorter_window=True)
    accepted = await decide(bench, body)
    assert isinstance(accepted, Accept)
    return accepted.answer["window"]


async def test_instants_the_log_still_reaches_are_not_lost(bench: Bench) -> None:
    old, new = await take(bench, "1"), await take(bench, "2")
    whole = [{"timeline": "main", "start": (NOW + timedelta(minutes=1)).isoformat(), "end": END.isoformat()}]
    rest = [{"timeline": "main", "start": (NOW + timedelta(minutes=2)).isoformat(), "end": END.isoformat()}]
    assert await window(bench, new) == {"shorter": False, "before": whole, "after": whole}
    assert await window(bench, old) == {"shorter": True, "before": whole, "after": rest}


async def test_a_log_that_cannot_be_read_restores_nothing_and_hinders_no_delete(bench: Bench) -> None:
    old, _ = await take(bench, "1"), await take(bench, "2")
    await bench.store.put(keys.segment(CLUSTER, HISTORY, 3), b"")
    told = await window(bench, old)
    assert [one["start"] == one["end"] for one in told["before"]] == [True, True]
    assert told["shorter"]

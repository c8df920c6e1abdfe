"""In which captured log a backup stands, and which stand in none."""

from datetime import UTC, datetime

import pytest

from services.snapshotter.rules.histories import standing_in
from tidewind.domain.histories import History


def history(name: str, position: str) -> History:
    return History(
        cluster_id="shop",
        history=name,
        number=1,
        position=position,
        begin_us=0,
        cause="first",
        server_identity="1-a",
        server_version="10.11.19",
        started_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


ONE = history("hst_1", "0-1-10")


@pytest.mark.parametrize(
    ("before", "after", "position", "open_xa", "stands"),
    [
        (ONE, ONE, "0-1-12", None, "hst_1"),
        (ONE, ONE, "0-1-10", None, "hst_1"),
        (ONE, ONE, "0-1-9", None, None),
        (ONE, ONE, None, None, None),
        (None, ONE, "0-1-12", None, None),
        (ONE, history("hst_2", "0-1-11"), "0-1-12", None, None),
        (ONE, ONE, "0-1-12", "0-1-11", "hst_1"),
        (ONE, ONE, "0-1-12", "0-1-10", "hst_1"),
        (ONE, ONE, "0-1-12", "0-1-9", None),
        (ONE, ONE, "0-1-12", "", None),
    ],
)
def test_a_backup_stands_in_the_log_that_holds_all_a_replay_needs(
    before: History | None, after: History | None, position: str | None, open_xa: str | None, stands: str | None
) -> None:
    assert standing_in(before, after, position, open_xa) == stands

"""The figures of a log grow by themselves while nobody says anything."""

from datetime import UTC, datetime, timedelta

from services.changelog.handlers.figures import figures

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat()


def test_lags_are_counted_from_what_is_complete_and_not_from_what_was_said() -> None:
    capture = {"state": "capturing", "complete_at": ago(2), "lag_s": 0.1, "headroom_s": 7200}
    window = {"complete_at": ago(9), "store_lag_s": 0.2, "gaps": [{}, {}]}
    found = figures("shop", capture, window, NOW)
    assert (found.up, found.kafka_lag_s, found.store_lag_s, found.headroom_s, found.gaps) == (True, 2, 9, 7200, 2)


def test_a_log_that_is_not_read_has_no_head_room_and_its_lag_goes_on() -> None:
    found = figures("shop", {"state": "waiting", "complete_at": ago(300), "headroom_s": 7200}, None, NOW)
    assert (found.up, found.kafka_lag_s, found.store_lag_s, found.headroom_s, found.gaps) == (False, 300, None, None, 0)


def test_of_a_cluster_that_nobody_has_spoken_of_nothing_is_known() -> None:
    found = figures("shop", None, None, NOW)
    assert (found.up, found.kafka_lag_s, found.store_lag_s, found.headroom_s) == (False, None, None, None)


def test_clocks_that_differ_make_no_negative_lag() -> None:
    assert figures("shop", {"complete_at": ago(-3)}, None, NOW).kafka_lag_s == 0

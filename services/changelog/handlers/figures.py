"""The figures of a cluster's log, from what its statuses say."""

from collections.abc import Mapping
from datetime import datetime

from tidewind.runtime.metrics import LogFigures


def figures(
    cluster: str, capture: Mapping[str, object] | None, window: Mapping[str, object] | None, now: datetime
) -> LogFigures:
    """Lags grow while nothing is said: they are counted from what was complete, not taken from what was said then."""
    capture, window = capture or {}, window or {}
    up = capture.get("state") == "capturing"
    headroom, gaps = capture.get("headroom_s"), window.get("gaps")
    return LogFigures(
        cluster=cluster,
        up=up,
        kafka_lag_s=_since(capture.get("complete_at"), now),
        store_lag_s=_since(window.get("complete_at"), now),
        headroom_s=float(headroom) if up and isinstance(headroom, int | float) else None,
        gaps=len(gaps) if isinstance(gaps, list | tuple) else 0,
    )


def _since(moment: object, now: datetime) -> float | None:
    if not isinstance(moment, str):
        return None
    return max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())

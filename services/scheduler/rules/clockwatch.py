"""Whether the clock can be trusted, from one look to the next.

Invariant: while there is a doubt, nothing is removed and no day is settled. A jump of our clock (a suspended machine, a
wrong date set) is doubted until an hour of steady time has passed, since the tick after a jump looks as sound as any. A
difference from the store's clock is doubted for as long as it is seen.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tidewind.domain.retention import MAX_CLOCK_JUMP, clock_doubt

STEADY = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One reading of the clocks: ours, the store's, and the monotonic one in seconds."""

    now: datetime
    store_now: datetime
    monotonic: float


@dataclass(frozen=True, kw_only=True)
class ClockWatch:
    """`jumped_at`: the monotonic time of the newest jump seen, `jump` what it was."""

    last: Look | None = None
    jumped_at: float | None = None
    jump: str | None = None


def observe(watch: ClockWatch, look: Look) -> tuple[ClockWatch, str | None]:
    """The watch after this look, and why the clock is in doubt, or None."""
    moved = elapsed = None
    if watch.last is not None:
        moved = look.now - watch.last.now
        elapsed = timedelta(seconds=look.monotonic - watch.last.monotonic)
    doubt = clock_doubt(now=look.now, store_now=look.store_now, since_last=moved, elapsed=elapsed)
    jumped_at, jump = watch.jumped_at, watch.jump
    if moved is not None and elapsed is not None and abs(moved - elapsed) > MAX_CLOCK_JUMP:
        jumped_at = look.monotonic
        jump = f"our clock jumped by {abs(moved - elapsed).total_seconds():.0f} s less than an hour ago"
    if jumped_at is not None and look.monotonic - jumped_at >= STEADY.total_seconds():
        jumped_at = jump = None
    return ClockWatch(last=look, jumped_at=jumped_at, jump=jump), doubt or jump

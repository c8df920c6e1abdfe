"""Numbers, moments and names as people read them: units always, zones always, nothing that could move the cursor."""

import unicodedata
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def size(count: float | None) -> str:
    """Bytes in decimal units: `41.2 GB`."""
    if count is None:
        return "–"
    value = float(count)
    for unit in _UNITS:
        if value < 999.95 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def quantity(value: float, unit: str) -> str:
    """`25.1 GB` for bytes, `214 tables` for anything else."""
    return size(value) if unit in ("B", "bytes") else f"{number(value)} {unit}".strip()


def number(value: float | None) -> str:
    """`9,371`."""
    return "–" if value is None else f"{value:,.0f}"


def counted(value: float | None, thing: str) -> str:
    """`1 table`, `9,371 tables`."""
    return f"{number(value)} {thing}" if value == 1 else f"{number(value)} {thing}s"


def duration(seconds: float | None) -> str:
    """`0.9 s`, `3 min 26 s`, `2 h 5 min`, `3 d 4 h`."""
    if seconds is None:
        return "–"
    if seconds < 0:
        return f"−{duration(-seconds)}"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 100 * _MINUTE:
        return _pair(whole, _MINUTE, "min", 1, "s")
    if whole < 2 * _DAY:
        return _pair(whole, _HOUR, "h", _MINUTE, "min")
    return _pair(whole, _DAY, "d", _HOUR, "h")


def _pair(whole: int, unit: int, name: str, smaller: int, smaller_name: str) -> str:
    rest = whole % unit // smaller
    return f"{whole // unit} {name} {rest} {smaller_name}" if rest else f"{whole // unit} {name}"


def moment(at: datetime | None, zone: str = "UTC", *, seconds: bool = True) -> str:
    """`2026-11-23 02:00:11 CET`: the wall clock of the zone, which is always named."""
    if at is None:
        return "–"
    local = at.astimezone(ZoneInfo(zone))
    name = local.strftime("%Z")
    named = f"UTC{name}" if name[:1] in "+-" else name
    return f"{local:%Y-%m-%d %H:%M:%S} {named}" if seconds else f"{local:%Y-%m-%d %H:%M} {named}"


def in_zone(at: datetime | None, zone: str) -> str:
    """`2026-11-23 01:00:11 UTC (02:00:11 in Europe/Berlin)`."""
    if at is None:
        return "–"
    if zone == "UTC":
        return moment(at)
    here, there = at.astimezone(ZoneInfo("UTC")), at.astimezone(ZoneInfo(zone))
    clock = f"{there:%H:%M:%S}" if here.date() == there.date() else f"{there:%Y-%m-%d %H:%M:%S}"
    return f"{here:%Y-%m-%d %H:%M:%S} UTC ({clock} in {zone})"


def ago(at: datetime, now: datetime) -> str:
    """`4 s ago`, `in 15 h 10 min`."""
    passed = (now - at).total_seconds()
    return f"{duration(passed)} ago" if passed >= 0 else f"in {duration(-passed)}"


def parse_moment(value: object) -> datetime | None:
    """A moment of a message, or None if it holds none."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def printable(value: object, *, limit: int = 500) -> str:
    """Text from outside for a terminal: control and direction characters are written out, never obeyed."""
    text = str(value)
    shown = "".join(
        ch if unicodedata.category(ch) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") else _escaped(ch)
        for ch in text[:limit]
    )
    return shown if len(text) <= limit else shown + "…"


def _escaped(ch: str) -> str:
    return ch.encode("unicode_escape", "surrogatepass").decode()

"""What a cluster can still be restored to, after a backup was deleted."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from tidewind.cli.formats import counted, moment, parse_moment
from tidewind.cli.views.layout import WARNING, sentence

_SHOWN = 3


def window_lines(window: Mapping[str, Any] | None, zone: str) -> list[Text]:
    """`window` as the answer to a delete holds it: stretches before and after, one a backup where no log is kept."""
    if not window:
        return []
    after = list(window.get("after") or ())
    if not after:
        return [sentence("nothing can be restored any more", WARNING)]
    left = f"can still be restored: {_span(after, zone)}"
    lost = [one for one in window.get("before") or () if one not in after]
    if not window.get("shorter") or not lost:
        return [sentence(left)]
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    gone = ", ".join(_span([one], zone) for one in lost[:_SHOWN])
    return [sentence(f"can no longer be restored: {gone}{more}", WARNING), sentence(left)]


def _span(stretches: Sequence[Mapping[str, Any]], zone: str) -> str:
    """One stretch, or how many lie between the earliest and the latest instant."""
    start = moment(parse_moment(stretches[0].get("start")), zone)
    end = moment(max(filter(None, (parse_moment(one.get("end")) for one in stretches)), default=None), zone)
    span = start if start == end else f"{start} to {end}"
    return span if len(stretches) == 1 else f"{counted(len(stretches), 'point')} from {span}"

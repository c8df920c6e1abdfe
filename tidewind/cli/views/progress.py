"""A running job: steps that are done with how long they took, the step in hand with rate and time left."""

from dataclasses import dataclass
from datetime import datetime

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from schemas.progress import Progress
from tidewind.cli.formats import duration, printable, quantity, size

_WORDS: dict[str, tuple[str, str]] = {
    "connecting": ("connecting", "connected"),
    "reading": ("reading", "read"),
    "verifying": ("checking", "checked"),
    "deleting": ("deleting", "deleted"),
    "gating": ("closing", "closed"),
    "safeguarding": ("setting aside", "set aside"),
    "loading": ("loading", "loaded"),
    "replaying": ("replaying", "replayed"),
    "defining": ("accounts, objects", "accounts, objects"),
    "opening": ("opening", "opened"),
    "returning": ("giving back", "given back"),
}
"""A step's name in progress records -> while it runs, when it has ended. Other names are shown as they are."""


@dataclass
class _Step:
    name: str
    began: datetime
    last: Progress


class JobProgress:
    """Folds a job's progress records. The only state is what they said."""

    def __init__(self) -> None:
        self._ended: list[tuple[_Step, datetime]] = []
        self._current: _Step | None = None
        self._spinner = Spinner("dots", style="cyan")

    def take(self, record: Progress) -> Text | None:
        """Fold one record; the line of the step that it ended, if it ended one. A record that is late is dropped."""
        current = self._current
        if current is None:
            self._current = _Step(record.step, record.at, record)
            return None
        if record.at < current.last.at:
            return None
        if record.step == current.name:
            current.last = record
            return None
        self._ended.append((current, record.at))
        self._current = _Step(record.step, record.at, record)
        return _ended_line(current, record.at)

    def finish(self) -> Text | None:
        """The job has ended: so has its last step, whose line this is."""
        current, self._current = self._current, None
        if current is None:
            return None
        self._ended.append((current, current.last.at))
        return _ended_line(current, current.last.at)

    def view(self, elapsed_s: float) -> RenderableType:
        """What is drawn now; the spinner turns by itself."""
        lines: list[RenderableType] = [_ended_line(step, at) for step, at in self._ended]
        if self._current is not None:
            lines.append(self._current_line(self._current))
        elif not self._ended:
            lines.append(self._spinning(Text(f"accepted, waiting to begin   {duration(elapsed_s)}")))
        if lines and (self._current is not None or not self._ended):
            lines.append(Text("   Ctrl-C leaves it running", style="dim"))
        return Group(*lines)

    def _current_line(self, step: _Step) -> RenderableType:
        return self._spinning(current_text(step.last))

    def _spinning(self, text: Text) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        grid.add_row(Text(""), self._spinner, text)
        return grid


def current_text(record: Progress) -> Text:
    """`loading            61 %   25.1 of 41.2 GB   78.0 MB/s   3 min 26 s left   orders`."""
    text = Text(f"{_words(record.step)[0]:<17}", style="cyan")
    parts = []
    if record.total:
        parts.append(f"{min(100.0, 100 * record.done / record.total):3.0f} %")
        parts.append(f"{_plain(record.done, record)} of {quantity(record.total, record.unit)}")
    elif record.done:
        parts.append(quantity(record.done, record.unit))
    if record.rate:
        parts.append(f"{quantity(record.rate, record.unit)}/s")
    if record.eta_s is not None:
        parts.append(f"{duration(record.eta_s)} left")
    if record.detail:
        parts.append(printable(record.detail, limit=60))
    text.append(f" {'   '.join(parts)}", style="default")
    return text


def _plain(done: float, record: Progress) -> str:
    """The done part without its unit where it is the same as the total's."""
    shown, total = quantity(done, record.unit), quantity(record.total or 0, record.unit)
    value, _, unit = shown.partition(" ")
    return value if unit == total.partition(" ")[2] else shown


def _ended_line(step: _Step, at: datetime) -> Text:
    took = (at - step.began).total_seconds()
    text = Text(" ✓ ", style="green")
    text.append(f"{_words(step.name)[1]:<17} {duration(took):>11}", style="default")
    if step.last.done:
        text.append(f"   {quantity(step.last.done, step.last.unit)}", style="default")
    if step.last.unit in ("B", "bytes") and took >= 0.5:
        text.append(f"   {size(step.last.done / took)}/s", style="dim")
    if step.last.detail:
        text.append(f"   {printable(step.last.detail, limit=60)}", style="dim")
    return text


def _words(step: str) -> tuple[str, str]:
    name = printable(step, limit=30)
    return _WORDS.get(step, (name, name))

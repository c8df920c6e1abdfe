"""How an error reads: what happened, to what, why, what is safe now, what to do."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from schemas.events import RestoreFailed
from schemas.replies import Problem
from tidewind.cli.formats import printable
from tidewind.domain.problems import PREFIX

NOTHING_DONE = "nothing was done and nothing will be"
_SHOWN_ERRORS = 10
_ERROR = ("✗", "red")
_NEUTRAL = ("·", "dim")


def problem_view(problem: Problem, *, headline: str, safe: str | None = None) -> Text:
    """`headline` says what was tried; `safe` what holds now."""
    lines = [("", f"{headline}: {problem.detail}" if headline else problem.detail)]
    shown = problem.errors[:_SHOWN_ERRORS]
    lines += [(error.field, error.problem) for error in shown if error.problem not in problem.detail]
    if len(problem.errors) > _SHOWN_ERRORS:
        lines.append(("", f"and {len(problem.errors) - _SHOWN_ERRORS} more"))
    lines += [(name.replace("_", " "), _fact(value)) for name, value in problem.facts.items() if _is_plain(value)]
    if safe:
        lines.append(("now", safe))
    if problem.next_step:
        lines.append(("next", problem.next_step))
    return _layout(lines, kind=problem.type.removeprefix(PREFIX))


def restore_failed_safety(event: RestoreFailed) -> str:
    """What an operator may rely on after a restore that failed."""
    if event.returned:
        return f"{event.cluster_id} is open again with the data it had before; nothing was lost"
    return (
        f"{event.cluster_id} is still closed, so that nobody works on half-restored data; "
        "it can be opened by hand with the statements below"
    )


def statements_view(statements: tuple[str, ...]) -> Text:
    """SQL to be typed by hand."""
    text = Text()
    for number, statement in enumerate(statements):
        text.append("\n" if number else "")
        text.append(f"       {printable(statement, limit=4000)}", style="bold")
    return text


def message_view(headline: str, lines: list[tuple[str, str]], *, wrong: bool = True) -> Text:
    """What the tool itself has to say, in the same layout; without the mark of an error unless something is `wrong`."""
    return _layout([("", headline), *lines], mark=_ERROR if wrong else _NEUTRAL)


def _layout(lines: list[tuple[str, str]], kind: str | None = None, mark: tuple[str, str] = _ERROR) -> Text:
    (_, first), rest = lines[0], lines[1:]
    text = Text(f" {mark[0]} ", style=mark[1])
    text.append(printable(first, limit=2000), style="default")
    if kind:
        text.append(f"  [{kind}]", style="dim")
    width = max([4, *(len(name) for name, _ in rest)])
    for name, value in rest:
        text.append(f"\n     {printable(name):<{width}}  ", style="dim")
        text.append(printable(value, limit=2000), style="default")
    return text


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) or (
        isinstance(value, list | tuple) and all(isinstance(part, str | int | float) for part in value)
    )


def _fact(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def as_problem(data: Mapping[str, Any] | None) -> Problem | None:
    """The problem of an event or status, if it holds one."""
    return Problem.model_validate(data) if data else None

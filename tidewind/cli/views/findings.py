"""What `doctor` found: one line a finding, under the errors and warnings the line that mends them."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from tidewind.cli.backup_checks import BACKUPS
from tidewind.cli.endings import FAILED, OK
from tidewind.cli.formats import printable
from tidewind.cli.ports import Check
from tidewind.cli.views.layout import state

RESTORES = "restores"
"""The group of what keeps a cluster from being restored although it is backed up."""


def findings_view(found: Sequence[Check]) -> Table:
    """Groups as they come; a group's name stands at its first line only."""
    grid = Table(box=None, padding=(0, 1), show_header=False, expand=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(no_wrap=True)
    group = None
    for one in found:
        text = Text(printable(one.text, limit=1000))
        if one.level != "ok" and one.fix:
            text.append(f"\n  →  {printable(one.fix, limit=1000)}", style="bold")
        grid.add_row(Text(one.group if one.group != group else "", style="dim"), text, state(one.level))
        group = one.group
    return grid


def verdict(found: Sequence[Check]) -> Text:
    """`1 error, 2 warnings. Backups cannot start until the error is gone.`"""
    errors, warnings = (sum(one.level == level for one in found) for level in ("error", "warn"))
    if not errors and not warnings:
        return Text(" Everything is well.", style="green")
    counts = ", ".join(
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    )
    unrestorable = any(one.level != "ok" and one.group.split()[-1] == RESTORES for one in found)
    if unrestorable and not any(one.level == "error" and one.group.split()[-1] != RESTORES for one in found):
        return Text(f" {counts}. Backups work; restores are refused until the account for them has its rights.", "red")
    if any(one.level == "warn" and one.group.split()[-1] == BACKUPS for one in found) and not errors:
        return Text(f" {counts}. Where there is no backup nothing can be restored.", style="yellow")
    if not errors:
        return Text(f" {counts}. Backups and restores work.", style="yellow")
    gone = "the error is" if errors == 1 else "the errors are"
    return Text(f" {counts}. Backups cannot be relied on until {gone} gone.", style="red")


def exit_code(found: Sequence[Check]) -> int:
    """Warnings do not fail a script."""
    return FAILED if any(one.level == "error" for one in found) else OK


def findings_data(found: Sequence[Check]) -> list[dict[str, Any]]:
    return [{"group": one.group, "level": one.level, "text": one.text, "fix": one.fix} for one in found]

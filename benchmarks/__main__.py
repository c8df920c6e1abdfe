"""`python -m benchmarks`: speed beside named peers, and the limits we promise; writes build/bench.json.

Every figure is measured in one run on one machine, ours and the peer's in turn: mydumper and myloader with compression
and as many threads as we have worker processes. A figure is a ratio (peer's seconds / ours, so that above 1 we are
faster) or a limit in its own unit.
"""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import capture, replay, snapshot_restore
from benchmarks.figures import Figure

BUILD = Path(__file__).parents[1] / "build"


def main() -> int:
    options = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    options.add_argument("--size-mb", type=int, default=500, help="rows, in megabytes as text (default 500)")
    options.add_argument("--rounds", type=int, default=3, help="how often each side runs; medians count (default 3)")
    options.add_argument(
        "--transactions", type=int, default=replay.TRANSACTIONS, help="in the log that is replayed (default 150000)"
    )
    options.add_argument("--only", choices=("snapshots", "replay", "capture"), help="one part of them")
    chosen = options.parse_args()
    figures: list[Figure] = []
    parts: dict[str, Callable[[Path], Coroutine[Any, Any, list[Figure]]]] = {
        "snapshots": partial(snapshot_restore.measure, size_mb=chosen.size_mb, rounds=chosen.rounds),
        "replay": partial(replay.measure, transactions=chosen.transactions, rounds=chosen.rounds),
        "capture": capture.measure,
    }
    for name, measure in parts.items():
        if chosen.only in (None, name):
            with tempfile.TemporaryDirectory(prefix="tidewind-bench-") as folder:
                figures += asyncio.run(measure(Path(folder)))
    BUILD.mkdir(exist_ok=True)
    target = BUILD / "bench.json"
    target.write_text(json.dumps([figure.as_json() for figure in figures], indent=2) + "\n")
    _print(figures)
    missed = [figure.name for figure in figures if not figure.reached]
    if missed:
        sys.stderr.write(f"not reached: {', '.join(missed)}\n")
    return 1 if missed else 0


def _print(figures: list[Figure]) -> None:
    table = Table(title="Tidewind benchmarks", show_lines=False)
    for heading in ("figure", "measured", "unit", "goal", "peer"):
        table.add_column(heading)
    for figure in figures:
        style = None if figure.reached else "bold red"
        table.add_row(figure.name, f"{figure.value:.2f}", figure.unit, figure.goal_text, figure.peer or "", style=style)
    Console(width=120).print(table)


if __name__ == "__main__":
    sys.exit(main())

"""The memory of a service: its process and its workers, shared pages counted by their proportion (PSS)."""

import asyncio
from pathlib import Path

_SAMPLE_S = 0.1


class MemoryWatch:
    """Samples a process tree until cancelled; `peak_mb` is the largest sum seen."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.peak_mb = 0.0

    async def run(self) -> None:
        while True:
            total = await asyncio.to_thread(_tree_kb, self._pid)
            self.peak_mb = max(self.peak_mb, total / 1024)
            await asyncio.sleep(_SAMPLE_S)


def _tree_kb(pid: int) -> int:
    total = _pss_kb(pid)
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return total
    for task in tasks:
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        total += sum(_tree_kb(int(child)) for child in children)
    return total


def _pss_kb(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0

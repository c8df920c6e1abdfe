"""The services as children of one process: started, watched, started again, and gone when it is gone.

Invariant: no child outlives this process. An orderly end terminates each child by its pid and, past a deadline, kills
its process group; if this process is killed itself, the kernel kills the children (see `leash`), and their own workers
end when their pipes close. `run` must be called on the main thread, because the kernel ties a child to the thread that
started it.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from tidewind.embedded import leash
from tidewind.embedded.processes import LOOPBACK, free_port

SERVICES: Final = ("scheduler", "snapshotter", "changelog", "restorer")
"""In the order in which they are started."""
TAIL_LINES: Final = 25
BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S: Final = 60.0
WRONG_SETTINGS: Final = 78
_LONGEST_LINE: Final = 64 * 1024
_POLL_S: Final = 0.05
_KILL_S: Final = 5.0


class TreeError(RuntimeError):
    """A service cannot run. `tail` is the end of what it said, `code` what it ended with."""

    def __init__(self, name: str, code: int | None, why: str, tail: Sequence[str]) -> None:
        super().__init__(f"{name} {why}")
        self.name = name
        self.code = code
        self.tail = tuple(tail)


def service_command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"services.{name}")


@dataclass(frozen=True, kw_only=True)
class Child:
    """One service: how to start it, and the port on which it answers `/readyz`."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    health_port: int


def children(environment: Mapping[str, str], names: Sequence[str] | None = None) -> list[Child]:
    """A child for each service, all with the same environment but for the health port."""
    made = []
    for name in SERVICES if names is None else names:
        port = free_port()
        own = {"TIDEWIND_HEALTH_HOST": LOOPBACK, "TIDEWIND_HEALTH_PORT": str(port)}
        made.append(
            Child(name=name, command=service_command(name), environment={**environment, **own}, health_port=port)
        )
    return made


@dataclass
class _Running:
    """What is known of a child now."""

    child: Child
    process: asyncio.subprocess.Process | None = None
    starts: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))


OnLine = Callable[[str, str], None]
"""`on_line(service, text)`: one line that a service wrote."""

OnChange = Callable[[str, str], None]
"""`on_change(service, what)`: a service was started, died, will be started again; in words."""


class ProcessTree:
    """`restart` False: a child that ends by itself ends the tree, for runs of a few minutes."""

    def __init__(
        self,
        children: Sequence[Child],
        *,
        on_line: OnLine,
        on_change: OnChange,
        restart: bool = True,
        stop_s: float = 30.0,
    ) -> None:
        self._running = [_Running(child) for child in children]
        self._on_line = on_line
        self._on_change = on_change
        self._restart = restart
        self._stop_s = stop_s

    async def run(self) -> None:
        """Run until cancelled; then everything is stopped before this returns. Raises TreeError if a service cannot run
        at all: its settings are wrong, or it ended and must not be started again."""
        tasks = [asyncio.create_task(self._keep(one), name=one.child.name) for one in self._running]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.shield(self._stop_all(tasks))

    async def ready(self, *, deadline_s: float) -> None:
        """Return when every service says that it is ready. TimeoutError names those that are not."""
        waiting = {one.child.name: one.child.health_port for one in self._running}
        try:
            async with (
                asyncio.timeout(deadline_s),
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session,
            ):
                while waiting:
                    for name, port in list(waiting.items()):
                        if await _is_ready(session, port):
                            del waiting[name]
                    if waiting:
                        await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise TimeoutError(f"not ready after {deadline_s:g} s: {', '.join(waiting)}") from None

    def tail(self, name: str) -> tuple[str, ...]:
        """The last lines that a service wrote."""
        return tuple(next(one.tail for one in self._running if one.child.name == name))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.child.name for one in self._running)

    def pids(self) -> dict[str, int]:
        return {
            one.child.name: one.process.pid
            for one in self._running
            if one.process is not None and one.process.returncode is None
        }

    async def _keep(self, one: _Running) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            code = await self._run_once(one)
            failures = 0 if loop.time() - began > STEADY_S else failures + 1
            how = _how(code)
            if code == WRONG_SETTINGS or not self._restart:
                raise TreeError(one.child.name, code, how, one.tail)
            pause = BACKOFF_S[min(max(failures, 1), len(BACKOFF_S)) - 1]
            self._on_change(one.child.name, f"{how}; it is started again in {pause:.0f} s")
            await asyncio.sleep(pause)

    async def _run_once(self, one: _Running) -> int:
        """Start the child and follow it to its end; the exit code, negative for a signal."""
        child = one.child
        one.process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-S",
            leash.__file__,
            str(os.getpid()),
            *child.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(child.environment),
            # Ctrl-C in the terminal is for us; the children are stopped in order.
            start_new_session=True,
        )
        one.starts += 1
        self._on_change(child.name, f"started, pid {process.pid}")
        assert process.stdout is not None
        await self._read_lines(one, process.stdout)
        return await process.wait()

    async def _read_lines(self, one: _Running, stream: asyncio.StreamReader) -> None:
        """Every line, cut where one never ends."""
        rest = b""
        while piece := await stream.read(_LONGEST_LINE):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._take(one, line)
        if rest:
            self._take(one, rest)

    def _take(self, one: _Running, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        one.tail.append(text)
        self._on_line(one.child.name, text)

    async def _stop_all(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        await asyncio.wait(tasks)
        await asyncio.gather(*(self._stop(one) for one in reversed(self._running)))

    async def _stop(self, one: _Running) -> None:
        process = one.process
        if process is None or process.returncode is not None:
            return
        reading = asyncio.create_task(self._drain(one, process))
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self._stop_s):
                await process.wait()
        except TimeoutError:
            self._on_change(one.child.name, f"did not stop within {self._stop_s:g} s and is killed")
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            async with asyncio.timeout(_KILL_S):
                await process.wait()
        await asyncio.wait({reading}, timeout=_KILL_S)
        reading.cancel()

    async def _drain(self, one: _Running, process: asyncio.subprocess.Process) -> None:
        """What it says while it stops; a full pipe would keep it from stopping."""
        assert process.stdout is not None
        await self._read_lines(one, process.stdout)


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://{LOOPBACK}:{port}/readyz") as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return "ended by itself" if code == 0 else f"ended with code {code}"

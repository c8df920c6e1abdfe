"""A server program as a child process: started with a deadline, stopped for certain, never left behind.

Invariant: the child ends with us. An orderly end goes through `stop` or `kill`; if this process is killed,
the kernel kills the child (see `leash`). The kernel ties the child to the *thread* that started it, so
`start` must be called on the main thread, where the event loop is.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from tidewind.embedded import leash

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.02
STOP_SECONDS = 30.0
PAUSE_SECONDS = 5.0
# Below the range from which Linux takes the ports of outgoing connections: a port that a stopped server
# leaves free is still free when the server is started again.
SERVER_PORTS = range(11000, 32000)


class ServerStartError(RuntimeError):
    """A server ended, or was not ready in time. The message holds the end of its log."""


class ProgramMissingError(RuntimeError):
    """A program is not installed. The message names the line that installs it."""


def free_port() -> int:
    """A loopback TCP port on which nothing listens now."""
    candidates = random.SystemRandom().sample(SERVER_PORTS, 200)
    for port in candidates:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port
    raise ServerStartError(f"none of {len(candidates)} ports tried on {LOOPBACK} is free")


async def accepts_connections(port: int) -> bool:
    """Whether something listens on the loopback port."""
    try:
        async with asyncio.timeout(1):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


class ServerProcess:
    """One run of one program. Start another `ServerProcess` to run it again."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._argv = [str(part) for part in argv]
        self._env = {**os.environ, **env} if env is not None else None
        self._cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        if self._child is None:
            raise ServerStartError(f"{self.name} was not started")
        return self._child.pid

    def start(self) -> None:
        """Start the program on the calling thread, which must live as long as the program shall."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self._argv]
        with self.log.open("ab") as output:
            self._child = subprocess.Popen(
                leashed,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd=self._cwd,
                # Ctrl-C in the terminal is for us; we end our servers in order.
                start_new_session=True,
            )

    async def wait_ready(self, is_ready: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Return once `is_ready` says so. Otherwise the child is killed and ServerStartError raised."""
        ready = False
        problem = "ended while starting"
        try:
            async with asyncio.timeout(seconds):
                while self.running and not (ready := await is_ready()):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            problem = f"was not ready after {seconds:g} s"
        finally:
            if not ready:
                await asyncio.shield(self.kill())
        if not ready:
            raise ServerStartError(f"{self.name} {problem}:\n{self.log_tail()}")

    async def stop(self, *, seconds: float = STOP_SECONDS) -> None:
        """SIGTERM, and SIGKILL when that was not enough within `seconds`."""
        if not self.running:
            return
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            ended = await asyncio.to_thread(self._wait, seconds)
        except asyncio.CancelledError:
            await asyncio.shield(self.kill())
            raise
        if not ended:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL: the program gets no chance to tidy up."""
        if self.running:
            self._signal(signal.SIGKILL)
            await asyncio.to_thread(self._wait, STOP_SECONDS)

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and answers nothing. Returns when every thread stands still."""
        self._signal(signal.SIGSTOP)
        give_up = time.monotonic() + PAUSE_SECONDS
        while self.running and not self._stands_still():
            if time.monotonic() > give_up:
                raise ServerStartError(f"{self.name} runs on after SIGSTOP")
            time.sleep(POLL_SECONDS)

    def _stands_still(self) -> bool:
        return all(_stopped_or_gone(thread) for thread in Path(f"/proc/{self.pid}/task").glob("*/stat"))

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 25) -> str:
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def _wait(self, seconds: float) -> bool:
        """Block until the program has ended, at most `seconds`."""
        if self._child is None:
            return True
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def _stopped_or_gone(thread: Path) -> bool:
    try:
        return thread.read_text().rpartition(")")[2].split()[0] in "TtZX"
    except OSError:  # it has ended
        return True

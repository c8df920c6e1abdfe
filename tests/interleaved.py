"""A workload of several sessions that a seed makes again, statement by statement."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

from tests.replay_workload import OPERATIONS, Operation, Session


class Interleaved:
    """Sessions of the workload whose statements take turns in an order that the seed draws, so that the seed makes the
    same log again: transactions of all sessions are open at once, and whatever would wait for a lock fails at once.
    Between two calls of `advance` nothing runs, and what is open stays open."""

    def __init__(
        self,
        connect: Callable[[], Any],
        seed: int,
        *,
        sessions: int = 4,
        table: Sequence[tuple[int, Operation]] = OPERATIONS,
    ) -> None:
        self._order = Random(f"{seed}/order")
        self._trouble: list[BaseException] = []
        self._ending = False
        self._go = [threading.Semaphore(0) for _ in range(sessions)]
        self._gone = [threading.Semaphore(0) for _ in range(sessions)]
        self.sessions = [
            Session(connect(), Random(f"{seed}/{number}"), table, partial(self._turn, number))
            for number in range(sessions)
        ]
        self._threads = [threading.Thread(target=self._work, args=(number,), daemon=True) for number in range(sessions)]
        for thread in self._threads:
            thread.start()
        self.advance(sessions)

    def advance(self, statements: int) -> None:
        """Raises what a session raised."""
        for _ in range(statements):
            number = self._order.randrange(len(self._go))
            self._go[number].release()
            self._gone[number].acquire()
            if self._trouble:
                raise self._trouble[0]

    def end(self) -> None:
        """Sessions stop where they are; the server takes back what they have not committed."""
        self._ending = True
        for go, thread in zip(self._go, self._threads, strict=True):
            go.release()
            thread.join()

    @contextmanager
    def _turn(self, number: int) -> Iterator[None]:
        self._go[number].acquire()
        if self._ending:
            raise _Ended
        try:
            yield
        finally:
            self._gone[number].release()

    def _work(self, number: int) -> None:
        session = self.sessions[number]
        try:
            session.do("SET SESSION lock_wait_timeout = 0, innodb_lock_wait_timeout = 0")
            while True:
                session.one()
        except _Ended:
            session.close()
        except BaseException as error:
            self._trouble.append(error)
            self._gone[number].release()


class _Ended(Exception):
    """The workload ends."""

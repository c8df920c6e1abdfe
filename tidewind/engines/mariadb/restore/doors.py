"""What closes a server to its users and lets them in again: the common face of the ways that `closing` names.

Invariant of every way: from `close` until `open`, only the service's account and the minted ones can log in, whatever
is killed in between, and each method may be run again from any point. Once `closed` is no longer true after an `open`,
nothing of the users' accounts is touched.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from tidewind.engines.mariadb.restore.names import SetKind
from tidewind.engines.mariadb.restore.statements import TablePath

KEPT_CLOSING = "kept-closing"
"""Kept before anything is closed: which way is taken, so that every successor takes the same."""

Stage = Callable[[Mapping[str, TablePath]], Awaitable[None]]
"""Makes the target set; given where the accounts of the users are as they were before the gate."""


class Doors(Protocol):
    async def closed(self) -> bool:
        """Whether the users are, or may be, locked out."""

    async def prepare(self, stage: Stage) -> None:
        """What is done while everybody is in."""

    async def close(self) -> None:
        """Lock the users out. Their connections are still there."""

    async def remember(self, stage: Stage) -> None:
        """What is done when nobody is left: the saved set and the target set are complete afterwards."""

    async def bring(self, wanted: SetKind, *, tolerant: bool) -> tuple[str, ...]:
        """While closed: the accounts of a set, as far as that can be done before the users are let in. Returns what the
        server would not take, in words; unless `tolerant`, a right that is missing raises DatabaseError."""

    async def open(self, wanted: SetKind) -> None:
        """Let the users in on a set; nothing happens if that was done before."""

    async def by_hand(self) -> tuple[str, ...]:
        """The statements that let the users in on what they had before the gate."""

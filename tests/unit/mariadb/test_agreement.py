"""When a snapshot may begin, and when its readers agree.

What readers are told of their snapshots' place may be another session's: it is asked for singly, and again.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tidewind.engines.mariadb import attempt
from tidewind.engines.mariadb.attempt import Attempt
from tidewind.engines.mariadb.catalogue import Catalogue
from tidewind.engines.mariadb.connection import Access
from tidewind.engines.mariadb.consistency import ROUNDS, TRIES_WITHOUT_LOCK, agree
from tidewind.engines.mariadb.messages import Answer, Began, Begin, Locate, Located, Request
from tidewind.engines.mariadb.readers import Reader
from tidewind.engines.mariadb.reading import Spoilt
from tidewind.engines.mariadb.server import LogPlace

ACCESS = cast(Access, None)
HERE, THERE = LogPlace("log.1", 100), LogPlace("log.1", 200)


class Server:
    """Keeps the snapshots' true places, and tells what `told` makes of them: (reader, asked how often, true place)."""

    def __init__(self, places: Sequence[Sequence[LogPlace]], told: Callable[[int, int, LogPlace], LogPlace]) -> None:
        self.readers = [FakeReader(self, number) for number in range(len(places[0]))]
        self.begun = 0
        self.asking = 0
        self.asked = [0] * len(self.readers)
        self._places = places
        self._told = told

    def place(self, number: int) -> LogPlace:
        return self._places[min((self.begun - 1) // len(self.readers), len(self._places) - 1)][number]

    async def tell(self, number: int) -> Located:
        self.asking += 1
        self.asked[number] += 1
        await asyncio.sleep(0)
        assert self.asking == 1, "two ask at once: each may be told the other's place"
        self.asking -= 1
        return Located(place=self._told(number, self.asked[number], self.place(number)))


class FakeReader:
    def __init__(self, server: Server, number: int) -> None:
        self._server = server
        self._number = number

    async def ask(self, request: Request) -> Answer:
        if isinstance(request, Begin):
            self._server.begun += 1
            return Began(clock="2026-11-27T07:00:00+00:00")
        assert isinstance(request, Locate)
        return await self._server.tell(self._number)


async def agreed(server: Server) -> Any:
    return await agree(cast(list[Reader], server.readers), ACCESS, may_lock=False)


async def test_readers_that_agree_are_asked_singly_and_in_every_round() -> None:
    server = Server([(HERE, HERE, HERE)], lambda _reader, _time, place: place)
    assert (await agreed(server)).place == HERE
    assert server.asked == [ROUNDS] * 3


@pytest.mark.parametrize("wrong", range(1, ROUNDS))
async def test_a_place_told_wrongly_is_not_believed(wrong: int) -> None:
    """The second reader stands elsewhere, and is told the first one's place; then they begin again."""
    server = Server([(HERE, THERE), (THERE, THERE)], lambda _, time, place: HERE if time <= wrong else place)
    agreement = await agreed(server)
    assert agreement.place == THERE
    assert agreement.tries > 1


async def test_readers_that_never_agree_take_no_lock_where_none_may_be_taken() -> None:
    server = Server([(HERE, THERE)], lambda _reader, _time, place: place)
    with pytest.raises(Spoilt, match="could not agree"):
        await agreed(server)
    assert server.begun == 2 * TRIES_WITHOUT_LOCK


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        ([timedelta(seconds=-9), timedelta()], 3),  # the clock stands at 0.4, 0.8 and 1.2 s then
        ([timedelta(seconds=-9)], 2),
        ([timedelta(seconds=-1), timedelta(hours=1)], 2),  # of the future: any change shows
        ([None], 2),
    ],
)
async def test_it_begins_when_the_second_is_over_in_which_the_newest_definition_was_made(
    monkeypatch: pytest.MonkeyPatch, made: list[timedelta | None], asked: int
) -> None:
    """Times of creation have steps of a second: a change before the snapshot and its undoing after it must show two."""
    second = datetime(2026, 11, 27, 7, 0, 0, tzinfo=UTC)
    clock: list[datetime] = []

    async def server_now(_: object) -> datetime:
        clock.append(second + timedelta(seconds=0.4) * (1 + len(clock)))
        return clock[-1]

    monkeypatch.setattr(attempt, "server_now", server_now)
    monkeypatch.setattr(attempt, "SETTLING_SECONDS", 0.0)
    listed = [SimpleNamespace(made=None if since is None else second + since) for since in made]
    begun = cast(Attempt, SimpleNamespace(_control=None))
    await Attempt._settle(begun, cast(Catalogue, SimpleNamespace(listed=listed)))
    assert len(clock) == asked

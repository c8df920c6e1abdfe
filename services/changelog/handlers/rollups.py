"""Rolls hours of segments up into one object each, and removes what they replace.

Invariant: a single segment goes only when the roll-up that holds it was read back, and no restore reads it: readers
find objects by listing once, and a single they have found must stay for as long as their pin does.
"""

from collections.abc import AsyncGenerator, Sequence

import structlog

from services.changelog.handlers.archive import Archive
from services.changelog.rules.rollups import groups, is_too_new, pinned
from services.changelog.settings import ChangelogSettings
from tidewind.domain import keys
from tidewind.domain.lived import microseconds
from tidewind.domain.segments import SegmentHead, SegmentRef, roll_up_directory
from tidewind.ports.clock import Clock
from tidewind.ports.store import Store, StoreError
from tidewind.runtime.catalogue import Catalogue, pins_in_force
from tidewind.runtime.ledger import Ledger
from tidewind.runtime.log_archive import LogArchive, LogObject, held_twice

log = structlog.get_logger()


class RollUps:
    """`run` as a part of the service: the clusters whose logs the archive has in hand."""

    def __init__(
        self,
        archive: Archive,
        archived: LogArchive,
        store: Store,
        catalogue: Catalogue,
        ledger: Ledger,
        *,
        clock: Clock,
        settings: ChangelogSettings,
    ) -> None:
        self._archive = archive
        self._archived = archived
        self._store = store
        self._catalogue = catalogue
        self._ledger = ledger
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        while True:
            await self._clock.sleep(self._settings.roll_up_every_s)
            for known in list(self._archive.logs.values()):
                for history in list(known.histories):
                    try:
                        await self.roll_up(known.cluster, history.history)
                    except StoreError as error:
                        log.warning(str(error), action="roll-up-failed", cluster=known.cluster)

    async def roll_up(self, cluster: str, history: str) -> int:
        """One history; returns how many roll-ups were made. Raises StoreError."""
        await self._remove_replaced(cluster, history)
        older_than = microseconds(self._clock.now()) - round(self._settings.roll_up_after_s * 1_000_000)
        singles: dict[int, SegmentRef] = {}
        for found in await self._archived.objects(cluster, history):
            if not found.rolled:
                (ref,) = await self._archived.refs(cluster, history, found)
                if ref.key != found.key:
                    return 0  # another instance has rolled it up since: whatever else was listed is out of date too
                if is_too_new(ref.head, older_than):
                    break  # so are all that follow: a look costs few reads, however many segments there are
                singles[ref.number] = ref
        made = groups([(ref.head, ref.size) for ref in singles.values()], older_than)
        for group in made:
            await self._put(cluster, history, [singles[head.number] for head in group])
        if made:
            await self._remove_replaced(cluster, history)
        return len(made)

    async def _put(self, cluster: str, history: str, members: Sequence[SegmentRef]) -> None:
        first, last = members[0].number, members[-1].number
        key = keys.roll_up(cluster, history, first, last)
        await self._store.put_stream(key, self._content(members))
        await self._archived.refs(cluster, history, LogObject(key=key, first=first, last=last))

    async def _content(self, members: Sequence[SegmentRef]) -> AsyncGenerator[bytes, None]:
        heads: list[tuple[SegmentHead, int, int]] = [(ref.head, ref.head_bytes, ref.size) for ref in members]
        yield roll_up_directory(heads)
        for ref in members:
            yield await self._store.get(ref.key)

    async def _remove_replaced(self, cluster: str, history: str) -> None:
        """Singles that a roll-up holds, unless a restore reads them."""
        rolled, singles = await self._archived.listing(cluster, history)
        held = held_twice(singles, rolled)
        replaced = [one for one, _ in held]
        if not replaced:
            return
        pins = [
            (log.first, log.last)
            for pin in await pins_in_force(self._catalogue, self._ledger, cluster)
            for log in pin.log
            if log.history == history
        ]
        for roll in dict.fromkeys(roll for _, roll in held):
            await self._archived.refs(cluster, history, roll)
        await self._store.delete([one.key for one in replaced if not pinned(one.first, one.last, pins)])

"""A store in memory, and what one process has of it."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from hashlib import sha256

from tests.fakes import ManualClock
from tests.faults.turnstile import Turnstile
from tidewind.ports.store import ObjectInfo, ObjectMissing, StoredObject


class Memory:
    """A store in memory: implements tidewind.ports.store.Store."""

    def __init__(self, clock: ManualClock) -> None:
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self._clock = clock

    async def put(self, key: str, data: bytes) -> StoredObject:
        self.objects[key] = (data, self._clock.now())
        return StoredObject(key=key, size=len(data), sha256=sha256(data).hexdigest())

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        if key in self.objects:
            return False
        self.objects[key] = (data, self._clock.now())
        return True

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        return await self.put(key, b"".join([part async for part in parts]))

    async def get(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing("get", key, "no such object")
        return self.objects[key][0]

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        data = await self.get(key)
        yield data[start : None if length is None else start + length]

    async def info(self, key: str) -> ObjectInfo | None:
        found = self.objects.get(key)
        return None if found is None else ObjectInfo(key=key, size=len(found[0]), modified=found[1])

    async def list(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
        for key in sorted(self.objects):
            if key.startswith(prefix) and key > after:
                data, modified = self.objects[key]
                yield ObjectInfo(key=key, size=len(data), modified=modified)

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            self.objects.pop(key, None)

    async def now(self) -> datetime:
        return self._clock.now()

    async def close(self) -> None:
        pass


class Guarded:
    """The store as one process has it. A deletion of many takes effect one by one, as deletions do."""

    def __init__(self, inner: Memory, gate: Turnstile) -> None:
        self._inner = inner
        self._gate = gate

    async def put(self, key: str, data: bytes) -> StoredObject:
        return await self._gate.call(f"put {key}", lambda: self._inner.put(key, data))

    async def put_if_absent(self, key: str, data: bytes) -> bool:
        return await self._gate.call(f"claim {key}", lambda: self._inner.put_if_absent(key, data))

    async def put_stream(self, key: str, parts: AsyncIterator[bytes]) -> StoredObject:
        return await self._gate.call(f"put {key}", lambda: self._inner.put_stream(key, parts))

    async def get(self, key: str) -> bytes:
        return await self._gate.call(f"get {key}", lambda: self._inner.get(key))

    async def stream(self, key: str, *, start: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        data = await self._gate.call(f"get {key}", lambda: self._inner.get(key))
        yield data[start : None if length is None else start + length]

    async def info(self, key: str) -> ObjectInfo | None:
        return await self._gate.call(f"info {key}", lambda: self._inner.info(key))

    async def list(self, prefix: str, *, after: str = "") -> AsyncGenerator[ObjectInfo, None]:
        async def listed() -> list[ObjectInfo]:
            return [found async for found in self._inner.list(prefix, after=after)]

        for found in await self._gate.call(f"list {prefix}", listed):
            yield found

    async def delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            await self._gate.call(f"delete {key}", partial(self._inner.delete, [key]))

    async def now(self) -> datetime:
        return await self._inner.now()

    async def close(self) -> None:
        pass

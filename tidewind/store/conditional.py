"""Whether a store honours conditional puts: everything that decides between two writers rests on it."""

import asyncio
from typing import Literal

from tidewind.ports.clock import Randomness
from tidewind.ports.store import Store, StoreUnconditional

PROBES = "probes/"
_WRITERS = 16

Verdict = Literal["honours", "races", "ignores"]
"""`races`: it refuses a second put, but lets several win at once, as a server does that looks and then writes."""


async def check_conditional_puts(store: Store, randomness: Randomness) -> Verdict:
    """Put one new key twice with different bytes, then another by many at once; the keys are removed again.

    `races` and `ignores` are certain; a store that races seldom can pass for one that honours.
    """
    if not await _second_is_refused(store, randomness):
        return "ignores"
    return "honours" if await _one_of_many_wins(store, randomness) else "races"


async def _second_is_refused(store: Store, randomness: Randomness) -> bool:
    key = f"{PROBES}{randomness.token(16).hex()}"
    try:
        first = await store.put_if_absent(key, b"first " + randomness.token(16))
        second = await store.put_if_absent(key, b"second " + randomness.token(16))
    finally:
        await store.delete([key])
    return first and not second


async def _one_of_many_wins(store: Store, randomness: Randomness) -> bool:
    key = f"{PROBES}{randomness.token(16).hex()}"
    try:
        won = await asyncio.gather(*(store.put_if_absent(key, randomness.token(16)) for _ in range(_WRITERS)))
    finally:
        await store.delete([key])
    return won.count(True) == 1


async def require_conditional_puts(store: Store, randomness: Randomness) -> None:
    """Raises StoreUnconditional if the store does not decide between two writers."""
    verdict = await check_conditional_puts(store, randomness)
    if verdict == "honours":
        return
    cause = (
        "it overwrote an object in spite of If-None-Match: two writers could both believe they won"
        if verdict == "ignores"
        else "of many conditional puts of one key at the same time it let several win"
    )
    hint = "use a store that honours conditional puts, or declare a single writer: TIDEWIND_STORE_SINGLE_WRITER=true"
    raise StoreUnconditional("check the store", "", cause, hint)

"""Whether a store honours conditional puts: everything that decides between two writers rests on it."""

from typing import Literal

from tidewind.domain import keys
from tidewind.ports.clock import Randomness
from tidewind.ports.store import Store, StoreUnconditional


async def check_conditional_puts(store: Store, randomness: Randomness) -> Literal["honours", "ignores"]:
    """Put one new key twice with different bytes and see which stay; the key is removed again."""
    key = f"{keys.PROBES}{randomness.token(16).hex()}"
    try:
        first = await store.put_if_absent(key, b"first " + randomness.token(16))
        second = await store.put_if_absent(key, b"second " + randomness.token(16))
    finally:
        await store.delete([key])
    return "honours" if first and not second else "ignores"


async def require_conditional_puts(store: Store, randomness: Randomness) -> None:
    """Raises StoreUnconditional if the store ignores conditional puts."""
    if await check_conditional_puts(store, randomness) == "ignores":
        cause = "it overwrote an object in spite of If-None-Match: two writers could both believe they won"
        hint = (
            "use a store that honours conditional puts, or declare a single writer: TIDEWIND_STORE_SINGLE_WRITER=true"
        )
        raise StoreUnconditional("check the store", "", cause, hint)

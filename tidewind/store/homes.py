"""Which Kafka's services work on a store.

    homes/<number, 8 digits>.json   {kafka_cluster, prefix}: the highest number is in force

Two deployments on one store would take each other's jobs over again and again: each hears only its own heartbeats.
They cannot see each other's topics, so the store tells them apart: it remembers the id of the Kafka cluster and the
prefix of the topics, and serves no other.

Invariant: a home is put once and never changed. Another Kafka takes a store over only where an operator names the home
it takes it from; of two that do so at once, the first put decides, and the other finds a home it did not name.
"""

from datetime import datetime

from tidewind.domain import keys
from tidewind.domain.records import Home, parse
from tidewind.ports.store import Store, StoreForeign

_OPERATION = "open the repository"


async def require_home(
    store: Store, *, kafka_cluster: str | None, prefix: str, adopt_from: str | None, now: datetime
) -> Home | None:
    """The home in force, which is this one; put if the store has none, or if `adopt_from` names the one it has. None if
    the broker does not tell its id. Raises StoreForeign, naming both and the next step."""
    if kafka_cluster is None:
        return None
    while True:
        standing = await _newest(store)
        if standing is not None and (standing.kafka_cluster, standing.prefix) == (kafka_cluster, prefix):
            return standing
        number = standing.number + 1 if standing else 1
        ours = Home(number=number, kafka_cluster=kafka_cluster, prefix=prefix, since=now)
        if standing is not None and standing.name != adopt_from:
            raise _foreign(standing, ours, adopt_from)
        if await store.put_if_absent(keys.home(number), ours.to_bytes()):
            return ours


async def _newest(store: Store) -> Home | None:
    found = [entry.key async for entry in store.list(keys.HOMES)]
    return parse(Home, await store.get(found[-1]), found[-1]) if found else None


def _foreign(standing: Home, ours: Home, adopt_from: str | None) -> StoreForeign:
    cause = (
        f"the store is in the hands of the Kafka cluster {standing.kafka_cluster} with topics "
        f"{standing.prefix}…, since {standing.since:%Y-%m-%d %H:%M} UTC; this is {ours.kafka_cluster} with topics "
        f"{ours.prefix}…"
    )
    if adopt_from is not None:
        cause += f"; TIDEWIND_ADOPT_STORE_FROM names {adopt_from}"
    hint = (
        "give this deployment a bucket, prefix or directory of its own; if that Kafka is gone for good and no service "
        f"of it runs any more, start with TIDEWIND_ADOPT_STORE_FROM={standing.name}"
    )
    return StoreForeign(_OPERATION, keys.HOMES, cause, hint)

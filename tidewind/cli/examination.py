"""What `doctor` and `key check` look at, through ports. Nothing is changed but a probe object that is removed again."""

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Protocol, cast

from schemas.commands import Endpoint
from tidewind.cli.endings import KAFKA_AWAY
from tidewind.cli.formats import duration, number
from tidewind.cli.ports import Check, TopicDifference, Topics
from tidewind.domain import keys
from tidewind.domain.problems import Refused
from tidewind.domain.records import BackupOutcome, RegistryEntry, Repository, parse
from tidewind.ports.bus import BusError, fewer_replicas
from tidewind.ports.engine import Address, DatabaseError, SnapshotEngine
from tidewind.ports.store import UNREADABLE, KeyMissing, ObjectMissing, Store, StoreError
from tidewind.runtime.secrets import resolve_login

CLOCK_WARN_S = 5.0
CLOCK_LIMIT_S = 300.0


class Broker(Protocol):
    """Who answers, and the topics."""

    @property
    def brokers(self) -> tuple[str, ...]: ...


class KeyHolder(Protocol):
    """A keyring, as far as looking at it goes."""

    @property
    def active(self) -> str: ...
    @property
    def keys(self) -> Mapping[str, bytes]: ...
    def matches(self, key_id: str, check_value: str) -> bool: ...


async def look_at_topics(topics: Topics, broker: Broker, partitions: int, *, replicas: int) -> list[Check]:
    """`partitions` and `replicas` are those of topics that would be made."""
    count = len(broker.brokers)
    found = await topics.plan()
    text = f"{', '.join(broker.brokers[:3])}, {count} broker{'' if count == 1 else 's'}"
    if not found:
        text += f", {partitions} partitions a topic"
    checks = [Check(group="broker", level="ok", text=text)]
    missing = [one for one in found if one.action == "create"]
    if missing and count < replicas:
        text = f"{count} of the {replicas} brokers that topics of {replicas} replicas need"
        checks.append(Check(group="broker", level="error", text=text, fix=fewer_replicas(count)))
    checks += _differences(missing, [one for one in found if one.action != "create"])
    if not found:
        checks.append(Check(group="topics", level="ok", text="all as declared"))
    return checks


def _differences(missing: Sequence[TopicDifference], others: Sequence[TopicDifference]) -> list[Check]:
    """One line for all that are missing: before the first start that is every topic, each with the same fix."""
    found = [
        Check(
            group="topics",
            level="error" if one.hinders else "warn",
            text=f"{one.topic} {one.text}",
            fix=one.fix or None,
        )
        for one in others
    ]
    if missing:
        first = missing[0]
        more = f" and {len(missing) - 1} more topics do" if len(missing) > 1 else " does"
        text = f"{first.topic}{more} not exist yet"
        found.insert(0, Check(group="topics", level="error", text=text, fix=f"{first.fix}   (tidewind up does it too)"))
    return found


def kafka_failed(error: BusError) -> Check:
    return Check(group="broker", level="error", text=str(error), fix=error.hint or KAFKA_AWAY)


async def look_at_store(
    store: Store, *, url: str, conditional: bool, single_writer: bool, now: datetime
) -> list[Check]:
    """`conditional`: whether a second put of one key was refused."""
    off = abs((await store.now() - now).total_seconds())
    puts = "conditional puts" if conditional else "no conditional puts"
    checks = [Check(group="store", level="ok", text=f"{url}  {puts}, clock {duration(off)} off")]
    if not conditional:
        checks.append(
            Check(
                group="store",
                level="warn" if single_writer else "error",
                text="it overwrites objects in spite of If-None-Match: two writers could both believe they won",
                fix="use a store that honours it, or one instance a service and TIDEWIND_STORE_SINGLE_WRITER=true",
            )
        )
    if off > CLOCK_WARN_S:
        beyond = off > CLOCK_LIMIT_S
        said = "nothing is deleted until they agree" if beyond else "deletion stops at 5 min"
        checks.append(
            Check(
                group="clock",
                level="error" if beyond else "warn",
                text=f"the store's clock and this machine's differ by {duration(off)}: {said}",
                fix="timedatectl set-ntp true",
            )
        )
    return checks


async def look_at_key(store: Store, inner: Store, keyring: KeyHolder | None, reference: str | None) -> list[Check]:
    """The keyring against `repository.json`, then against every backup. `inner` is the store as it lies there."""
    named = f"{keyring.active} ({reference})" if keyring else "encryption is off"
    try:
        repository = parse(Repository, await inner.get(keys.REPOSITORY), keys.REPOSITORY)
    except ObjectMissing:
        text = f"{named}; the store is still empty and takes this key when the first service starts"
        return [Check(group="key", level="ok", text=text)]
    if repository.key_id is None or repository.key_check is None:
        if keyring is None:
            return [Check(group="key", level="warn", text="backups are stored unencrypted: the log holds passwords")]
        fix = "TIDEWIND_STORE_ENCRYPTION=false, or a store of its own"
        return [Check(group="key", level="error", text="the store was made without encryption", fix=fix)]
    wrong = _key_trouble(repository, keyring)
    if wrong is not None:
        return [wrong]
    readable, total, missing = await _readable_backups(store)
    level = "ok" if readable == total else "error"
    checks = [
        Check(
            group="key",
            level=cast(Any, level),
            text=f"{named}, backups readable: {number(readable)} of {number(total)}",
        )
    ]
    if missing:
        fix = "put them into the keyring that TIDEWIND_KEYRING names"
        checks.append(Check(group="key", level="error", text=f"missing: {', '.join(sorted(missing))}", fix=fix))
    return checks


def _key_trouble(repository: Repository, keyring: KeyHolder | None) -> Check | None:
    assert repository.key_id is not None
    assert repository.key_check is not None
    if keyring is None:
        text = f"the store is encrypted under the key {repository.key_id} and encryption is off here"
        return Check(group="key", level="error", text=text, fix="TIDEWIND_STORE_ENCRYPTION=true and TIDEWIND_KEYRING=…")
    if repository.key_id not in keyring.keys:
        text = f"the store's key {repository.key_id} is not in the keyring, which holds {', '.join(keyring.keys)}"
        return Check(group="key", level="error", text=text, fix=f"put {repository.key_id} into the keyring")
    if not keyring.matches(repository.key_id, repository.key_check):
        text = f"the keyring's {repository.key_id} is another key than the one of that name the store was made with"
        return Check(group="key", level="error", text=text, fix="bring back the keyring the services were started with")
    return None


async def _readable_backups(store: Store) -> tuple[int, int, set[str]]:
    """(readable, all, what is said of those that are not): the manifest's first bytes prove the key."""
    readable = total = 0
    causes: set[str] = set()
    async for found in store.list(keys.OUTCOMES):
        try:
            outcome = parse(BackupOutcome, await store.get(found.key), found.key)
            if outcome.manifest_key is None:
                continue
            await _first_bytes(store, outcome.manifest_key)
            readable += 1
        except (*UNREADABLE, ObjectMissing) as error:
            causes.add(error.cause)
        total += 1
    return readable, total, causes


async def _first_bytes(store: Store, key: str) -> None:
    async with aclosing(cast(Any, store.stream(key))) as pieces:
        async for _ in pieces:
            return


def store_failed(error: StoreError) -> Check:
    group = "key" if isinstance(error, KeyMissing) or "keyring" in error.operation else "store"
    return Check(group=group, level="error", text=str(error), fix=error.hint or None)


async def look_at_database(entry: RegistryEntry, engine: SnapshotEngine | None, *, named: bool) -> list[Check]:
    """`named`: whether lines must say which cluster they are about."""
    prefix = f"{entry.cluster_id} " if named else ""
    where = ", ".join(_address(endpoint) for endpoint in entry.endpoints)
    if engine is None:
        text = f"{entry.engine} at {where} cannot be looked at by this release"
        return [Check(group=f"{prefix}database", level="warn", text=text)]
    try:
        login = resolve_login(entry.credentials)
        stronger = resolve_login(entry.restore_credentials) if entry.restore_credentials else None
        address = Address(cluster_id=entry.cluster_id, endpoints=entry.endpoints, tls=entry.tls)
        preflight = await engine.preflight(address, login, stronger)
    except Refused as refusal:
        found = refusal.problem
        return [Check(group=f"{prefix}database", level="error", text=found.detail, fix=found.next_step)]
    except DatabaseError as error:
        return [Check(group=f"{prefix}database", level="error", text=error.detail, fix=error.next_step)]
    facts = preflight.facts
    text = f"{facts.engine} {facts.version} at {where}, server {facts.identity}, zone {facts.zone}"
    checks = [Check(group=f"{prefix}database", level="ok", text=text)]
    if facts.identity != entry.server_identity:
        text = f"this is another server than the one enrolled ({entry.server_identity})"
        fix = f"tidewind cluster update {entry.cluster_id} --endpoint HOST:PORT"
        checks.append(Check(group=f"{prefix}database", level="warn", text=text, fix=fix))
    checks += [
        Check(group=f"{prefix}{one.subject}", level=one.level, text=one.text, fix=one.fix) for one in preflight.findings
    ]
    return checks


def _address(endpoint: Endpoint) -> str:
    return f"{endpoint.host}:{endpoint.port}"

"""The marker of a repository: whose store this is, under which key, with how many partitions.

Invariant: `repository.json` is written once, by a conditional put, before anything else, and never changes. A store
with objects but without the marker is not taken for an empty one.
"""

from datetime import datetime

from tidewind.domain import keys
from tidewind.domain.records import Repository, parse
from tidewind.ports.clock import Randomness
from tidewind.ports.store import (
    KeyMissing,
    ObjectDamaged,
    ObjectMissing,
    Store,
    StoreForeign,
    StoreUnavailable,
)
from tidewind.store.keyring import Keyring, missing_hint

_OPERATION = "open the repository"
_OWN_PLACE = "give this deployment a bucket, prefix or directory of its own"


async def open_repository(
    store: Store,
    *,
    keyring: Keyring | None,
    partitions: int,
    deployment: str | None,
    now: datetime,
    randomness: Randomness,
) -> Repository:
    """The repository of the *unsealed* store, made if the store is empty.

    `deployment` is the id this deployment is configured with, or None to take what is there, or mint one. Raises
    StoreForeign if the store belongs to another deployment, or was made with another number of partitions or without
    the encryption that is configured; KeyMissing if the keyring lacks its key or holds another under its name.
    """
    found = await _read(store)
    if found is None:
        found = await _create(store, _new(keyring, partitions, deployment, now, randomness))
    _check_owner(found, partitions, deployment)
    _check_key(found, keyring)
    return found


def _new(
    keyring: Keyring | None, partitions: int, deployment: str | None, now: datetime, randomness: Randomness
) -> Repository:
    return Repository(
        deployment=deployment or f"dep-{randomness.token(8).hex()}",
        partitions=partitions,
        created_at=now,
        key_id=keyring.active if keyring else None,
        key_check=keyring.check_value(keyring.active) if keyring else None,
    )


async def _read(store: Store) -> Repository | None:
    try:
        data = await store.get(keys.REPOSITORY)
    except ObjectMissing:
        return None
    try:
        return parse(Repository, data, keys.REPOSITORY)
    except ObjectDamaged as error:
        raise ObjectDamaged(_OPERATION, keys.REPOSITORY, error.cause, "bring the object back as it was") from None


async def _create(store: Store, wanted: Repository) -> Repository:
    async for stray in store.list(""):
        if stray.key.startswith(keys.PROBES):
            continue
        if raced := await _read(store):
            return raced
        cause = f"there are objects in the store ({stray.key}) but no {keys.REPOSITORY}"
        raise StoreForeign(_OPERATION, keys.REPOSITORY, cause, f"bring that object back, or {_OWN_PLACE}")
    await store.put_if_absent(keys.REPOSITORY, wanted.to_bytes())
    found = await _read(store)
    if found is None:
        cause = "it was written and cannot be read back"
        raise StoreUnavailable(_OPERATION, keys.REPOSITORY, cause, "check the store")
    return found


def _check_owner(found: Repository, partitions: int, deployment: str | None) -> None:
    if deployment is not None and deployment != found.deployment:
        cause = f"the store belongs to the deployment {found.deployment}, this one is {deployment}"
        raise StoreForeign(_OPERATION, keys.REPOSITORY, cause, _OWN_PLACE)
    if partitions != found.partitions:
        cause = f"it was made for topics of {found.partitions} partitions, these have {partitions}"
        hint = f"make the topics with {found.partitions} partitions; their number never changes"
        raise StoreForeign(_OPERATION, keys.REPOSITORY, cause, hint)


def _check_key(found: Repository, keyring: Keyring | None) -> None:
    if found.key_id is None or found.key_check is None:
        if keyring is not None:
            cause = f"the store of the deployment {found.deployment} was made without encryption, which is configured"
            raise StoreForeign(
                _OPERATION, keys.REPOSITORY, cause, f"set TIDEWIND_STORE_ENCRYPTION=false, or {_OWN_PLACE}"
            )
        return
    if keyring is None:
        cause = (
            f"the store of the deployment {found.deployment} is encrypted under the key {found.key_id}, and encryption "
            "is switched off"
        )
        raise KeyMissing(_OPERATION, keys.REPOSITORY, cause, "switch encryption on and name the keyring")
    owner = f"the store belongs to the deployment {found.deployment}, "
    hint = f"{missing_hint(found.key_id)}; if this is another deployment, {_OWN_PLACE}"
    if found.key_id not in keyring.keys:
        cause = f"whose key {found.key_id} is not in the keyring (which holds {', '.join(keyring.keys)})"
        raise KeyMissing(_OPERATION, keys.REPOSITORY, owner + cause, hint)
    if not keyring.matches(found.key_id, found.key_check):
        cause = f"and the keyring's key {found.key_id} is not the key of that name it was made with"
        raise KeyMissing(_OPERATION, keys.REPOSITORY, owner + cause, hint)

"""Opens the store that the settings describe, in a service or anew in one of its worker processes."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from schemas.base import SecretReference
from tidewind.ports.store import Store
from tidewind.runtime.clock import SystemRandomness
from tidewind.store.directory import DirectoryStore
from tidewind.store.keyring import Keyring, KeyringInvalid
from tidewind.store.references import read_reference
from tidewind.store.sealed import SealedStore

_ABANDONED = timedelta(days=1)
NO_KEYRING = {
    "variable": "TIDEWIND_KEYRING",
    "fix": "tidewind key init /etc/tidewind/keyring && export TIDEWIND_KEYRING=file:/etc/tidewind/keyring",
}
"""What is wrong when two settings together are: whoever shows it cannot tell from the field."""

if TYPE_CHECKING:
    from tidewind.store.s3_client import S3Access


class StoreSettings(BaseModel):
    """Where the store is and how to reach it. Holds references, never secrets; may be pickled.

    `url` is `s3://bucket/prefix` or `file:///directory`. Without `access_key` the usual chain of AWS is asked
    (variables, profile, role of the machine or pod). `single_writer` declares that one process at a time writes, for
    stores that ignore conditional puts. `ca` is a PEM file of authorities to trust instead of the system's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str
    endpoint_url: str | None = None
    region: str | None = None
    access_key: SecretReference | None = None
    secret_key: SecretReference | None = None
    session_token: SecretReference | None = None
    ca: Path | None = None
    path_style: bool = True
    checksums: Literal["when_required", "when_supported"] = "when_required"
    single_writer: bool = False
    part_bytes: int = Field(default=8 << 20, ge=5 << 20, le=64 << 20)
    part_concurrency: int = Field(default=4, ge=1, le=16)
    encryption: bool = True
    keyring: SecretReference | None = None

    @field_validator("url")
    @classmethod
    def _is_a_store(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme == "s3" and parts.netloc and not (parts.query or parts.fragment or "@" in parts.netloc):
            return url.rstrip("/")
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            return url
        raise ValueError("name the store as s3://bucket/prefix or file:///directory")

    @model_validator(mode="after")
    def _is_complete(self) -> "StoreSettings":
        if self.encryption and self.keyring is None:
            raise PydanticCustomError(
                "no_keyring", "is not set, and backups are encrypted unless TIDEWIND_STORE_ENCRYPTION=false", NO_KEYRING
            )
        if (self.access_key is None) != (self.secret_key is None):
            raise ValueError("access_key and secret_key belong together")
        return self

    @property
    def kind(self) -> Literal["directory", "s3"]:
        return "s3" if self.url.startswith("s3:") else "directory"

    @property
    def modules(self) -> tuple[str, ...]:
        """What opening it imports, for worker processes that are to begin quickly."""
        return ("tidewind.store.factory", *(["tidewind.store.s3"] if self.kind == "s3" else []))

    def load_keyring(self) -> Keyring | None:
        """The keyring, or None if encryption is off. Raises KeyringInvalid, StoreRefused."""
        if not self.encryption:
            return None
        if self.keyring is None:
            raise KeyringInvalid("no keyring is named")
        return Keyring.load(self.keyring)


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncGenerator[SealedStore, None]:
    """The sealed store, closed at the end; `.inner` is the unsealed one, `.keyring` its keys.

    `functools.partial(open_store, settings)` is a StoreFactory. Raises StoreRefused if keyring, credentials or the
    directory are not there; an S3 store is first asked by the first call.
    """
    keyring = await asyncio.to_thread(settings.load_keyring)
    inner = await (_open_s3(settings) if settings.kind == "s3" else _open_directory(settings))
    try:
        yield SealedStore(inner, keyring, SystemRandomness())
    finally:
        await inner.close()


async def sweep_uploads(store: Store) -> int:
    """Abort what killed writers left half uploaded a day ago or longer; returns how many. A directory store sweeps
    itself when it is opened."""
    from tidewind.store.s3 import S3Store

    return await store.sweep_uploads(_ABANDONED) if isinstance(store, S3Store) else 0


async def _open_directory(settings: StoreSettings) -> Store:
    store = DirectoryStore(Path(unquote(urlsplit(settings.url).path)))
    try:
        await store.open()
    except BaseException:
        await store.close()
        raise
    return store


async def _open_s3(settings: StoreSettings) -> Store:
    # Imported here: the S3 client takes half a second to load, in every worker process, also where it is not used.
    from tidewind.store.s3 import S3Place, S3Store

    parts = urlsplit(settings.url)
    access = await asyncio.to_thread(_access, settings)
    place = S3Place(
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        single_writer=settings.single_writer,
        part_bytes=settings.part_bytes,
        part_concurrency=settings.part_concurrency,
    )
    return await S3Store.connect(place, access)


def _access(settings: StoreSettings) -> "S3Access":
    from tidewind.store.s3_client import S3Access

    def secret(reference: str | None, what: str) -> str | None:
        return None if reference is None else read_reference(reference, what)

    return S3Access(
        endpoint_url=settings.endpoint_url,
        region=settings.region,
        access_key=secret(settings.access_key, "the store's access key"),
        secret_key=secret(settings.secret_key, "the store's secret key"),
        session_token=secret(settings.session_token, "the store's session token"),
        ca=settings.ca,
        path_style=settings.path_style,
        checksums=settings.checksums,
    )

"""The connection to S3: the only file that knows aioboto3.

Retries are made here and nowhere else (the library's own are off), so that a conditional put knows what it has sent,
and only for failures classified as transient. Every request has a deadline; every call a bounded number of requests.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aioboto3
import stamina
from botocore.config import Config

from tidewind.ports.store import StoreRefused, StoreUnavailable
from tidewind.store.s3_errors import FAILURES, classified

DEFAULT_REGION = "us-east-1"
CONNECTIONS = 32
CONNECT_SECONDS = 10.0
REQUEST_SECONDS = 30.0
_ALWAYS_ANSWERED = {
    "put_object": "ETag",
    "get_object": "ETag",
    "upload_part": "ETag",
    "head_object": "LastModified",
    "create_multipart_upload": "UploadId",
}
"""What tells S3 from any other server that says 200."""


@dataclass(frozen=True, kw_only=True)
class S3Access:
    """How to reach and log into S3. Secrets are resolved; neither repr nor errors show them."""

    endpoint_url: str | None
    region: str | None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    path_style: bool = True
    checksums: Literal["when_required", "when_supported"] = "when_required"


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to try. `request_s` bounds one request, `total_s` the time after which no further try begins."""

    request_s: float = REQUEST_SECONDS
    attempts: int = 6
    total_s: float = 120.0
    wait_initial_s: float = 0.2
    wait_max_s: float = 8.0


class S3Client:
    """Calls of one bucket. Methods raise the store's errors only."""

    def __init__(self, client: Any, stack: AsyncExitStack, bucket: str, access: S3Access, patience: Patience) -> None:
        self._client = client
        self._stack = stack
        self.bucket = bucket
        self.endpoint = str(client.meta.endpoint_url)
        self.patience = patience
        self.sends_md5 = access.checksums == "when_required"

    @classmethod
    async def connect(cls, bucket: str, access: S3Access, patience: Patience) -> "S3Client":
        """Opens no connection yet. Raises StoreRefused for settings the library cannot work with."""
        endpoint = access.endpoint_url or "AWS S3"
        stack = AsyncExitStack()
        try:
            session = await asyncio.to_thread(
                aioboto3.Session,
                aws_access_key_id=access.access_key,
                aws_secret_access_key=access.secret_key,
                aws_session_token=access.session_token,
                region_name=access.region,
            )
            region = access.region or session.region_name or DEFAULT_REGION
            client = await stack.enter_async_context(
                session.client(
                    "s3",
                    region_name=region,
                    endpoint_url=access.endpoint_url,
                    config=_config(access),
                    verify=str(access.ca) if access.ca else None,
                )
            )
            client.meta.events.register_last("before-parameter-build.s3", _stay_here)
        except (*FAILURES, ValueError) as error:
            await stack.aclose()
            raise classified(error, "connect to", "", bucket=bucket, endpoint=endpoint) from error
        except BaseException:
            await stack.aclose()
            raise
        return cls(client, stack, bucket, access, patience)

    async def call(
        self, operation: str, key: str, method: str, *, request_s: float | None = None, **arguments: Any
    ) -> Mapping[str, Any]:
        """One call, repeated while it fails transiently. Raises StoreError."""
        async for attempt in self.tries():
            with attempt:
                return await self.once(operation, key, method, request_s=request_s, **arguments)
        raise AssertionError("the last try returns or raises")

    def tries(self) -> AsyncIterator[stamina.Attempt]:
        """Tries with growing, jittered pauses between them: `async for attempt in tries(): with attempt: …`."""
        patience = self.patience
        return aiter(
            stamina.retry_context(
                on=StoreUnavailable,
                attempts=patience.attempts,
                timeout=patience.total_s,
                wait_initial=patience.wait_initial_s,
                wait_max=patience.wait_max_s,
                wait_jitter=patience.wait_initial_s,
            )
        )

    async def once(
        self, operation: str, key: str, method: str, *, request_s: float | None = None, **arguments: Any
    ) -> Mapping[str, Any]:
        """One request. Raises StoreError."""
        try:
            async with asyncio.timeout(request_s or self.patience.request_s):
                answer: Mapping[str, Any] = await getattr(self._client, method)(Bucket=self.bucket, **arguments)
        except FAILURES as error:
            raise classified(error, operation, key, bucket=self.bucket, endpoint=self.endpoint) from error
        needed = _ALWAYS_ANSWERED.get(method)
        if needed and needed not in answer:
            cause = f"{self.endpoint} does not answer like an S3 server: no {needed}"
            raise StoreRefused(operation, key, cause, "check endpoint_url: is it the S3 server's own address?")
        return answer

    async def close(self) -> None:
        await self._stack.aclose()


def _stay_here(context: dict[str, Any], **_: Any) -> None:
    """Follow no redirect to another region: the library asks the redirecting server where to, which redirects …"""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _config(access: S3Access) -> Config:
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=REQUEST_SECONDS * 2,
        max_pool_connections=CONNECTIONS,
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path" if access.path_style else "auto"},
        request_checksum_calculation=access.checksums,
        response_checksum_validation=access.checksums,
        signature_version="s3v4",
        tcp_keepalive=True,
    )

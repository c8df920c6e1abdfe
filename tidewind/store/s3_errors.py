"""What a failure of S3 means: repeat it, let somebody act, or answer that the object is not there.

The tables hold codes of AWS and of the servers that speak its protocol; statuses decide where the code is unknown, as
in answers to HEAD, which have no body.
"""

from typing import Any

import aiohttp
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from tidewind.ports.store import ObjectMissing, StoreError, StoreFull, StoreRefused, StoreUnavailable

FAILURES = (boto.ClientError, boto.BotoCoreError, ResponseParserError, aiohttp.ClientError, OSError, TimeoutError)
"""Everything a call can raise that is not a mistake in this program."""

_MISSING = {"NotFound", "404"}
"""For HEAD only: to other requests an S3 server names what is missing."""
_FULL = {
    "QuotaExceeded",
    "ServiceQuotaExceeded",
    "InsufficientStorage",
    "EntityTooLarge",
    "XMinioStorageFull",
    "XMinioAdminBucketQuotaExceeded",
    "507",
}
_TRANSIENT = {
    "InternalError",
    "SlowDown",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "RequestThrottled",
    "TooManyRequests",
    "BandwidthLimitExceeded",
    "RequestTimeout",
    "OperationAborted",
    "ConditionalRequestConflict",
    "BadDigest",
    "IncompleteBody",
    "429",
    "408",
    "409",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "401"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidObjectState", "403"}
_ELSEWHERE = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "301",
    "307",
}
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.UnauthorizedSSOTokenError,
    boto.ProfileNotFound,
)
_CONNECTION = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
    boto.ResponseStreamingError,
    boto.MetadataRetrievalError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
)
_LONGEST_MESSAGE = 200


class PreconditionFailed(StoreError):
    """If-None-Match or If-Match did not hold."""


class UploadMissing(StoreError):
    """The multipart upload is not there: completed, aborted or swept."""


class RangeBeyondEnd(StoreError):
    """The range begins at or behind the object's end."""


class NotOffered(StoreRefused):
    """The server does not implement this operation."""


def classified(error: BaseException, operation: str, key: str, *, bucket: str, endpoint: str) -> StoreError:
    """The store error for one of FAILURES."""
    if isinstance(error, boto.ClientError):
        return _answered(error, operation, key, bucket, endpoint)
    return _unanswered(error, operation, key, endpoint)


def code_of(error: boto.ClientError) -> tuple[str, int]:
    """The error code (or the status as text) and the HTTP status."""
    answer: dict[str, Any] = error.response
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return str(answer.get("Error", {}).get("Code") or status), status


def _answered(error: boto.ClientError, operation: str, key: str, bucket: str, endpoint: str) -> StoreError:
    code, status = code_of(error)
    message = str(error.response.get("Error", {}).get("Message") or "")[:_LONGEST_MESSAGE]
    cause = f"{code} ({status}) {message}".strip()
    if special := _special(error, operation, key, cause):
        return special
    if code == "NoSuchBucket":
        hint = f"create the bucket {bucket}, or correct its name or the endpoint in the settings of the store"
        return StoreRefused(operation, key, f"the bucket {bucket} does not exist at {endpoint}", hint)
    if code in _FULL or status == 507:
        return StoreFull(operation, key, cause, f"free space or raise the quota of the bucket {bucket}")
    if code in _TRANSIENT or status in (408, 409, 429) or (status >= 500 and status != 501):
        look = "check the S3 server" + (", its log and whether its disk is full" if code == "InternalError" else "")
        return StoreUnavailable(operation, key, cause, f"{look}, and that {endpoint} is its address")
    if code == "NotImplemented" or status in (405, 501):
        hint = "the server does not offer this; if it is about checksums, set checksums to when_required"
        return NotOffered(operation, key, cause, hint)
    return StoreRefused(operation, key, cause, _hint(code, status, bucket))


def _special(error: boto.ClientError, operation: str, key: str, cause: str) -> StoreError | None:
    """Answers that callers react to, each in its own way."""
    code, status = code_of(error)
    if code == "PreconditionFailed" or status == 412:
        return PreconditionFailed(operation, key, cause)
    if code == "NoSuchUpload":
        return UploadMissing(operation, key, cause)
    if code == "NoSuchKey" or (code in _MISSING and error.operation_name.startswith("Head")):
        return ObjectMissing(operation, key, "no such object")
    if code == "InvalidRange" or status == 416:
        return RangeBeyondEnd(operation, key, cause)
    return None


def _hint(code: str, status: int, bucket: str) -> str:
    if code in _EXPIRED:
        return "the credentials have expired: renew them and start the service again"
    if code in _CREDENTIALS or status == 401:
        return "check the access key and the secret key that the settings refer to"
    if code == "RequestTimeTooSkewed":
        return "set the clocks of this machine and of the S3 server right"
    if code in _ELSEWHERE or status in (301, 307):
        return f"set the region and endpoint in which the bucket {bucket} lives"
    if code in _DENIED or status == 403:
        return f"let these credentials list, read, write and delete in the bucket {bucket}"
    return "check endpoint, region and bucket in the settings of the store"


def _unanswered(error: BaseException, operation: str, key: str, endpoint: str) -> StoreError:
    text = str(error)[:_LONGEST_MESSAGE] or type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        hint = "name access_key and secret_key in the settings, or give this process a role or profile"
        return StoreRefused(operation, key, f"no usable credentials: {text}", hint)
    if "CERTIFICATE_VERIFY_FAILED" in str(error) or isinstance(error, aiohttp.ClientConnectorCertificateError):
        cause = f"the certificate of {endpoint} is not trusted: {text}"
        return StoreRefused(operation, key, cause, "name the authority that signed it in TIDEWIND_STORE_CA")
    if isinstance(error, TimeoutError):
        text = "no answer in time"
    if isinstance(error, _CONNECTION):
        return StoreUnavailable(operation, key, text, f"check that {endpoint} is right and can be reached from here")
    if isinstance(error, ResponseParserError):
        cause = f"{endpoint} does not answer like an S3 server: {text}"
        return StoreUnavailable(operation, key, cause, "check endpoint_url: is it the S3 server's own address?")
    return StoreRefused(operation, key, text, "check endpoint, region and bucket in the settings of the store")

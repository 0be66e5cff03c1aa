"""The client's exceptions in our terms, by their type and status: worth asking again, not there, or refused."""

from __future__ import annotations

import ssl

import grpc  # type: ignore[import-untyped]  # it ships no types
import httpx
from grpc import StatusCode
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from ingest.errors import CollectionNotFoundError, StoreError, StoreUnavailableError

VENDOR_ERRORS = (ApiException, QdrantException, grpc.RpcError, ValueError, TypeError, AssertionError)
"""Everything the client raises; the last three for what it cannot put on the wire, cannot read, or finds empty."""

ALREADY_EXISTS = (409, StatusCode.ALREADY_EXISTS)

_NOT_FOUND = (404, StatusCode.NOT_FOUND)
KEY_REFUSED = (401, 403, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)
_PASSING = (408, 429, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL)
"""What may be gone in a moment, beside every 5xx; INTERNAL is what 500 is called over gRPC."""

_TOO_LARGE = 413
_SERVER_FAULTS = 500

_REASON_LIMIT = 300
"""Characters of a server's own words in a message."""


def translate(exc: Exception, location: str, collection: str | None) -> StoreError:
    """Our exception for the client's. Its message is one line and carries no secret."""
    where = f"Qdrant at {location}" + (f", collection {collection}," if collection else "")
    if isinstance(exc, QdrantException):  # a 429; without seconds if its Retry-After is a date
        retry_after = float(exc.retry_after_s) if isinstance(exc, ResourceExhaustedResponse) else None
        return StoreUnavailableError(f"{where} is overloaded: {reason_of(exc)}", retry_after=retry_after)
    if isinstance(exc, ResponseHandlingException):
        return _translate_transport(exc.source, where, reason_of(exc))
    status = status_of(exc)
    if status in _NOT_FOUND and collection is not None:
        return not_found(collection, location)
    return _translate_status(status, where, reason_of(exc))


def _translate_transport(source: Exception, where: str, reason: str) -> StoreError:
    if isinstance(source, httpx.UnsupportedProtocol) or not isinstance(source, httpx.TransportError):
        return StoreError(f"{where} does not answer like Qdrant ({reason}): check the address")
    if isinstance(source, httpx.TimeoutException):
        return StoreUnavailableError(f"{where} did not answer in time")
    cause: BaseException | None = source
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StoreError(f"{where} has a certificate that is not trusted ({reason}): give the file of its authority")
        cause = cause.__cause__ or cause.__context__
    return StoreUnavailableError(f"{where} cannot be reached ({reason}): check that it is running")


def _translate_status(status: int | StatusCode | None, where: str, reason: str) -> StoreError:
    if status in KEY_REFUSED:
        return StoreError(f"{where} refuses the API key, or what the key may do ({reason}): give one that may as INGEST_API_KEY")
    if status == _TOO_LARGE:
        return StoreError(f"{where} finds the request too large: {reason}; write fewer points at a time")
    if status in _PASSING or (isinstance(status, int) and status >= _SERVER_FAULTS):
        return StoreUnavailableError(f"{where} is down, overloaded or too slow: {reason}; check that it is running")
    return StoreError(f"{where} refuses the request: {reason}")


def not_found(collection: str, location: str) -> CollectionNotFoundError:
    return CollectionNotFoundError(f"there is no collection {collection} at {location}: ingest into it first")


def status_of(exc: Exception) -> int | StatusCode | None:
    """The HTTP or gRPC status, where the server gave one."""
    if isinstance(exc, UnexpectedResponse):
        return exc.status_code
    return exc.code() if isinstance(exc, grpc.Call) else None


def reason_of(exc: Exception) -> str:
    """The server's own words, on one line."""
    if isinstance(exc, UnexpectedResponse):
        try:
            return one_line(str(exc.structured()["status"]["error"]))
        except (ValueError, LookupError, TypeError):  # the words of a proxy
            return one_line(f"{exc.status_code} {exc.reason_phrase}")
    if isinstance(exc, grpc.Call):
        return one_line(exc.details() or str(exc.code()))
    return one_line(str(exc.source if isinstance(exc, ResponseHandlingException) else exc) or type(exc).__name__)


def one_line(text: str) -> str:
    return " ".join(text.split())[:_REASON_LIMIT]

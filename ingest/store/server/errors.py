"""Translation of the client's exceptions by type and status: unavailable, missing, too large or refused."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Container
from urllib.parse import urlsplit, urlunsplit

import grpc  # type: ignore[import-untyped]  # it ships no types
import httpx
from grpc import StatusCode
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from ingest.errors import RequestTooLargeError, StoreError, StoreUnavailableError
from ingest.store.payload_index import DECLARED_TYPES
from ingest.store.schema import no_collection

VENDOR_ERRORS = (
    ApiException,
    QdrantException,
    grpc.RpcError,
    PydanticSerializationError,
    json.JSONDecodeError,
    UnicodeDecodeError,
)
"""The errors of the client: for a refused request, a lost connection, a value that JSON cannot express, an unreadable response.

It has one more, `AssertionError`, for a response without a result: see `Connection.translated`.
"""

ALREADY_EXISTS = (409, StatusCode.ALREADY_EXISTS)

_NOT_FOUND = (404, StatusCode.NOT_FOUND)
KEY_REFUSED = (401, 403, StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)
_PASSING = (408, 429, StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED, StatusCode.INTERNAL)
"""The statuses that are worth a retry, besides every 5xx. INTERNAL is the 500 of gRPC."""

_REFUSED = (*KEY_REFUSED, 407)
_REDIRECTS = (301, 302, 303, 307, 308)

_REFUSED_BY_PROXY = ("401 ", "403 ", "404 ", "405 ", "407 ")
"""The start of the status with which a proxy refuses CONNECT; the client has it only in its message."""

_TOO_LARGE = (413, StatusCode.OUT_OF_RANGE)
_TOO_LARGE_FOR_GATEWAY = "Received http2 header with status: 413"
"""The gRPC message for a gateway that answers 413, which has no gRPC status."""

_UNINDEXED = re.compile(r'Index required but not found for "(?P<field>.+?)" of one of the following types: \[(?P<type>\w+)')
"""The words of a server in strict mode for a filter on a field without an index: it has the status of every bad request."""

BAD_REQUEST = (400, 422, StatusCode.INVALID_ARGUMENT)
_SERVER_FAULTS = 500

_REASON_LIMIT = 300
"""Maximum characters of the server's words in a message."""


def translate(exc: Exception, location: str, collection: str | None) -> StoreError:
    """Return the error of this package for an exception of the client: one line, without secrets."""
    where = f"Qdrant at {location}" + (f", collection {collection}," if collection else "")
    if isinstance(exc, QdrantException):  # a 429; without seconds if its Retry-After is a date
        retry_after = float(exc.retry_after_s) if isinstance(exc, ResourceExhaustedResponse) else None
        return StoreUnavailableError(f"{where} is overloaded: {reason_of(exc)}", retry_after=retry_after)
    if isinstance(exc, (json.JSONDecodeError, UnicodeDecodeError, AssertionError)):
        return _not_like_qdrant(where)
    if isinstance(exc, ResponseHandlingException):
        return _translate_transport(exc.source, where, reason_of(exc))
    status = status_of(exc)
    if status in _NOT_FOUND and collection is not None and not _is_web_page(exc):
        return no_collection(collection, location)
    return _translate_status(status, where, reason_of(exc), web_page=_is_web_page(exc))


def translate_greeting(exc: Exception, location: str) -> StoreError:
    """Return the error for a failed greeting, when the address is often the mistake."""
    where, status = f"Qdrant at {location}", status_of(exc)
    if isinstance(exc, UnexpectedResponse) and status in _REDIRECTS:
        target = _without_query(exc.headers.get("location", ""))
        return StoreError(f"{where} redirects to {target} ({reason_of(exc)}): give the address of the server itself")
    if status in _NOT_FOUND:
        return StoreError(f"there is no Qdrant at {location} ({reason_of(exc)}): check the address and its path")
    return translate(exc, location, None)


def is_broken(exc: Exception) -> bool:
    """Return whether the connection broke, for a reason other than a timeout."""
    if isinstance(exc, ResponseHandlingException):
        return isinstance(exc.source, httpx.TransportError) and not isinstance(exc.source, httpx.TimeoutException)
    return status_of(exc) is StatusCode.UNAVAILABLE


def _translate_transport(source: Exception, where: str, reason: str) -> StoreError:
    if isinstance(source, httpx.UnsupportedProtocol) or not isinstance(source, httpx.TransportError):
        unlike, unasked = _not_like_qdrant(where), StoreError(f"{where} cannot be used ({reason}): check the address")
        return unlike if isinstance(source, (ValidationError, httpx.DecodingError)) else unasked
    if isinstance(source, httpx.TimeoutException):
        return StoreUnavailableError(f"{where} did not answer in time")
    if isinstance(source, httpx.ProxyError) and reason.startswith(_REFUSED_BY_PROXY):
        return StoreError(f"{where}: the proxy refuses the connection ({reason}); name the host in NO_PROXY to do without it")
    if isinstance(source, httpx.ConnectError) and (failure := _tls_failure(source)):
        if isinstance(failure, ssl.SSLCertVerificationError):
            return StoreError(f"{where} has a certificate that is not trusted ({reason}): give its authority's as ca_file")
        return StoreError(f"{where} does not speak TLS as it should ({reason}): check the address")
    return StoreUnavailableError(f"{where} cannot be reached ({reason}): check that it is running")


def _not_like_qdrant(where: str) -> StoreError:
    return StoreError(
        f"{where} does not answer like Qdrant, but with a web page or the data of another service: check the address and its path"
    )


def _tls_failure(error: BaseException | None) -> ssl.SSLError | None:
    """Return why TLS failed, or None if the connection just ended, as it does when a server goes down."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return None if isinstance(error, (ssl.SSLEOFError, ssl.SSLSyscallError, ssl.SSLZeroReturnError)) else error


def _translate_status(status: int | StatusCode | None, where: str, reason: str, *, web_page: bool) -> StoreError:
    if status in _REFUSED and web_page:  # Qdrant never sends one
        return StoreError(f"something in front of {where} refuses the request: {reason}")
    if status in KEY_REFUSED:
        return StoreError(
            f"{where} refuses the API key, or what the key may do ({reason}): give one that may as api_key (INGEST_API_KEY)"
        )
    if status in _TOO_LARGE:
        return RequestTooLargeError(f"{where} finds a request too large ({reason})")
    if status in _PASSING or (isinstance(status, int) and status >= _SERVER_FAULTS):
        return StoreUnavailableError(f"{where} is down, overloaded or too slow: {reason}; check that it is running")
    if (unindexed := _UNINDEXED.search(reason)) and unindexed["type"] in DECLARED_TYPES:
        setting = f'{json.dumps(unindexed["field"].removeprefix("metadata."))} = "{unindexed["type"]}"'
        return StoreError(
            f"{where} filters by indexed fields only (strict mode), and {unindexed['field']} has no index: write {setting} under"
            " [index] in ingest.toml and run the sync again"
        )
    return StoreError(f"{where} refuses the request: {reason}")


def has_status(error: StoreError, statuses: Container[int | StatusCode | None]) -> bool:
    """Return whether an error of this package was translated from a response with one of these statuses."""
    return isinstance(error.__cause__, Exception) and status_of(error.__cause__) in statuses


def status_of(exc: Exception) -> int | StatusCode | None:
    """Return the HTTP or gRPC status of a response, or None without one."""
    if isinstance(exc, UnexpectedResponse):
        return exc.status_code
    if not isinstance(exc, grpc.Call):
        return None
    if exc.code() is StatusCode.UNKNOWN and exc.details() == _TOO_LARGE_FOR_GATEWAY:
        return StatusCode.OUT_OF_RANGE
    return exc.code()


def reason_of(exc: Exception) -> str:
    """Return the server's own words, on one line."""
    if isinstance(exc, UnexpectedResponse):
        try:
            return one_line(str(exc.structured()["status"]["error"]))
        except (ValueError, LookupError, TypeError):  # a proxy's words
            return one_line(f"{exc.status_code} {exc.reason_phrase}")
    if isinstance(exc, grpc.Call):
        return one_line(exc.details() or str(exc.code()))
    return one_line(str(exc.source if isinstance(exc, ResponseHandlingException) else exc) or type(exc).__name__)


def _without_query(url: str) -> str:
    """Return a URL without its user, password and query."""
    try:
        parts = urlsplit(one_line(url))
    except ValueError:
        return "elsewhere"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _is_web_page(exc: Exception) -> bool:
    return isinstance(exc, UnexpectedResponse) and exc.headers.get("content-type", "").startswith("text/html")


def one_line(text: str) -> str:
    return " ".join(text.split())[:_REASON_LIMIT]

"""Errors as problem details (RFC 9457). The one place that maps the error tree to HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ingest.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    ConflictError,
    DeletionBrakeError,
    DeviceError,
    ForeignCollectionError,
    IngestError,
    JobRunningError,
    LeaseError,
    ManifestMismatchError,
    MissingExtraError,
    ModelError,
    ModelUnavailableError,
    StoreError,
    StoreLockedError,
    StoreUnavailableError,
    UnknownModelError,
)

PROBLEM_TYPE = "application/problem+json"

RETRY_SECONDS = 1
"""Seconds after which a client may try again, unless the error says more."""

_STATUS: Mapping[type[IngestError], int] = {
    CollectionNotFoundError: 404,
    ConflictError: 409,
    ForeignCollectionError: 409,
    JobRunningError: 409,
    DeletionBrakeError: 409,
    UnknownModelError: 500,  # of the collection's models: the request cannot help it
    ManifestMismatchError: 500,
    MissingExtraError: 501,
    ConfigurationError: 422,
    StoreLockedError: 503,
    StoreUnavailableError: 503,
    ModelError: 503,  # it is not on this machine, or does not compute here
    LeaseError: 503,
    DeviceError: 503,
    StoreError: 502,
    IngestError: 500,
}
"""Error → status. An error that is not listed has the status of its nearest base."""


@dataclass(frozen=True, slots=True)
class ProblemError:
    """An error as OpenAI's clients read it.

    Attributes:
        message: the detail of the problem.
        type: name of the exception of this package if it was one, else the title of the problem.
    """

    message: str
    type: str


@dataclass(frozen=True, slots=True)
class Problem:
    """The body of an error response.

    Attributes:
        title: the phrase of the status.
        detail: what failed, on what, what to do.
        error: the same for clients that know no problem documents.
        type: always `about:blank`: `status` says all that a program needs.
    """

    title: str
    status: int
    detail: str
    error: ProblemError
    type: str = "about:blank"


def problem_response(status: int, detail: str, *, error: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response of a problem. `error`: name of the exception of this package, if it was one."""
    title = HTTPStatus(status).phrase
    problem = Problem(title, status, detail, ProblemError(detail, error or title))
    return Response(json.dumps(asdict(problem)).encode(), status, headers=headers, media_type=PROBLEM_TYPE)


def response_of(error: IngestError | HTTPException | ValidationError) -> Response:
    """Return the response of an error: one of this package, of HTTP, or of a request that does not have the right shape."""
    if isinstance(error, HTTPException):
        return problem_response(error.status_code, error.detail, headers=error.headers)
    if isinstance(error, ValidationError):
        return problem_response(422, _shape(error))
    status = next(_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS)
    passes = status == HTTPStatus.SERVICE_UNAVAILABLE or isinstance(error, JobRunningError)
    headers = {"Retry-After": str(_seconds(error))} if passes else None
    return problem_response(status, str(error), error=type(error).__name__, headers=headers)


def _seconds(error: IngestError) -> int:
    asked = error.retry_after if isinstance(error, StoreUnavailableError | ModelUnavailableError) else None
    return max(RETRY_SECONDS, round(asked or 0))


def _shape(error: ValidationError) -> str:
    """Return the first fault, without the value: it may be a document."""
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    place = ".".join(map(str, fault["loc"]))
    return f"{place}: {fault['msg']}" if place else fault["msg"]

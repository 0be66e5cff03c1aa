"""One operation of the API: its route, its documentation and its handler, and the way from a request to a response."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any, Literal, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ingest.errors import ConfigurationError, IngestError
from ingest.serve.access import OWNER, Access, Grant
from ingest.serve.observing import ServeMetrics
from ingest.serve.options import ServeOptions
from ingest.serve.problems import problem_response, response_of
from ingest.serve.schemas import ServedJob
from ingest.serve.served import ServedCollections
from ingest.serve.workers import Workers

logger = logging.getLogger(__name__)

ReadJobs = Callable[[], Sequence[ServedJob]]

Method = Literal["DELETE", "GET", "POST"]

_CLIENT_CLOSED = 499


@dataclass(frozen=True, slots=True)
class Service:
    """Everything that operations need.

    Attributes:
        workers: the threads that read.
        writer: the one thread that writes, because a collection takes one write at a time.
        read_jobs: returns the scheduled jobs.
        is_well: returns whether the jobs that this server runs are well.
    """

    served: ServedCollections
    options: ServeOptions
    workers: Workers
    writer: Workers
    metrics: ServeMetrics
    read_jobs: ReadJobs
    is_well: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to an operation, checked.

    Attributes:
        body, query: instances of the operation's models.
        path: the parameters in the path.
    """

    service: Service
    grant: Grant
    path: Mapping[str, str]
    query: Any
    body: Any


Handler = Callable[[Call], Awaitable[Any]]
"""Return what the answer is made of, or a `Response`."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One operation.

    Attributes:
        path: as Starlette routes it; a parameter `name` is the collection that `access` is about.
        answer: type of the JSON of the answer, or its media type.
        body, query: models of the body and the query string.
        status: status of an answer.
    """

    method: Method
    path: str
    summary: str
    handle: Handler
    answer: Any
    access: Access = "read"
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    status: int = 200
    tags: tuple[str, ...] = field(default=("collections",))


def routes_of(endpoints: Iterable[Endpoint], service: Service) -> list[Route]:
    """Return one route for each path."""
    ordered = sorted(endpoints, key=lambda each: each.path)
    return [_route(path, {each.method: each for each in group}, service) for path, group in groupby(ordered, lambda e: e.path)]


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type, built once."""
    return TypeAdapter(kind)


def _route(path: str, by_method: Mapping[str, Endpoint], service: Service) -> Route:
    async def respond(request: Request) -> Response:
        endpoint = by_method["GET" if request.method == "HEAD" else request.method]
        started = time.perf_counter()
        with service.metrics.in_flight.track_inprogress():
            response = await _respond(endpoint, service, request)
        seconds = time.perf_counter() - started
        service.metrics.observe(endpoint.method, endpoint.path, response.status_code, seconds)
        logger.debug("%s %s %d %.1f ms", endpoint.method, endpoint.path, response.status_code, seconds * 1000)
        return response

    return Route(path, respond, methods=list(by_method))


async def _respond(endpoint: Endpoint, service: Service, request: Request) -> Response:
    """Return the response, whatever happens. No message has a text of the request or of a document in it."""
    try:
        grant = _granted(endpoint, service, request)
        body = await _read(endpoint, service.options, request)
        call = Call(service, grant, request.path_params, _query(endpoint, request), body)
        async with asyncio.timeout(service.options.deadline):
            result = await endpoint.handle(call)
        if isinstance(result, Response):
            return result
        return Response(adapter_of(endpoint.answer).dump_json(result), endpoint.status, media_type="application/json")
    except TimeoutError:
        return problem_response(504, f"the request took longer than {service.options.deadline:g} s: try again, or ask for less")
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED)
    except (IngestError, HTTPException, ValidationError) as exc:
        return response_of(exc)
    except Exception as exc:  # noqa: BLE001  a bug in one request must not show its text, nor end the others
        frames = traceback.extract_tb(exc.__traceback__)
        place = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-3:]))
        logger.error("%s %s failed: %s at %s", endpoint.method, endpoint.path, type(exc).__name__, place)  # noqa: TRY400
        return problem_response(500, "an unexpected error: see the log of the server")


def authenticated(options: ServeOptions, request: Request) -> Grant:
    """Return what the client of a request may do. Raises `HTTPException` 401 without a known token, if there are tokens."""
    if options.tokens is None or request.scope.get("state", {}).get(OWNER):
        return Grant()
    grant = options.tokens.find(request.headers.get("authorization"))
    if grant is None:
        raise HTTPException(401, "a bearer token is required", headers={"WWW-Authenticate": "Bearer"})
    return grant


def _granted(endpoint: Endpoint, service: Service, request: Request) -> Grant:
    """Return what the client may do, if it may do this. Raises `HTTPException`."""
    if endpoint.access == "public":
        return Grant()
    grant = authenticated(service.options, request)
    name = request.path_params.get("name")
    if name is not None and not grant.allows(service.served.normalize(name), endpoint.access):
        raise HTTPException(403, f"this token does not allow to {endpoint.access} this collection")
    return grant


async def _read(endpoint: Endpoint, limits: ServeOptions, request: Request) -> BaseModel | None:
    """Return the body. Raises `HTTPException`, and `ValidationError` for one of another shape."""
    if endpoint.body is None:
        return None
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":  # a page of another site cannot send this type unasked
        raise HTTPException(415, "the body must be JSON, and its content type application/json")
    return endpoint.body.model_validate_json(await read_body(limits, request))


async def read_body(limits: ServeOptions, request: Request) -> bytes:
    """Return the body. Raises `HTTPException` for one that is compressed, too long or too slow, and `ClientDisconnect`."""
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        refused = "the body must not be compressed: send it without Content-Encoding"
        raise HTTPException(415, refused, headers={"Accept-Encoding": "identity"})
    content = bytearray()
    try:
        async with asyncio.timeout(limits.deadline):
            async for part in request.stream():
                content += part
                if len(content) > limits.max_body:
                    raise HTTPException(413, f"the body has more than {limits.max_body:,} bytes", headers={"Connection": "close"})
    except TimeoutError:
        raise HTTPException(
            408, f"the body did not arrive within {limits.deadline:g} s", headers={"Connection": "close"}
        ) from None
    return bytes(content)


def _query(endpoint: Endpoint, request: Request) -> BaseModel | None:
    """Return the query string. Raises `ValidationError`, and `ConfigurationError` for a parameter that occurs twice."""
    if endpoint.query is None:
        return None
    fields = endpoint.query.model_fields
    values: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if name in fields and get_origin(_unwrapped(fields[name].annotation)) is list:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise ConfigurationError(f"{name}: it is given more than once")
        else:
            values[name] = value
    return endpoint.query.model_validate(values)


def _unwrapped(annotation: Any) -> Any:
    """Return the type of an optional one."""
    return next((kind for kind in getattr(annotation, "__args__", ()) if get_origin(kind) is list), annotation)

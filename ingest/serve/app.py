"""All operations as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from ingest.errors import CollectionNotFoundError, IngestError
from ingest.serve.access import is_local_name
from ingest.serve.collections import ENDPOINTS
from ingest.serve.endpoint import Endpoint, ReadJobs, Service, routes_of
from ingest.serve.observing import ServeMetrics
from ingest.serve.openapi import openapi_document
from ingest.serve.options import ServeOptions
from ingest.serve.problems import problem_response, response_of
from ingest.serve.served import ServedCollections
from ingest.serve.system import Readiness, system_endpoints
from ingest.serve.workers import Workers
from ingest.serve.writes import WRITES

STATIC = Path(__file__).with_name("static")

_CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE_HEADERS = {
    "Content-Security-Policy": _CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}

_MCP_HEADERS = ("Last-Event-ID", "Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Session-Id")
"""Headers that MCP clients send and read, of all revisions of the protocol: a page of another origin may, too."""

_LOOK_SECONDS = 1.0
"""Seconds after which the server looks again for a collection that does not exist yet."""

logger = logging.getLogger(__name__)


class Mounted(Protocol):
    """An ASGI application of its own, such as `McpApplication`."""

    def run(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which it answers."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


def create_app(
    served: ServedCollections,
    options: ServeOptions = ServeOptions(),
    *,
    more: Sequence[Endpoint] = (),
    read_jobs: ReadJobs = tuple,
    is_well: Callable[[], bool] = lambda: True,
    collectors: Sequence[Collector] = (),
    mcp: Callable[[Service], Mounted] | None = None,
) -> Starlette:
    """Return the application. Its lifespan loads models; at its end the calls that run are finished and the collections closed.

    Without tokens it answers only requests that name this machine in their `Host` header, because a page of another site may
    point its own name here. With tokens any name will do: such a page has no token.

    Args:
        served: the collections.
        options: limits and permissions.
        more: further operations, such as `model_endpoints`.
        read_jobs: returns the scheduled jobs.
        is_well: returns whether the jobs that this server runs are well.
        collectors: what else `/metrics` has, such as a `MonitorCollector`.
        mcp: makes the application at `/mcp`. None: there is none.
    """
    workers, writer = Workers(options.threads, options.queue), Workers(1, options.queue)
    service = Service(served, options, workers, writer, ServeMetrics(*collectors), read_jobs, is_well)
    readiness = Readiness()
    endpoints = (*ENDPOINTS, *(WRITES if options.writable else ()), *more, *system_endpoints(readiness))
    document = openapi_document(endpoints)
    mounted = None if mcp is None else mcp(service)

    async def openapi(_request: Request) -> Response:
        return JSONResponse(document)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        ended = asyncio.Event()
        warming = asyncio.create_task(_warm_up(served, readiness, ended))
        try:
            async with nullcontext() if mounted is None else mounted.run():
                yield
        finally:
            await asyncio.to_thread(workers.close)
            await asyncio.to_thread(writer.close)
            ended.set()
            await warming
            served.close()

    app = Starlette(
        routes=[
            *routes_of(endpoints, service),
            Route("/openapi.json", openapi),
            Route("/", _page("index.html")),
            Route("/docs", _page("docs.html")),
            *([] if mounted is None else [Route("/mcp", mounted, methods=["POST"])]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=_middleware(options),
        exception_handlers={HTTPException: _problem},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


class LocalNamesOnly:
    """Middleware that refuses requests whose `Host` header does not name this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_local_name(Request(scope).headers.get("host")):
            refusal = problem_response(421, "this server answers to localhost only: start it with --token-file for other names")
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _middleware(options: ServeOptions) -> list[Middleware]:
    chosen = [] if options.tokens else [Middleware(LocalNamesOnly)]
    if options.cors_origins:
        chosen.append(
            Middleware(
                CORSMiddleware,
                allow_origins=options.cors_origins,
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=["Authorization", "Content-Type", *_MCP_HEADERS],
                expose_headers=["Retry-After", "WWW-Authenticate", *_MCP_HEADERS],
            )
        )
    return chosen


async def _warm_up(served: ServedCollections, readiness: Readiness, ended: asyncio.Event) -> None:
    """Load models, and note when they are loaded. Waits for collections that do not exist yet, until the server has ended."""
    while not ended.is_set():
        try:
            await asyncio.to_thread(served.warm_up)
        except CollectionNotFoundError as exc:
            readiness.detail = str(exc)
        except IngestError as exc:
            logger.error("the models could not be loaded: %s", exc)  # noqa: TRY400  one line says it
            readiness.status, readiness.detail = "failed", str(exc)
            return
        else:
            readiness.status = "ok"
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), _LOOK_SECONDS)


async def _problem(_request: Request, error: Exception) -> Response:
    """Return the response for a path or a method that does not exist."""
    assert isinstance(error, HTTPException)  # noqa: S101  it is registered for these alone
    return response_of(error)


def _page(name: str) -> ASGIApp:
    """Return an application that answers with a page of the package."""
    return FileResponse(STATIC / name, headers=_PAGE_HEADERS)

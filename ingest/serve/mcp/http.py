"""The MCP server over streamable HTTP, under the tokens, limits and metrics of `ingest serve`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar, copy_context
from typing import TypeVar

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message, Receive, Scope, Send

from ingest.errors import IngestError
from ingest.serve.access import Grant, is_local_name
from ingest.serve.endpoint import Service, authenticated, read_body
from ingest.serve.mcp.server import create_mcp_server
from ingest.serve.mcp.tools import Tools
from ingest.serve.problems import response_of
from ingest.serve.served import AllowedCollections

PATH = "/mcp"

T = TypeVar("T")

_grant: ContextVar[Grant] = ContextVar("grant")
"""What the client of this request may do."""


class McpApplication:
    """An ASGI application. Each request stands for itself: no session is kept, so a client never loses one.

    Args:
        service: the collections, which the tools see as far as the token of a request allows, and the threads that answer.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        server = create_mcp_server(Tools(lambda: AllowedCollections(service.served, _grant.get())), self._run_tool)
        self._sessions = StreamableHTTPSessionManager(
            server._lowlevel_server,  # noqa: SLF001  its own application would have a lifespan that a route cannot begin
            json_response=True,
            stateless=True,
            max_request_body_size=service.options.max_body,
            security_settings=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # see `_checked`
        )

    def run(self) -> AbstractAsyncContextManager[None]:
        """Return a context in which requests are answered. It can be entered once."""
        running: AbstractAsyncContextManager[None] = self._sessions.run()
        return running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started, statuses = time.perf_counter(), [500]

        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        try:
            request = Request(scope, receive)
            _grant.set(self._checked(request))
            body = await read_body(self._service.options, request)
        except HTTPException as exc:
            await response_of(exc)(scope, receive, send_and_note)
        except ClientDisconnect:
            return
        else:
            await self._sessions.handle_request(scope, _with_body(body, receive), send_and_note)
        self._service.metrics.observe(scope["method"], PATH, statuses[-1], time.perf_counter() - started)

    def _checked(self, request: Request) -> Grant:
        """Return what the client may do. Raises `HTTPException`, also for a page of another site."""
        options, origin = self._service.options, request.headers.get("origin")
        known = origin is None or origin in options.cors_origins or is_local_name(origin.partition("://")[2])
        if options.tokens is None and not known:
            raise HTTPException(403, "pages of other sites may not ask this server: name theirs with --cors-origin")
        return authenticated(options, request)

    async def _run_tool(self, call: Callable[[], T]) -> T:
        """Run a tool in one of the threads that answer requests. Raises `IngestError` if that takes too long."""
        context, deadline = copy_context(), self._service.options.deadline
        try:
            async with asyncio.timeout(deadline):
                return await self._service.workers.run(lambda: context.run(call))
        except TimeoutError:
            raise IngestError(f"the call took longer than {deadline:g} s: try again, or ask for less") from None
        except HTTPException as exc:
            raise IngestError(exc.detail) from exc


def _with_body(body: bytes, receive: Receive) -> Receive:
    """Return a function that receives the body, which is read already, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_next() -> Message:
        return messages.pop() if messages else await receive()

    return receive_next

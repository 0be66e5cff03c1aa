"""The tools and the documents as a server of the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial, wraps
from importlib.metadata import version
from inspect import getdoc
from typing import Any, ParamSpec, Protocol, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ToolError
from mcp.server.mcpserver.resources import ResourceSecurity
from mcp_types import ToolAnnotations

from ingest.errors import IngestError
from ingest.serve.mcp.tools import Tools

P = ParamSpec("P")
T = TypeVar("T")

INSTRUCTIONS = (
    "Searches collections of documents that are kept equal to their sources. Call search first; cite the title, section, page or "
    "url of what you use. Call list_collections if you do not know the collection, and status or facets before you filter."
)

_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)


class RunInThread(Protocol):
    """Runs a function in a thread and returns what it returns."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]: ...


def create_mcp_server(tools: Tools, run: RunInThread = asyncio.to_thread) -> MCPServer:
    """Return a server whose tools only read. It speaks every protocol revision that the SDK does.

    Args:
        run: runs each call of a tool.
    """
    server = MCPServer("ingest", instructions=INSTRUCTIONS, version=version("qdrant-ingest"), log_level="WARNING")
    for tool in (
        tools.search,
        tools.expand,
        tools.read_document,
        tools.find_similar,
        tools.facets,
        tools.list_collections,
        tools.status,
    ):
        server.add_tool(_told(tool, ToolError, run), description=getdoc(tool), annotations=_READS, structured_output=True)
    resource = server.resource(
        "ingest://{collection}/{doc_id}",
        name="document",
        description="The text of a document, from the uri of a result.",
        security=ResourceSecurity(exempt_params={"doc_id"}),  # it is no path, but a key of the collection
    )
    resource(_told(tools.document_text, ResourceError, run))
    return server


def _told(function: Callable[P, T], error: type[Exception], run: RunInThread) -> Callable[P, Coroutine[Any, Any, T]]:
    """Return the function, run in a thread, with its errors as those whose message the SDK tells the model."""

    @wraps(function)
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await run(partial(function, *args, **kwargs))
        except IngestError as exc:
            raise error(str(exc)) from exc

    return call

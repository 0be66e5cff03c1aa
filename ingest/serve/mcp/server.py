"""The tools and the documents as a server of the official SDK."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from inspect import getdoc
from typing import ParamSpec, TypeVar

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


def create_mcp_server(tools: Tools) -> MCPServer:
    """Return a server whose tools only read. It speaks every protocol revision that the SDK does."""
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
        server.add_tool(_told(tool, ToolError), description=getdoc(tool), annotations=_READS, structured_output=True)
    resource = server.resource(
        "ingest://{collection}/{doc_id}",
        name="document",
        description="The text of a document, from the uri of a result.",
        security=ResourceSecurity(exempt_params={"doc_id"}),  # it is no path, but a key of the collection
    )
    resource(_told(tools.document_text, ResourceError))
    return server


def _told(function: Callable[P, T], error: type[Exception]) -> Callable[P, T]:
    """Return the function with its errors as those whose message the SDK tells the model."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except IngestError as exc:
            raise error(str(exc)) from exc

    return call

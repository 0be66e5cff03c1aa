"""`ingest mcp`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli import options
from ingest.cli.invocation import Invocation, store_of
from ingest.errors import MissingExtraError

if TYPE_CHECKING:
    from ingest.serve.served import ServedCollections


def mcp(
    context: typer.Context,
    collections: Annotated[
        list[str] | None,
        typer.Argument(help="Collections to search. [default: all]", metavar="[COLLECTION]...", show_default=False),
    ] = None,
    store: options.Store = None,
) -> None:
    """Serve collections to language models: an MCP server on standard input and output, until the input ends.

    Its tools search and read; none writes. The store and the models are opened by the first call of a tool.
    """
    try:
        from ingest.serve.mcp.server import create_mcp_server  # noqa: PLC0415  only this command needs them
        from ingest.serve.mcp.tools import Tools  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise MissingExtraError(f"ingest mcp requires {exc.name}: pip install 'qdrant-ingest[mcp]'") from exc

    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    with ExitStack() as closing:

        @cache
        def served() -> ServedCollections:
            from ingest.cli.session import collection_of  # noqa: PLC0415  they import what the tools need, not the server
            from ingest.search.models import ModelPool  # noqa: PLC0415
            from ingest.search.searcher import SEARCH_RETRY  # noqa: PLC0415
            from ingest.serve.served import ServedCollections  # noqa: PLC0415
            from ingest.store.schema import _normalize_collection_name  # noqa: PLC0415

            opened = closing.enter_context(store_of(settings, SEARCH_RETRY))
            normalize = partial(_normalize_collection_name, aliases=settings.collections.aliases)
            open_one = partial(collection_of, settings, store=opened, pool=ModelPool())
            found = ServedCollections(opened, open_one, normalize, collections or ())
            closing.callback(found.close)
            return found

        create_mcp_server(Tools(served)).run("stdio")

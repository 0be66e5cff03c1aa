"""`ingest serve`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.cli import options
from ingest.cli.daemon import FindProblems, in_background, open_daemon
from ingest.cli.interruption import StopRequest
from ingest.cli.invocation import Invocation, store_of
from ingest.cli.jobs import check_jobs
from ingest.cli.output import print_json
from ingest.cli.searchers import encoding_of
from ingest.cli.session import collection_of
from ingest.encode.embedder import Embedder
from ingest.errors import ConfigurationError, MissingExtraError
from ingest.schedule.status import JobRecord
from ingest.search.models import ModelPool
from ingest.search.opening import open_reranker
from ingest.search.searcher import SEARCH_RETRY
from ingest.settings import Settings
from ingest.store.schema import _normalize_collection_name
from ingest.telemetry import MonitorCollector, ThroughputMonitor

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

    from ingest.serve.app import Mounted
    from ingest.serve.endpoint import Service
    from ingest.serve.schemas import ServedJob


def serve(
    context: typer.Context,
    collections: Annotated[
        list[str] | None,
        typer.Argument(help="Collections to serve. [default: all]", metavar="[COLLECTION]...", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to serve at; others than this machine's require --token-file.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port to serve at; 0 for a free one.")] = 8711,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="TOML file with the bearer tokens of clients.", show_default=False)
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option("--cors-origin", help="Origin whose pages may use the API, such as https://intranet.example. Repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=256, help="Requests that are answered at a time.")] = 8,
    queue: Annotated[int, typer.Option("--queue", min=0, help="Requests that may wait; more are refused with 429.")] = 64,
    deadline: Annotated[float, typer.Option("--deadline", min=0.1, help="Seconds after which a request fails with 504.")] = 30.0,
    max_body: Annotated[int, typer.Option("--max-body", min=1024, help="Most bytes of a request's body.")] = 1024 * 1024,
    writable: Annotated[bool, typer.Option("--writable", help="Let clients write and delete documents.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Also run the jobs with watch = true, as soon as files change and on their schedules.")
    ] = False,
    store: options.Store = None,
    as_json: options.Json = False,
) -> None:
    """Serve collections over HTTP: a JSON API, until SIGINT or SIGTERM.

    Collections that you name are opened at once, with their models; others when they are first asked for.
    """
    try:
        from ingest.serve.access import Tokens  # noqa: PLC0415  only this command serves
        from ingest.serve.app import create_app  # noqa: PLC0415
        from ingest.serve.models_api import model_endpoints  # noqa: PLC0415
        from ingest.serve.options import ServeOptions  # noqa: PLC0415
        from ingest.serve.served import ServedCollections  # noqa: PLC0415
        from ingest.serve.server import address_of, bind, run_server  # noqa: PLC0415
        from ingest.serve.socket_file import is_embedded  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise MissingExtraError(f"ingest serve requires {exc.name}: pip install 'qdrant-ingest[serve]'") from exc

    invocation: Invocation = context.obj
    settings = invocation.settings(store=store)
    normalize = partial(_normalize_collection_name, aliases=settings.collections.aliases)
    tokens = Tokens.read(token_file, normalize) if token_file else None
    watched = _watched(settings, normalize, collections or ()) if watch else []
    limits = ServeOptions(tokens, tuple(cors_origin or ()), threads, queue, deadline, max_body, writable)
    encoding, monitor = encoding_of(settings), ThroughputMonitor()
    embedder = Embedder(
        partial(encoding.models, settings.dense),
        settings.dense,
        devices=encoding.devices,
        lease_directory=encoding.lease_directory,
    )
    pool = ModelPool()
    with (
        bind(host, port, public=tokens is not None) as listening,
        store_of(settings, SEARCH_RETRY) as opened,
        _store_socket(settings.store) as own,
        closing(open_reranker(settings.reranker, encoding, settings.rerank_lease_timeout)) as reranker,
        ExitStack() as stack,
    ):
        open_one = partial(collection_of, settings, store=opened, monitor=monitor, reranker=reranker, pool=pool)
        early = [settings.jobs[name].collection for name in watched]
        served = ServedCollections(opened, open_one, normalize, collections or (), early)
        find_problems: FindProblems = dict
        collectors: list[Collector] = [MonitorCollector(monitor)]
        if watched:
            stop = StopRequest()
            store_of_jobs = opened if is_embedded(settings.store) else stack.enter_context(store_of(settings))
            kept = {"store": store_of_jobs, "pool": pool}
            daemon = open_daemon(settings, watched, stop, kept=lambda: kept, turn=served.turns.of_run)
            collectors.append(daemon.health)
            find_problems = stack.enter_context(in_background(daemon, stop)).problems
        app = create_app(
            served,
            limits,
            more=model_endpoints(embedder, reranker),
            read_jobs=partial(_jobs, settings, normalize, find_problems),
            is_well=lambda: not any(find_problems().values()),
            collectors=collectors,
            mcp=_mcp if find_spec("mcp") else None,
        )
        if as_json:
            print_json({"url": address_of(listening)})
        else:
            typer.echo(f"serving at {address_of(listening)}", err=True)
        run_server(app, [listening, *own], grace=deadline)


def _watched(settings: Settings, normalize: Callable[[str], str], collections: Sequence[str]) -> list[str]:
    """Return the jobs with `watch = true`, of these collections if any are named. Raises `ConfigurationError`."""
    served = set(map(normalize, collections))
    found = [name for name, job in settings.jobs.items() if job.watch and (not served or normalize(job.collection) in served)]
    if not found:
        of = f" of {', '.join(sorted(served))}" if served else ""
        raise ConfigurationError(f"--watch: there is no job{of} to run: add watch = true to the table of a job in ingest.toml")
    check_jobs(settings, found)
    return found


def _store_socket(location: str) -> AbstractContextManager[list[socket]]:
    """Return the socket by which `ingest search` asks this process, if the store is embedded."""
    from ingest.serve.socket_file import is_embedded, listening_socket  # noqa: PLC0415

    return listening_socket(Path(location)) if is_embedded(location) else nullcontext([])


def _mcp(service: Service) -> Mounted:
    from ingest.serve.mcp.http import McpApplication  # noqa: PLC0415  only with the extra mcp

    return McpApplication(service)


def _jobs(settings: Settings, normalize: Callable[[str], str], find_problems: FindProblems) -> list[ServedJob]:
    from ingest.serve.schemas import ServedJob  # noqa: PLC0415

    problems = find_problems()
    return [
        ServedJob(normalize(job.collection), JobRecord(settings.jobs_dir, name).read(), problems.get(name, ()))
        for name, job in settings.jobs.items()
    ]

"""A small collection behind the HTTP API, in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn
from starlette.applications import Starlette

import ingest
from ingest.serve.app import create_app
from ingest.serve.options import ServeOptions
from ingest.serve.served import ServedCollections
from ingest.serve.server import address_of, bind
from ingest.store.contract import Store
from ingest.store.schema import _normalize_collection_name
from ingest.testing import FlakyStore, HashEncoder

LOCAL = "http://localhost"

T = TypeVar("T")

RULES = [
    {"id": "refunds", "text": "The head of support approves refunds.", "title": "Refunds", "lang": "en", "year": 2020},
    {"id": "rules/leave", "text": "Every employee has thirty days of leave.", "title": "Leave", "lang": "en", "year": 2021},
    {"id": "laptops", "text": "Laptops are encrypted.", "title": "Laptops", "lang": "de", "year": 2022},
]


def opened(store: Store, name: str, state: Path, reranker: ingest.RerankPipeline | None = None) -> ingest.Collection:
    encoding = ingest.EncodingOptions(lease_directory=state / "leases")
    models: list[str | ingest.Model] = [HashEncoder(), "bm25"]
    more: Any = {} if reranker is None else {"reranker": reranker}
    return ingest.Collection(name, store=store, models=models, encoding=encoding, index={"lang": "keyword"}, state=state, **more)


@contextmanager
def stored_rules(folder: Path, *names: str) -> Iterator[Store]:
    """A store with collections of the three rules."""
    with ingest.open_store(folder / "store") as store:
        for name in names:
            with opened(store, name, folder) as collection:
                collection.sync(RULES, name="rules")
        yield store


class Blocking:
    """A store whose queries wait until they are let go."""

    def __init__(self, store: Store) -> None:
        self.begun, self.released = threading.Semaphore(0), threading.Event()
        self.store = FlakyStore(store, self._wait, methods=frozenset({"query"}))

    def _wait(self, method: str, number: int) -> None:
        self.begun.release()
        self.released.wait(60)


class ApiClient:
    """An HTTP client of an application in this process. Safe from several threads."""

    def __init__(self, app: Starlette, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url=LOCAL)
        self._loop = loop

    def wait(self, coroutine: Awaitable[T]) -> T:
        """Return what a coroutine returns, which runs where the application does."""

        async def wait() -> T:
            return await coroutine

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result(60)

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self.wait(self.http.request(method, path, **arguments))

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, **arguments)


def application(
    store: Store,
    folder: Path,
    options: ServeOptions = ServeOptions(),
    *,
    names: tuple[str, ...] = (),
    reranker: ingest.RerankPipeline | None = None,
    **more: Any,
) -> Starlette:
    """The API over the collections of a store."""
    served = ServedCollections(store, lambda name: opened(store, name, folder, reranker), _normalize_collection_name, names)
    return create_app(served, options, **more)


@contextmanager
def api(
    store: Store, folder: Path, options: ServeOptions = ServeOptions(), *, names: tuple[str, ...] = (), **more: Any
) -> Iterator[ApiClient]:
    """A client of the API, whose lifespan has begun."""
    with client_of(application(store, folder, options, names=names, **more)) as client:
        yield client


@contextmanager
def client_of(app: Starlette) -> Iterator[ApiClient]:
    """A client of an application, whose lifespan has begun."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    begun, ended = threading.Event(), asyncio.Event()

    async def live() -> None:
        try:
            async with app.router.lifespan_context(app):
                begun.set()
                await ended.wait()
        finally:
            begun.set()

    life = asyncio.run_coroutine_threadsafe(live(), loop)
    try:
        assert begun.wait(60)
        yield ApiClient(app, loop)
    finally:
        loop.call_soon_threadsafe(ended.set)
        life.result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def on_port(app: Starlette) -> Iterator[str]:
    """The URL of an application on a free port of this machine, answered by a thread of this process."""
    with bind("127.0.0.1", 0, public=False) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join()

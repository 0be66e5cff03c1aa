"""What all tests share: no model hub, and a real Qdrant server that is started when the first test asks for it."""

from __future__ import annotations

import gc
import logging
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from qdrant_client import QdrantClient
from qdrant_server import Address, NoServerError, any_server
from store_data import manifest

import ingest
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store
from ingest.testing import FakeAccelerator, use_accelerator

if TYPE_CHECKING:
    from ray_cluster import RayBench

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "false"  # it writes a file in the home when it is imported

# Processes share leases through the folder for temporary files. Each process of tests has its own, so that a test waits neither
# for the models of other tests nor for an ingestion on this machine. Ray's sockets need a short path, and pytest keeps folders.
for _variable in ("RAY_TMPDIR", "PYTEST_DEBUG_TEMPROOT"):
    os.environ.setdefault(_variable, tempfile.gettempdir())
_own_folder = tempfile.TemporaryDirectory(prefix="tests-", dir=os.environ["RAY_TMPDIR"])
os.environ["TMPDIR"] = tempfile.tempdir = _own_folder.name

os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  its spelling; or its workers yield to other tests

gc.disable()  # while modules are imported and tests collected, hardly anything becomes garbage

hypothesis.settings.register_profile("any CPU", hypothesis.settings(), deadline=None)  # a slow machine fails no test
hypothesis.settings.register_profile("thorough", hypothesis.settings(), deadline=None, max_examples=1800)  # by hand
hypothesis.settings.load_profile("any CPU")


def pytest_collection_finish() -> None:
    """Leave a million objects that live as long as the process out of every later collection of garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the command does
    gc.enable()


@pytest.fixture(autouse=True)
def own_log_levels() -> Iterator[None]:
    """Undo what a command, run in this process, sets: the next test would see messages that it does not expect."""
    loggers = [logging.getLogger(name) for name in ("ingest", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Iterator[Address]:
    try:
        with any_server() as address:
            yield address
    except NoServerError as exc:
        request.session.shouldfail = str(exc)
        pytest.fail(str(exc), pytrace=False)


@pytest.fixture(scope="session")
def server_url(server: Address) -> str:
    return server.url


@pytest.fixture(scope="session")
def client(server: Address) -> Iterator[QdrantClient]:
    """The vendor's client, which opens faster than a store and sees every collection."""
    with closing(QdrantClient(url=server.url, check_compatibility=False)) as opened:
        yield opened


@pytest.fixture(params=[0, 1, 2], ids=["CPU", "1 GPU", "2 GPUs"])
def gpus(request: pytest.FixtureRequest) -> Iterator[FakeAccelerator]:
    """The same test on the CPU, on one GPU and on two."""
    with use_accelerator(FakeAccelerator(request.param)) as fake:
        yield fake


@pytest.fixture
def devices(gpus: FakeAccelerator) -> tuple[str, ...]:
    """All GPUs, or the CPU without any."""
    return tuple(gpu.name for gpu in gpus.gpus()) or ("cpu",)


@pytest.fixture
def collection() -> str:
    """A name nobody else uses on a shared server."""
    return f"test_{uuid.uuid4().hex}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What the stores promise is held over each of the server's protocols, so that tests of what is built on them need one."""
    if "store_kind" in metafunc.fixturenames:
        servers = ["server-rest", "server-grpc"] if metafunc.definition.path.parent.name == "store" else ["server"]
        metafunc.parametrize("store_kind", ["embedded", *servers])


@pytest.fixture
def store(request: pytest.FixtureRequest, store_kind: str, tmp_path: Path, collection: str) -> Iterator[Store]:
    """Every store there is, empty; what is made under `collection` (or a name that begins with it) is dropped after the test."""
    if store_kind == "embedded":
        with open_store(tmp_path / "store") as opened:
            yield opened
        return
    server: Address = request.getfixturevalue("server")
    client: QdrantClient = request.getfixturevalue("client")
    prefer_grpc = {"server-rest": False, "server-grpc": True}.get(store_kind)
    with open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=prefer_grpc) as opened:
        yield opened
    for made in client.get_collections().collections:
        if made.name.startswith(collection):
            client.delete_collection(made.name)


@pytest.fixture(scope="session")
def converted_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of converted models that all workers of a session share: the first that needs a model converts it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "converted"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    from ray_cluster import local_ray  # noqa: PLC0415  half a second, and few tests need it

    with local_ray() as address:
        yield address


@pytest.fixture
def ray_bench(ray_address: str, server: Address, collection: str, tmp_path: Path) -> Iterator[RayBench]:
    from ray_cluster import RayBench  # noqa: PLC0415  as above

    with open_store(server.url) as store:
        yield RayBench(server.url, store, collection, tmp_path)
        for made in store.collections():
            if made.name.startswith(collection):
                store.drop(made.name)


@pytest.fixture
def ready(store: Store, collection: str) -> Store:
    """A store with the collection in it, empty."""
    store.ensure(manifest(collection), CollectionOptions())
    return store


STEMS = {"stems": {"kind": "sparse", "hub_id": "Qdrant/bm25", "idf": True, "backend": "qdrant"}}
"""A custom model: a second sparse one, which needs no weights."""


@pytest.fixture
def rules() -> list[dict[str, Any]]:
    """Three records of a handbook."""
    return [
        {"id": "refunds", "text": "The head of support approves refunds.", "year": 2020},
        {"id": "leave", "text": "Every employee has thirty days of leave.", "year": 2021},
        {"id": "laptops", "text": "Laptops are encrypted.", "year": 2022},
    ]


@pytest.fixture(params=["embedded", "server"])
def handbook(request: pytest.FixtureRequest, collection: str, tmp_path: Path) -> Iterator[ingest.Collection]:
    """A new collection of BM25 vectors, which knows the model `stems`, too."""
    store = tmp_path / "store" if request.param == "embedded" else request.getfixturevalue("server_url")
    encoding = ingest.EncodingOptions(custom_models=STEMS)
    with ingest.Collection(collection, store=store, models=["bm25"], encoding=encoding, state=tmp_path / "state") as opened:
        yield opened
    if request.param == "server":
        with ingest.open_store(store) as opened_store:
            for made in opened_store.collections():
                if made.name.startswith(collection):
                    opened_store.drop(made.name)

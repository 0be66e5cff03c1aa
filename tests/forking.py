"""Forks of a process, and what the children came to. Run as a script: `python forking.py SCENARIO FOLDER [URL GRPC_PORT]`.

Each scenario is a process of its own, so that the test's threads are none of its business, and it ends even if a child hangs.
"""

from __future__ import annotations

import gc
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store_data import point

from ingest.encode.contract import Model
from ingest.encode.lease import lease_gpus
from ingest.encode.runner import BatchRunner
from ingest.search import RerankPipeline, Searcher
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorSpec
from ingest.testing import HashEncoder

DEADLINE = 300.0
"""Far beyond what a scenario takes: only a child that hangs meets it."""

MODEL = HashEncoder("hash", 16)
FORKS = 5


def run_scenario(name: str, *arguments: object) -> dict[str, Any]:
    """What a scenario reports. Raises `TimeoutExpired`, and ends its children, if one of them hangs."""
    command = [sys.executable, __file__, name, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def in_child(act: Callable[[], object]) -> str:
    """What `act` returns in a forked child, or the kind of its error and the message; the child exits as a program does."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, outcome(act).encode())
        sys.exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    assert os.waitpid(child, 0)[1] == 0, "the child died"
    return said


def outcome(act: Callable[[], object]) -> str:
    try:
        return str(act())
    except Exception as exc:  # noqa: BLE001  the report is about it
        return f"{type(exc).__name__}: {exc}"


def hash_models(_: Sequence[str]) -> list[Model]:
    return [MODEL]


def found(searcher: Searcher) -> list[str]:
    return [hit.text for hit in searcher.search("text 3", limit=1)]


def fill(store: Store, collection: str) -> None:
    spec = VectorSpec(MODEL.key, MODEL.dim, MODEL.fingerprint, space=MODEL.space)
    store.ensure(Manifest(collection, collection, (spec,)), CollectionOptions())
    points = [point(number) for number in range(5)]
    vectors = [{MODEL.key: MODEL.encode_documents([each.payload["text"]])[0]} for each in points]
    store.upsert(collection, [type(each)(each.id, vector, each.payload) for each, vector in zip(points, vectors, strict=True)])


def contents(folder: Path) -> dict[str, str]:
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.rglob("*") if file.is_file()}


@contextmanager
def searching(searcher: Searcher) -> Iterator[None]:
    """Threads that search meanwhile, so that a fork meets locks that are held."""
    done = threading.Event()

    def search() -> None:
        while not done.is_set():
            searcher.search("text 3")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def embedded(folder: Path) -> dict[str, Any]:
    with open_store(folder / "two") as store:
        fill(store, "docs")
    with open_store(folder / "one") as store:
        fill(store, "docs")  # what is written is in the engine's buffers at the forks, and not in its files
        searcher = Searcher.open("docs", store, models=hash_models)
        report: dict[str, Any] = {"parent": found(searcher)}
        before = contents(folder / "one")
        report["searcher"] = in_child(lambda: found(searcher))
        report["store"] = in_child(lambda: store.count("docs"))
        report["closed"] = [in_child(searcher.close), in_child(store.close)]
        report["own, of another folder"] = in_child(lambda: found(Searcher.open("docs", folder / "two", models=hash_models)))
        report["own, of the same"] = in_child(lambda: found(Searcher.open("docs", folder / "one", models=hash_models)))
        report["files changed"] = sorted(name for name, digest in contents(folder / "one").items() if before.get(name) != digest)
        with searching(searcher):
            report["while threads search"] = sorted({in_child(lambda: found(searcher)).split(":")[0] for _ in range(FORKS)})
        report["parent afterwards"] = found(searcher)
        fill(store, "docs")
    report["own, once the parent has closed"] = in_child(lambda: found(Searcher.open("docs", folder / "one", models=hash_models)))
    return report


def server(_: Path, collection: str, url: str, grpc_port: str) -> dict[str, Any]:
    def open_(*, prefer_grpc: bool | None) -> Searcher:
        return Searcher.open(collection, url, models=hash_models, prefer_grpc=prefer_grpc, grpc_port=int(grpc_port))

    report: dict[str, Any] = {}
    for protocol, prefer_grpc in {"rest": False, "grpc": True}.items():
        with open_(prefer_grpc=prefer_grpc) as searcher:
            with searching(searcher):
                said = {
                    "inherited": in_child(lambda: found(searcher)),
                    "own": in_child(lambda: found(open_(prefer_grpc=None))),
                    "own over gRPC": in_child(lambda: found(open_(prefer_grpc=True))),
                }
            with multiprocessing.get_context("fork").Pool(2, _open, (collection, url)) as pool:
                report[protocol] = said | {"pool": pool.map(_found, range(4)), "parent afterwards": found(searcher)}
    return report


_own: list[Searcher] = []


def _open(collection: str, url: str) -> None:
    _own.append(Searcher.open(collection, url, models=hash_models))


def _found(_: int) -> list[str]:
    return found(_own[0])


def leases(folder: Path) -> dict[str, Any]:
    def lease(timeout: float = 0.0) -> str:
        with lease_gpus(MODEL, ["cpu"], directory=folder, timeout=timeout) as own:
            return str(own.encoder.encode_queries(["x"]).shape)  # type: ignore[union-attr]  # dense

    pipeline = RerankPipeline()
    with BatchRunner([MODEL], devices=["cpu"], lease_directory=folder) as runner:
        runner.run({MODEL.key: ["x"]})
        report = {
            "runner": in_child(lambda: runner.run({MODEL.key: ["y"]})),
            "runner closed": in_child(runner.close),
            "reranker": in_child(lambda: pipeline.rerank("x", [])),
            "own, while the parent holds it": in_child(lease),
        }
    report["own, once the parent gave it back"] = in_child(lease)
    with lease_gpus(MODEL, ["cpu"], directory=folder) as held:
        report["encoder"] = in_child(lambda: held.encoder.encode_queries(["x"]))
        report["own, within the parent's lease"] = in_child(lease)
        report["parent"] = str(held.encoder.encode_queries(["x"]).shape)  # type: ignore[union-attr]
    return report


def torch(folder: Path) -> dict[str, Any]:
    import torch as library  # noqa: PLC0415  seconds that the other scenarios do not pay
    from tiny_models import DIM, tiny_dense  # noqa: PLC0415

    from ingest.encode.models import ModelManager  # noqa: PLC0415
    from ingest.encode.registry import EnsembleConfig  # noqa: PLC0415

    own: Any = {"tiny": {"path": str(tiny_dense(folder)), "dim": DIM, "max_tokens": 64}}

    def compute() -> str:
        [model] = ModelManager(EnsembleConfig(("tiny",)), devices=["cpu"], custom_models=own).members
        with lease_gpus(model, ()) as lease:
            shape = lease.encoder.encode_queries(["a text", "another"]).shape  # type: ignore[union-attr]
        large = library.ones(600, 600)
        return f"{shape} {float((large @ large).sum()):.0f} {library.get_num_threads()}"

    library.set_num_threads(2)
    computed = compute()
    gc.freeze()  # as below, what computing has imported
    return {"parent": computed, "child": in_child(compute), "child of a child": in_child(lambda: in_child(compute))}


class _Driver:
    """A GPU driver with one device, as far as it is asked about it."""

    def cuInit(self, _: int) -> int:  # noqa: N802  the vendor's names, here and below
        return 0

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, *_: Any) -> int:  # noqa: N802
        return 0

    def cuDeviceGetAttribute(self, *_: Any) -> int:  # noqa: N802
        return 0

    cuDeviceTotalMem_v2 = cuDeviceGetName = cuDeviceGetUuid_v2 = cuDeviceGetPCIBusId = cuDeviceGetAttribute  # noqa: N815


def gpu(folder: Path) -> dict[str, Any]:
    from ingest.encode.accelerator import use_accelerator  # noqa: PLC0415
    from ingest.encode.cuda import CudaAccelerator  # noqa: PLC0415

    cuda = CudaAccelerator(lambda: _Driver(), cpu_build=False)  # noqa: PLW0108
    with use_accelerator(cuda):
        cards = [card.name for card in cuda.gpus()]

        def lease() -> None:
            with lease_gpus(MODEL, cards, directory=folder):
                pass

        return {"cards": cards, "child": in_child(lease)}


SCENARIOS: dict[str, Callable[..., dict[str, Any]]] = {each.__name__: each for each in (embedded, server, leases, torch, gpu)}

if __name__ == "__main__":
    gc.freeze()  # what was imported; or each child looks for garbage in it as it exits, which takes longer than the scenario
    json.dump(SCENARIOS[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:]), sys.stdout)

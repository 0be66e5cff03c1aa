"""Every entry of the library that could create a collection refuses the names that a reindex keeps for its aliases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from export_bench import ExportBench
from sync_bench import SyncBench, document

from ingest.cluster.engine import ClusterOptions, run_on_ray
from ingest.cluster.worker import WorkerSetup
from ingest.errors import ConfigurationError
from ingest.store.edge.store import EdgeStore
from ingest.store.retrying import RetryingStore
from ingest.sync.preview import preview_job
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor
from ingest.testing import HashEncoder, ListSource

DOCUMENTS = [document("one", "a")]


@pytest.fixture(params=["docs__previous", "Docs__NEXT", "docs__swap"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SyncBench]:
    with EdgeStore(tmp_path / "qdrant") as store:
        yield SyncBench(store, request.param, tmp_path)


def run(bench: SyncBench) -> object:
    return bench.run([ListSource(DOCUMENTS)])


def plan(bench: SyncBench) -> object:
    return preview_job(bench.job(), [ListSource(DOCUMENTS)], store=bench.store, models=[HashEncoder("hash", 8)])


def load(bench: SyncBench) -> object:
    export = ExportBench(bench.folder, bench.collection)
    export.embed(ListSource(DOCUMENTS))
    return export.load(bench.store)


def on_ray(bench: SyncBench) -> object:
    return run_on_ray(
        bench.job(),
        [ListSource(DOCUMENTS)],
        cluster=ClusterOptions("ray://127.0.0.1:9"),
        setup=WorkerSetup(lambda: RetryingStore(bench.store), lambda: [HashEncoder("hash", 8)]),
        store=bench.store,
        rejects=RejectsFile(bench.folder / "rejects.jsonl"),
        monitor=ThroughputMonitor(),
    )


@pytest.mark.parametrize("entry", [run, plan, load, on_ray])
def test_a_name_that_a_reindex_keeps_is_refused(bench: SyncBench, entry: Callable[[SyncBench], object]) -> None:
    with pytest.raises(ConfigurationError, match="is reserved: ingest reindex keeps names that end in"):
        entry(bench)
    assert not bench.store.collections()

"""Every entry of the library refuses two sources of one name, and an uncertain end, before anything is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from export_bench import ExportBench
from sync_bench import SyncBench, counts, document

from ingest import Document, Rejected, open_source, run_job
from ingest.cluster.engine import ClusterOptions, run_on_ray
from ingest.cluster.worker import WorkerSetup
from ingest.encode.ensemble import Ensemble
from ingest.errors import ConfigurationError
from ingest.export.runtime import ExportRuntime
from ingest.records import Source
from ingest.store.edge.store import EdgeStore
from ingest.store.retrying import RetryingStore
from ingest.sync.preview import preview_job
from ingest.sync.rejects import RejectsFile
from ingest.telemetry import ThroughputMonitor
from ingest.testing import HashEncoder, ListSource
from ingest.verify.verification import verify_job

DOCUMENTS = [document(f"d{number}", "a") for number in range(10)]


@dataclass(slots=True)
class Piped:
    """A source of the user's own that cannot tell its end from a producer that died."""

    items: Sequence[Document]
    name: str = "piped"
    end_is_certain: bool = False
    reads: int = field(default=0)

    def read(self) -> Iterator[Document | Rejected]:
        self.reads += 1
        yield from self.items


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    with EdgeStore(tmp_path / "qdrant") as store:
        yield SyncBench(store, "docs", tmp_path)


Entry = Callable[[SyncBench, Any], object]


def run(bench: SyncBench, sources: Any) -> object:
    return bench.run_with(
        lambda runner, models, rejects: run_job(
            bench.job(delete="full", max_delete=1.0),
            sources,
            store=bench.store,
            ensemble=Ensemble(runner),
            rejects=rejects,
        )
    )


def plan(bench: SyncBench, sources: Any) -> object:
    return preview_job(bench.job(delete="full"), sources, store=bench.store, models=[HashEncoder("hash", 8)])


def verify(bench: SyncBench, sources: Any) -> object:
    return bench.run_with(
        lambda runner, models, _rejects: verify_job(
            bench.job(max_delete=1.0), sources, store=bench.store, ensemble=Ensemble(runner), repair=True
        )
    )


def embed(bench: SyncBench, sources: Any) -> object:
    return bench.run_with(
        lambda runner, models, rejects: ExportRuntime(bench.folder / "export").embed(
            bench.job(max_delete=1.0), sources, ensemble=Ensemble(runner), rejects=rejects
        )
    )


def on_ray(bench: SyncBench, sources: Any) -> object:
    return run_on_ray(
        bench.job(delete="full", max_delete=1.0),
        sources,
        cluster=ClusterOptions("ray://127.0.0.1:9"),
        setup=WorkerSetup(lambda: RetryingStore(bench.store), lambda: [HashEncoder("hash", 8)]),
        store=bench.store,
        rejects=RejectsFile(bench.folder / "rejects.jsonl"),
        monitor=ThroughputMonitor(),
    )


every_entry = pytest.mark.parametrize("entry", [run, plan, verify, embed, on_ray])


@every_entry
def test_two_sources_of_one_name_are_refused(bench: SyncBench, entry: Entry) -> None:
    sources = [ListSource(DOCUMENTS[:5]), ListSource(DOCUMENTS[5:])]
    with pytest.raises(ConfigurationError, match=r"the source list was given twice.*under a name of its own"):
        entry(bench, sources)
    assert [source.reads for source in sources] == [0, 0]
    assert not bench.store.collections()
    assert not (bench.folder / "export").exists()


@every_entry
def test_a_source_whose_end_is_uncertain_is_refused_where_the_rest_counts_as_gone(bench: SyncBench, entry: Entry) -> None:
    bench.run([ListSource(DOCUMENTS, name="piped")])
    embed(bench, [ListSource(DOCUMENTS, name="piped")])
    before = bench.stored()
    piped = Piped(DOCUMENTS[:1])
    with pytest.raises(ConfigurationError, match="the source piped cannot tell its end from a producer that died"):
        entry(bench, [piped])
    assert piped.reads == 0
    assert bench.stored() == before
    with pytest.raises(ConfigurationError, match="the source stdin cannot tell its end"):
        entry(bench, [open_source("-")])


def test_a_source_whose_end_is_uncertain_is_read_where_nothing_counts_as_gone(bench: SyncBench) -> None:
    bench.run([ListSource(DOCUMENTS, name="piped")])
    assert counts(bench.run([Piped(DOCUMENTS[:1])], delete="incremental")) == {"read": 1, "unchanged": 1}
    assert counts(bench.run([Piped(DOCUMENTS, end_is_certain=True)], delete="full")) == {"read": 10, "unchanged": 10}
    export = ExportBench(bench.folder)
    assert export.embed(Piped(DOCUMENTS)).written == 10, "a new export has nothing that could be gone"


@every_entry
@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("docs/", "a str is not a list of sources"),
        (ListSource(DOCUMENTS), "a ListSource is not a list of sources"),
        (["docs/"], "a str is not a source: give what open_source returns"),
        ([None], "a NoneType is not a source"),
        ([ListSource(DOCUMENTS, name=" ")], "a ListSource has no name"),
        ([ListSource(DOCUMENTS, name=3)], "a ListSource is not a source"),  # type: ignore[arg-type]  # on purpose
    ],
)
def test_what_is_no_list_of_sources_is_refused(bench: SyncBench, entry: Entry, sources: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        entry(bench, sources)
    assert not bench.store.collections()


def test_sources_from_a_generator_are_read_and_not_lost(bench: SyncBench) -> None:
    receipt = run(bench, (source for source in [ListSource(DOCUMENTS[:5], name="one"), ListSource(DOCUMENTS[5:], name="two")]))
    assert receipt.read == 10  # type: ignore[attr-defined]  # a receipt
    sources: Iterator[Source] = iter([ListSource(DOCUMENTS[:5], name="one")])
    assert plan(bench, sources).unchanged == 5  # type: ignore[attr-defined]  # a preview

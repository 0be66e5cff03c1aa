"""A run that is told to stop: the window in hand is finished, nothing is deleted, and the next run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.records import Document, Rejected, Source
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.plan import DeleteMode
from ingest.sync.reading import WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource

DOCUMENTS = [Document(f"d{n}", f"Document number {n}.") for n in range(40)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path / "qdrant") as opened:
        yield opened


class Bench:
    def __init__(self, store: EdgeStore, folder: Path) -> None:
        self.store, self.folder = store, folder

    def run(self, *sources: Source, stop: Callable[[], bool] = lambda: False, encoder: HashEncoder | None = None) -> Receipt:
        models = [encoder or HashEncoder()]
        job = Job("docs", delete=DeleteMode.FULL, max_delete=1.0, bounds=WindowBounds(chunks=4))
        runner = BatchRunner(models, lease_directory=self.folder / "leases")
        with runner, RejectsFile(self.folder / "rejects.jsonl") as rejects:
            return run_job(job, sources, store=self.store, ensemble=Ensemble(runner), rejects=rejects, stop=stop)

    def texts(self) -> set[str]:
        return {point.payload["text"] for point in self.store.scroll("docs")}


@pytest.fixture
def bench(store: EdgeStore, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


class StopAfter(HashEncoder):
    """Encodes so many windows and then wants the run to stop."""

    def __init__(self, windows: int) -> None:
        super().__init__()
        self.left = windows

    def encode_documents(self, texts: Sequence[str]) -> object:  # type: ignore[override]  # as the parent answers
        self.left -= 1
        return super().encode_documents(texts)

    def __call__(self) -> bool:
        return self.left <= 0


def test_the_window_in_hand_is_finished_and_the_account_balances(bench: Bench) -> None:
    stop = StopAfter(2)
    receipt = bench.run(ListSource(DOCUMENTS), stop=stop, encoder=stop)
    assert (receipt.stopped, receipt.balanced) == (True, True)
    assert (receipt.read, receipt.written, receipt.chunks.written) == (8, 8, 8)
    assert bench.texts() == {document.text for document in DOCUMENTS[:8]}


def test_the_next_run_goes_on_where_it_stopped(bench: Bench) -> None:
    stop = StopAfter(2)
    bench.run(ListSource(DOCUMENTS), stop=stop, encoder=stop)
    receipt = bench.run(ListSource(DOCUMENTS))
    assert (receipt.stopped, receipt.balanced, receipt.unchanged, receipt.written) == (False, True, 8, 32)
    assert len(bench.texts()) == 40


def test_nothing_is_deleted_neither_what_seems_gone_nor_what_an_edit_left_behind(bench: Bench) -> None:
    bench.run(ListSource(DOCUMENTS))
    before = bench.texts()
    edited = [Document("d0", "Something else."), *DOCUMENTS[1:]]
    stop = StopAfter(1)
    receipt = bench.run(ListSource(edited), stop=stop, encoder=stop)
    assert (receipt.stopped, receipt.balanced, receipt.deleted, receipt.chunks.deleted) == (True, True, 0, 0)
    assert bench.texts() == before | {"Something else."}

    finished = bench.run(ListSource(edited))
    assert (finished.stopped, finished.balanced, finished.chunks.deleted) == (False, True, 1)
    assert bench.texts() == {document.text for document in edited}


def test_told_to_stop_before_it_began_it_reads_nothing_and_deletes_nothing(bench: Bench) -> None:
    bench.run(ListSource(DOCUMENTS))
    source = ListSource([])
    receipt = bench.run(source, stop=lambda: True)
    assert (receipt.stopped, receipt.balanced, receipt.read, receipt.deleted, source.reads) == (True, True, 0, 0, 0)
    assert len(bench.texts()) == 40


def test_of_several_sources_none_is_begun_after_that(bench: Bench) -> None:
    stop, second = StopAfter(1), ListSource(DOCUMENTS, name="second")
    receipt = bench.run(ListSource(DOCUMENTS, name="first"), second, stop=stop, encoder=stop)
    assert (receipt.stopped, receipt.balanced, second.reads) == (True, True, 0)


class SilentSource:
    """Says nothing more after its first document, until it is let go."""

    name = "silent"

    def __init__(self) -> None:
        self.waits, self.let_go = threading.Event(), threading.Event()

    def read(self) -> Iterator[Document | Rejected]:
        yield DOCUMENTS[0]
        self.waits.set()
        self.let_go.wait()


def test_a_source_that_has_fallen_silent_does_not_keep_the_run_from_stopping(bench: Bench) -> None:
    source = SilentSource()
    try:
        receipt = bench.run(source, stop=source.waits.is_set)
    finally:
        source.let_go.set()
    assert (receipt.stopped, receipt.balanced, receipt.read) == (True, True, 0)

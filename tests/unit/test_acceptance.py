"""Accepting stored vectors as made by other fingerprints of the same models: nothing is encoded, and nothing else is taken in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reindexing import Bench, documents

from ingest.errors import ManifestMismatchError
from ingest.source.chunking import ChunkingOptions
from ingest.store.edge.store import EdgeStore
from ingest.sync.manifest import ensure_collection
from ingest.testing import FlakyStore, HashEncoder, Moment

DOCUMENTS = documents(7)
KEPT = HashEncoder("kept", 16)
OLD = HashEncoder("swapped", 16)
NEW = HashEncoder("swapped", 16, revision="2")


class Killed(BaseException):
    """The process died here."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with EdgeStore(tmp_path / "qdrant") as store:
        made = Bench(store, tmp_path)
        made.run(DOCUMENTS, [KEPT, OLD])
        yield made


def test_accepting_relabels_what_is_stored_and_encodes_nothing(bench: Bench) -> None:
    before = {id_: vectors for id_, (_, vectors) in bench.content().items()}
    with pytest.raises(
        ManifestMismatchError,
        match=r"swapped was made by another revision.*ingest reindex docs.*--accept-fingerprints",
    ):
        bench.run(DOCUMENTS, [KEPT, NEW])
    recorder = HashEncoder("swapped", 16, revision="2", record=True)
    receipt = bench.run(DOCUMENTS, [KEPT, recorder], accept_fingerprints=True)
    assert (receipt.unchanged, receipt.balanced, recorder.encoded) == (len(DOCUMENTS), True, [])
    assert {id_: vectors for id_, (_, vectors) in bench.content().items()} == before
    assert bench.run(DOCUMENTS, [KEPT, NEW]).unchanged == len(DOCUMENTS)


def test_accepting_does_not_reach_what_a_third_model_made(bench: Bench) -> None:
    point = next(bench.store.scroll("docs"))
    made = point.payload["_ingest"]
    foreign = {**point.payload, "_ingest": {**made, "vectors": {**made["vectors"], "swapped": "a third"}}}
    bench.store.set_payload("docs", {point.id: foreign})
    recorder = HashEncoder("swapped", 16, revision="2", record=True)
    bench.run(DOCUMENTS, [KEPT, recorder], accept_fingerprints=True)
    assert len(recorder.encoded) == 1


@pytest.mark.parametrize("models", [[KEPT], [KEPT, HashEncoder("swapped", 8, revision="2")], [KEPT, NEW, HashEncoder("more")]])
def test_other_vectors_cannot_be_accepted(bench: Bench, models: list[HashEncoder]) -> None:
    with pytest.raises(ManifestMismatchError, match=r"ingest reindex docs and these models, or use a new collection$"):
        bench.run(DOCUMENTS, models, accept_fingerprints=True)


def test_other_chunks_cannot_be_accepted(bench: Bench) -> None:
    with pytest.raises(ManifestMismatchError, match="use a new collection, since other chunks need their source"):
        bench.run(DOCUMENTS, [KEPT, NEW], accept_fingerprints=True, chunking=ChunkingOptions(tokens=50))


def test_what_was_accepted_can_be_made_anew_with_the_old_model(bench: Bench) -> None:
    """Though the collection in use has the very name that the one made by the old model would have."""
    bench.run(DOCUMENTS, [KEPT, NEW], accept_fingerprints=True)
    report = bench.reindex([KEPT, OLD])
    assert report.stored_as == f"{report.previous}_2"
    assert bench.run(DOCUMENTS, [KEPT, OLD]).unchanged == len(DOCUMENTS)


def test_accepting_can_crash_and_go_on(bench: Bench) -> None:
    wanted = bench.job.manifest([KEPT, NEW])

    def cue(_: str, __: int) -> tuple[Moment, BaseException]:
        return "after", Killed()

    with pytest.raises(Killed):
        ensure_collection(wanted, bench.job.options, store=FlakyStore(bench.store, cue), accept_fingerprints=True)
    with pytest.raises(ManifestMismatchError):
        bench.run(DOCUMENTS, [KEPT, NEW])
    recorder = HashEncoder("swapped", 16, revision="2", record=True)
    assert bench.run(DOCUMENTS, [KEPT, recorder], accept_fingerprints=True).unchanged == len(DOCUMENTS)
    assert recorder.encoded == []

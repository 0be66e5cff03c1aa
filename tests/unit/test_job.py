"""The loop, on the embedded engine with fakes that crash on cue: nothing is lost, nothing is doubled, nothing goes too early."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from job_bench import PARAGRAPHS, Bench, counts, document

from ingest.errors import (
    ManifestMismatchError,
    ModelUnavailableError,
    SourceError,
    StoreError,
    StoreUnavailableError,
)
from ingest.receipt import ChunkCounts
from ingest.records import DenseMatrix, Document
from ingest.retry import RetryPolicy
from ingest.source.chunking import ChunkingOptions
from ingest.store.edge.store import EdgeStore
from ingest.store.retrying import RetryingStore
from ingest.sync.job import Job
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.sync.reading import WindowBounds
from ingest.testing import Crash, FlakyStore, HashEncoder, ListSource


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path / "qdrant") as opened:
        yield opened


@pytest.fixture
def bench(store: EdgeStore, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


def test_a_first_run_writes_everything_and_a_second_nothing(bench: Bench) -> None:
    source = ListSource([document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)])
    first = bench.run(source)
    assert first.balanced
    assert counts(first) == {"read": 8, "written": 8}
    encoder = HashEncoder(record=True)
    second = bench.run(source, models=[encoder])
    assert second.balanced
    assert counts(second) == {"read": 8, "unchanged": 8}
    assert encoder.encoded == []


def test_an_edit_in_the_middle_encodes_that_chunk_and_no_other(bench: Bench) -> None:
    bench.run(ListSource([document("book", "\n\n".join(PARAGRAPHS))]))
    before = bench.stored()
    edited = [*PARAGRAPHS[:3], "Something new. " + "zzzzz " * 60, *PARAGRAPHS[4:]]
    encoder = HashEncoder(record=True)
    receipt = bench.run(ListSource([document("book", "\n\n".join(edited))]), models=[encoder])
    assert receipt.balanced
    assert counts(receipt) == {"read": 1, "updated": 1}
    assert encoder.encoded == [edited[3].strip()]
    after = bench.stored()
    assert len(after) == len(before)
    assert len(after.keys() & before.keys()) == len(before) - 1
    assert all(after[id_][1] == before[id_][1] for id_ in after.keys() & before.keys())


def test_changed_metadata_never_reaches_a_model(bench: Bench) -> None:
    bench.run(ListSource([document("d", PARAGRAPHS[0], year=1999)]))
    encoder = HashEncoder(record=True)
    receipt = bench.run(ListSource([document("d", PARAGRAPHS[0], year=2000)]), models=[encoder])
    assert (receipt.updated, receipt.chunks.written, encoder.encoded) == (1, 0, [])
    assert [payload["metadata"] for payload, _ in bench.stored().values()] == [{"year": 2000}]  # type: ignore[index]  # a payload


def test_a_new_title_is_new_context_for_every_chunk(bench: Bench) -> None:
    bench.run(ListSource([Document("d", PARAGRAPHS[0], title="Old")]))
    encoder = HashEncoder(record=True)
    receipt = bench.run(ListSource([Document("d", PARAGRAPHS[0], title="New")]), models=[encoder])
    assert receipt.balanced
    assert all(text.startswith("New\n") for text in encoder.encoded)
    assert encoder.encoded


def test_equal_texts_are_encoded_once_and_stored_for_each_document(bench: Bench) -> None:
    encoder = HashEncoder(record=True)
    bench.run(ListSource([document("a", PARAGRAPHS[0]), document("b", PARAGRAPHS[0])]), models=[encoder])
    assert len(encoder.encoded) == len(set(encoder.encoded))
    assert bench.doc_ids() == {"a", "b"}
    bench.run(ListSource([document("b", PARAGRAPHS[0])]), delete=DeleteMode.FULL, max_delete=1.0)
    assert bench.doc_ids() == {"b"}


@pytest.mark.parametrize("window", [1, 4, 100])
def test_plan_and_receipt_count_the_same_chunks_where_texts_repeat(bench: Bench, window: int) -> None:
    same = "".join(f"{text}\n\n" for text in PARAGRAPHS[:2])
    source = ListSource([document(f"d{n}", same * (1 + n % 2)) for n in range(5)])
    models = [HashEncoder("one"), HashEncoder("two")]
    job = Job("docs", chunking=ChunkingOptions(tokens=100), bounds=WindowBounds(chunks=window))
    preview = preview_job(job, [source], store=bench.store, models=models)
    receipt = bench.run(source, models=models, window=window)
    assert receipt.chunks.written == 14
    assert {model.key: model.chunks for model in receipt.models} == preview.chunks == {"one": 14, "two": 14}


def test_leftovers_are_not_counted_as_reused(bench: Bench) -> None:
    bench.run(ListSource([document("d", PARAGRAPHS[0])]))
    edited = ListSource([document("d", PARAGRAPHS[1])])
    assert bench.run(edited, delete=DeleteMode.NONE).chunks == ChunkCounts(written=1, reused=0, deleted=0)
    assert len(bench.stored()) == 2
    assert bench.run(edited, delete=DeleteMode.NONE).chunks == ChunkCounts(written=0, reused=1, deleted=0)


def test_several_sources_in_one_run(bench: Bench) -> None:
    receipt = bench.run([ListSource([document("d", text)], name=text[:11]) for text in PARAGRAPHS[:3]])
    assert (receipt.written, receipt.balanced) == (3, True)


def test_a_second_document_of_the_same_id_is_rejected(bench: Bench) -> None:
    receipt = bench.run(ListSource([document("d", PARAGRAPHS[0]), document("d", PARAGRAPHS[1])]))
    assert receipt.balanced
    assert counts(receipt) == {"read": 2, "written": 1, "rejected": 1}
    (reject,) = [json.loads(line) for line in bench.rejects.read_text().splitlines()]
    assert reject["doc_id"] == "d"
    assert "unique" in reject["reason"]


def test_a_first_run_that_failed_pins_nothing(bench: Bench) -> None:
    with pytest.raises(SourceError):
        bench.run(ListSource([Crash()]), tokens=100)
    receipt = bench.run(ListSource([document("d", PARAGRAPHS[0])]), tokens=50)
    assert (receipt.written, receipt.balanced) == (1, True)


def test_weights_may_change_at_any_time(bench: Bench) -> None:
    source = ListSource([document("d", PARAGRAPHS[0])])
    bench.run(source, weights={"hash": 2.0})
    assert bench.store.manifest("docs").weights == {"hash": 2.0}
    bench.run(source, weights={"hash": 3.0})
    bench.run(source)
    assert bench.store.manifest("docs").weights == {"hash": 3.0}


def test_another_model_under_the_same_name_is_refused_before_the_source_is_read(bench: Bench) -> None:
    bench.run(ListSource([document("d", PARAGRAPHS[0])]))
    source = ListSource([document("d", PARAGRAPHS[0])])
    for models in (
        [HashEncoder(revision="2")],
        [HashEncoder(dim=128)],
        [HashEncoder("other")],
        [HashEncoder(), HashEncoder("b")],
    ):
        with pytest.raises(ManifestMismatchError):
            bench.run(source, models=models)
    with pytest.raises(ManifestMismatchError, match="chunking"):
        bench.run(source, tokens=50)
    assert source.reads == 0


def test_a_preview_counts_what_a_run_then_does(bench: Bench) -> None:
    documents = [document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS)]
    bench.run(ListSource(documents))
    changed = ListSource([*documents[2:], document("d1", PARAGRAPHS[1] + "and more"), document("new", "short")])
    before = bench.stored()
    job = Job("docs", delete=DeleteMode.FULL, chunking=ChunkingOptions(tokens=100))
    preview = preview_job(job, [changed], store=bench.store, models=[HashEncoder()])
    assert bench.stored() == before
    receipt = bench.run(changed, delete=DeleteMode.FULL)
    assert (preview.added, preview.updated, preview.unchanged, preview.deleted) == (
        receipt.written,
        receipt.updated,
        receipt.unchanged,
        receipt.deleted,
    )
    assert preview.chunks["hash"] == receipt.chunks.written
    assert preview.stale_chunks == receipt.chunks.deleted


EDITED = [
    *(document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS[:3])),
    document("d3", PARAGRAPHS[3], year=1),
    document("book", "\n\n".join(PARAGRAPHS[2:])),
]


ORIGINAL = [
    *(document(f"d{n}", text) for n, text in enumerate(PARAGRAPHS[:4])),
    document("book", "\n\n".join(PARAGRAPHS)),
    document("gone", PARAGRAPHS[7]),
]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("effect", sorted(FlakyStore.EFFECTS - {"update_vectors"}))
@pytest.mark.parametrize("call", [1, 2])
def test_a_crash_at_any_effect_heals_on_the_next_run(bench: Bench, tmp_path: Path, moment: str, effect: str, call: int) -> None:
    """`after`: the engine applied the write, but its acknowledgement was lost."""

    def cue(name: str, number: int) -> tuple[str, BaseException] | None:
        return (moment, StoreError("crash")) if (name, number) == (effect, call) else None

    bench.run(ListSource(ORIGINAL))
    flaky = FlakyStore(bench.store, cue)  # type: ignore[arg-type]  # the moment is one of its two words
    try:
        bench.run(ListSource(EDITED), store=flaky, delete=DeleteMode.FULL, max_delete=1.0)
    except StoreError:
        assert flaky.calls[effect] == call
    else:
        assert flaky.calls.get(effect, 0) < call

    healed = bench.run(ListSource(EDITED), delete=DeleteMode.FULL, max_delete=1.0)
    assert healed.balanced
    with EdgeStore(tmp_path / "fresh") as fresh_store:
        fresh = Bench(fresh_store, tmp_path)
        fresh.run(ListSource(EDITED))
        assert bench.stored() == fresh.stored()


def test_an_unavailable_store_is_asked_again(bench: Bench) -> None:
    def cue(name: str, number: int) -> tuple[str, BaseException] | None:
        return ("after", StoreUnavailableError("the acknowledgement was lost")) if number == 1 else None

    flaky = FlakyStore(bench.store, cue)  # type: ignore[arg-type]  # the moment is one of its two words
    policy = RetryPolicy(attempts=3, first=0.001, longest=0.001)
    receipt = bench.run(ListSource([document("d", PARAGRAPHS[0])]), store=RetryingStore(flaky, policy))
    assert (receipt.written, receipt.balanced, flaky.calls["upsert"]) == (1, True, 2)


class Outage(HashEncoder):
    """Its server is down from the second batch on, for so many requests."""

    def __init__(self, failures: int) -> None:
        super().__init__(runs_on="remote", record=True)
        self.batches = 0
        self.left = failures

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        self.batches += 1
        if self.batches > 1 and self.left:
            self.left -= 1
            raise ModelUnavailableError("the model server answered 503", retry_after=0)
        return super().encode_documents(texts)


LETTERS = [document(letter, f"Paragraph {letter}. " + f"{letter * 5} " * 60) for letter in "abcdefgh"]


def test_a_model_that_is_unavailable_for_a_while_costs_nothing_but_time(bench: Bench) -> None:
    model = Outage(failures=2)
    receipt = bench.run(ListSource(LETTERS), models=[model], retry=RetryPolicy(attempts=3, first=0, longest=0))
    assert (receipt.balanced, receipt.written, receipt.rejected, receipt.errors) == (True, 8, 0, ())
    assert len(model.encoded) == 8


def test_a_model_that_stays_unavailable_ends_the_run_and_rejects_nothing(bench: Bench) -> None:
    model = Outage(failures=1000)
    with pytest.raises(ModelUnavailableError, match=r"answered 503 \(gave up after 3 attempts") as caught:
        bench.run(ListSource(LETTERS), models=[model], retry=RetryPolicy(attempts=3, first=0, longest=0))
    assert caught.value.exit_code == 1
    assert model.batches == 1 + 3
    assert not bench.rejects.exists()
    left = len(bench.stored())

    receipt = bench.run(ListSource(LETTERS))
    assert (receipt.balanced, receipt.written, receipt.unchanged, receipt.rejected) == (True, 8 - left, left, 0)

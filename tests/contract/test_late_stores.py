"""Late interaction from the source to the hits, in every store: stored, kept, searched, verified, rebuilt, exported."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from word_rows import WordRows, max_sim

import ingest
from ingest.records import Document
from ingest.search.together import search_together
from ingest.store.contract import Store
from ingest.testing import HashEncoder
from ingest.verify.damage import FindingKind

WORDS = [f"w{number}" for number in range(60)]
RNG = np.random.default_rng(0)
TEXTS = {f"d{number}": " ".join(RNG.choice(WORDS, 5 + number % 20)) for number in range(120)}
DOCUMENTS = [Document(id_, text, metadata={"n": number}) for number, (id_, text) in enumerate(TEXTS.items())]
QUERIES = [" ".join(RNG.choice(WORDS, 9, replace=False)) for _ in range(20)]
LATE = WordRows("late", 16)


@dataclass
class Bench:
    store: Store
    name: str
    state: Path

    def open(self, models: Sequence[Any] | None = None, name: str | None = None) -> ingest.Collection:
        chosen: Sequence[Any] = models or (HashEncoder("dense", 16), "bm25", WordRows("late", 16, record=True))
        return ingest.Collection(name or self.name, store=self.store, models=chosen, state=self.state)

    def rows(self, name: str | None = None) -> dict[str, Any]:
        return {
            str(point.payload["text"]): point.vectors["late"] for point in self.store.scroll(name or self.name, vectors=["late"])
        }


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> Bench:
    return Bench(store, collection, tmp_path)


@pytest.fixture
def docs(bench: Bench) -> Iterator[ingest.Collection]:
    with bench.open() as opened:
        receipt = opened.sync(DOCUMENTS, name="docs")
        assert (receipt.written, receipt.balanced) == (len(DOCUMENTS), True)
        yield opened


def _by_max_sim(query: str, ids: Sequence[str]) -> list[str]:
    [rows] = LATE.encode_queries([query])
    return sorted(ids, key=lambda id_: -max_sim(rows, LATE.encode_documents([TEXTS[id_]])[0]))


def test_the_best_fused_hits_are_ordered_by_a_plain_max_sim(docs: ingest.Collection) -> None:
    for query in QUERIES:
        fused = docs.search(query, limit=100, late="off")
        head = [hit.doc_id for hit in fused]
        late = docs.search(query, limit=100)
        assert [hit.doc_id for hit in late] == _by_max_sim(query, head)
        assert [hit.doc_id for hit in docs.search(query)] == [hit.doc_id for hit in late][:10]
        best = late[0]
        [rows] = LATE.encode_queries([query])
        assert best.score == best.vector_scores["late"] == pytest.approx(max_sim(rows, LATE.encode_documents([best.text])[0]))
        assert (best.ranks["late"], "late" in best.contributions) == (1, False)
        assert "late" not in fused[0].ranks


def test_pages_continue_each_other(docs: ingest.Collection) -> None:
    whole = [hit.doc_id for hit in docs.search(QUERIES[0], limit=10)]
    pages = [docs.search(QUERIES[0], limit=5, offset=offset) for offset in (0, 5)]
    assert [hit.doc_id for page in pages for hit in page] == whole


def test_multivectors_are_fused_if_wanted_and_if_alone(docs: ingest.Collection) -> None:
    fused = docs.search(QUERIES[0], late="fuse", limit=3)[0]
    assert {"late", "bm25"} <= fused.contributions.keys()
    alone = docs.search(QUERIES[0], vectors=["late"], fusion="rrf", limit=7)
    assert [hit.doc_id for hit in alone] == _by_max_sim(QUERIES[0], list(TEXTS))[:7]
    assert docs.search(QUERIES[0], vectors=["bm25"])[0].ranks.keys() == {"bm25"}


def test_groups_filters_boosts_and_likes_hold(docs: ingest.Collection) -> None:
    few = docs.search(QUERIES[0], where="metadata.n<20", group_by="doc_id", limit=20)
    assert [hit.doc_id for hit in few] == _by_max_sim(QUERIES[0], [f"d{number}" for number in range(20)])
    boosted = docs.search(QUERIES[0], boost="metadata.n:0..119*1000", limit=1)[0]
    assert boosted.metadata["n"] > 100
    assert docs.search(QUERIES[0], diversity=0.5)[0].doc_id == docs.search(QUERIES[0])[0].doc_id
    assert all("late" not in hit.ranks for hit in docs.search(like="d3"))
    with pytest.raises(ingest.ConflictError, match="multivectors cannot be averaged"):
        docs.search(like="d3", vectors=["late"])


def test_collections_together_are_not_ordered_by_max_sim(bench: Bench, docs: ingest.Collection) -> None:
    with bench.open(name=f"{bench.name}_too") as other:
        other.sync(DOCUMENTS[:5], name="docs")
        hits = search_together([docs.searcher, other.searcher], QUERIES[0])
    assert hits
    assert all("late" not in hit.ranks for hit in hits)


def test_why_names_the_multivectors(docs: ingest.Collection) -> None:
    fused, late = docs.search(QUERIES[0], limit=3, late="off"), docs.search(QUERIES[0], limit=3)
    lost = next(hit.doc_id for hit in fused if hit.doc_id not in {each.doc_id for each in late})
    why = docs.why(QUERIES[0], lost, limit=3)
    assert (why.cause, why.change) == ("reranking", {"late": "off"})


def test_rows_are_copied_verified_and_repaired(bench: Bench, docs: ingest.Collection) -> None:
    encoder = WordRows("late", 16, record=True)
    with bench.open([HashEncoder("dense", 16), "bm25", encoder]) as again:
        moved = [Document(f"new-{each.id}", each.text, metadata=each.metadata) for each in DOCUMENTS]
        assert again.sync(moved, name="docs", delete="full", max_delete=1.0).chunks.copied == len(DOCUMENTS)
        assert encoder.encoded == []
        assert again.verify(moved, name="docs", sample="all").clean
        first = next(iter(bench.store.scroll(bench.name)))
        bench.store.update_vectors(bench.name, {first.id: {"late": LATE.encode_documents(["another text"])[0]}})
        report = again.verify(moved, name="docs", sample="all", repair=True)
        assert report.findings[FindingKind.WRONG_VECTORS].count == 1
        assert again.verify(moved, name="docs", sample="all").clean
    for text, rows in bench.rows().items():
        assert np.array_equal(rows, LATE.encode_documents([text])[0])


def test_a_reindex_copies_rows_and_an_export_brings_them(bench: Bench, docs: ingest.Collection, tmp_path: Path) -> None:
    before = bench.rows()
    encoder = WordRows("late", 16, record=True)
    with bench.open() as opened:
        done = opened.reindex(models=[HashEncoder("other", 8), "bm25", encoder], self_test=False)
        assert (done.copied["late"], encoder.encoded) == (len(DOCUMENTS), [])
        after = bench.rows()
        assert {text: rows.tolist() for text, rows in after.items()} == {text: rows.tolist() for text, rows in before.items()}
    with bench.open(name=f"{bench.name}_exported") as exported:
        exported.export(DOCUMENTS, tmp_path / "vectors", name="docs")
        assert exported.load(tmp_path / "vectors").balanced
        loaded = bench.rows(f"{bench.name}_exported")
        assert {text: rows.tolist() for text, rows in loaded.items()} == {text: rows.tolist() for text, rows in before.items()}


def test_plan_info_and_eval_know_multivectors(bench: Bench, docs: ingest.Collection, tmp_path: Path) -> None:
    plan = docs.plan([*DOCUMENTS, Document("more", "w1 w2")], name="docs")
    assert plan.chunks["late"] == 1
    assert plan.vector_bytes > 512 * 16 * 4  # a row for each token of the longest chunk
    assert [(spec.name, spec.kind, spec.dim) for spec in docs.info().vectors][2] == ("late", "multivector", 16)
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n"
        + "".join(f"{n}\t{_by_max_sim(query, list(TEXTS))[0]}\t1\n" for n, query in enumerate(QUERIES))
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": str(n), "text": query}) + "\n" for n, query in enumerate(QUERIES))
    )
    rows = {row.name: row.scores for row in docs.evaluate(tmp_path).rows}
    assert list(rows) == ["dense", "bm25", "fused", "late"]
    assert rows["late"].mrr_10 == 1.0 > rows["fused"].mrr_10

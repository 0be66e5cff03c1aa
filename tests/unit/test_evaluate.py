"""Evaluation over the embedded engine, with models that see a text as two angles: every ranking can be worked out by hand."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.errors import ConfigurationError, IngestError, MissingExtraError, SourceError
from ingest.records import DenseMatrix, Hit, Point
from ingest.search import Searcher
from ingest.search.beir import is_held_out, load_beir
from ingest.search.evaluate import evaluate
from ingest.search.metrics import Judge, Scores
from ingest.store.contract import CollectionOptions, Manifest, VectorSpec
from ingest.store.edge.store import EdgeStore
from ingest.testing import HashEncoder

VECTORS = ("first", "second")

# Document and the angle of each of its chunks in both vectors. As the first vector sees it from 0°: A B C; the second: C B A.
CHUNKS = [("A", 5, 60), ("A", 30, 30), ("B", 20, 10), ("C", 40, 0)]

QUERIES = {"from-0": "0 0", "from-90": "90 90", "nobody judged this": "45 45", "not in the collection": "10 10"}
JUDGEMENTS = [("from-0", "C", 3), ("from-0", "A", 1), ("from-90", "B", 2), ("not in the collection", "Z", 1)]


class AngleModel(HashEncoder):
    """Text "30 60" lies at 30° for `first` and at 60° for `second`."""

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return np.array([direction(int(text.split()[VECTORS.index(self.key)])) for text in texts])


def direction(degrees: int) -> DenseMatrix:
    return np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], dtype=np.float32)


def models(keys: Sequence[str]) -> list[AngleModel]:
    return [AngleModel(key, dim=2) for key in keys]


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": id_, "text": text}) for id_, text in QUERIES.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines) + "\n\n")
    judged = ["\t".join(map(str, judgement)) for judgement in JUDGEMENTS]
    (folder / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]))
    return folder


@pytest.fixture
def searcher(tmp_path: Path) -> Iterator[Searcher]:
    with EdgeStore(tmp_path / "qdrant") as store:
        specs = tuple(VectorSpec(m.key, 2, m.fingerprint, space=m.space) for m in models(VECTORS))
        store.ensure(Manifest("angles", "angles", specs, weights={"first": 2.0}), CollectionOptions())
        store.upsert("angles", [point(number, *chunk) for number, chunk in enumerate(CHUNKS)])
        yield Searcher.open("angles", store, models=models)


def point(number: int, doc_id: str, first: int, second: int) -> Point:
    payload = {"text": f"{first} {second}", "doc_id": doc_id, "source": "s", "chunk": number, "start": 0, "end": 1}
    return Point(str(uuid.UUID(int=number)), {"first": direction(first), "second": direction(second)}, payload)


def test_every_figure_is_what_a_pencil_finds(searcher: Searcher, beir: Path) -> None:
    """The gain of relevance 3 is 7, of 2 is 3, of 1 is 1; the third question has no answer and counts as 0."""
    evaluation = evaluate(searcher, beir)
    first, second, fused = evaluation.rows

    assert (evaluation.collection, evaluation.queries) == ("angles", 3)
    assert [row.name for row in evaluation.rows] == ["first", "second", "fused"]
    best = 7 + 1 / log2(3)
    # from 0°: A B (A) C; from 90°: C A B (A)
    assert astuple(first.scores) == over_three(ndcg=(1 + 7 / 2) / best + 1 / 2, recall=2, mrr=1 + 1 / 3)
    # from 0°: C B A (A); from 90°: A (A) B C
    assert astuple(second.scores) == over_three(ndcg=(7 + 1 / 2) / best + 1 / log2(3), recall=2, mrr=1 + 1 / 2)
    # the first vector weighs two in this collection, and has it its way: A B C and C A B
    assert fused.scores == first.scores
    assert all(0 < row.p50_ms <= row.p95_ms for row in evaluation.rows)


def over_three(*, ndcg: float, recall: float, mrr: float) -> Any:
    """What `astuple` of the scores is, from sums over the three questions."""
    return pytest.approx((ndcg / 3, recall / 3, mrr / 3))


def c_first(query: str, hits: Sequence[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: hit.doc_id != "C")


def test_a_reranker_has_a_row_of_its_own(searcher: Searcher, beir: Path) -> None:
    *_, reranked = evaluate(searcher, beir, rerank=c_first).rows
    assert reranked.name == "reranked"
    assert astuple(reranked.scores) == over_three(ndcg=1 + 1 / 2, recall=2, mrr=1 + 1 / 3)  # C A B, twice


def test_only_so_many_candidates_are_reranked(searcher: Searcher, beir: Path) -> None:
    *_, fused, reranked = evaluate(searcher, beir, rerank=c_first, candidates=2).rows
    assert reranked.scores == fused.scores  # from 0°, A and B come before C


def test_depth_bounds_what_a_vector_brings(searcher: Searcher, beir: Path) -> None:
    first, second, _ = evaluate(searcher, beir, depth=2).rows
    # From 0° A B and C B, one of the two relevant; from 90° C A and A A, where B was wanted.
    assert first.scores.recall_100 == second.scores.recall_100 == pytest.approx(1 / 2 / 3)


def test_a_limit_takes_the_first_questions_that_are_judged(searcher: Searcher, beir: Path) -> None:
    evaluation = evaluate(searcher, beir, limit=2)
    assert evaluation.queries == 2
    assert evaluation.rows[0].scores.recall_100 == 1.0  # without the one that has no answer


def test_the_half_that_is_held_out_can_be_asked_alone(searcher: Searcher, beir: Path) -> None:
    held_out = [question for question, *_ in JUDGEMENTS if is_held_out(question)]
    assert 0 < len(set(held_out)) < 3
    assert evaluate(searcher, beir, held_out=True).queries == len(set(held_out))


def test_a_collection_that_was_not_judged_is_told(searcher: Searcher, beir: Path, caplog: pytest.LogCaptureFixture) -> None:
    (beir / "qrels" / "test.tsv").write_text("from-0\tdoc-1\t1\nfrom-90\tdoc-2\t1\n")
    assert evaluate(searcher, beir).rows[0].scores == Scores(0.0, 0.0, 0.0)
    assert "none of the judged documents" in caplog.text


def test_tuning_is_refused_before_anything_is_asked(searcher: Searcher, beir: Path) -> None:
    with pytest.raises(ConfigurationError, match="too few"):
        evaluate(searcher, beir, limit=1, tuning=True)


def test_gains_grow_exponentially_and_unjudged_is_not_relevant() -> None:
    judge = Judge({"q": {"great": 4, "fair": 1, "bad": 0, "harmful": -1}})
    ideal = 15 + 1 / log2(3)
    assert judge.ndcg_10({"q": ["great", "fair"]})["q"] == pytest.approx(1.0)
    assert judge.ndcg_10({"q": ["fair", "great"]})["q"] == pytest.approx((1 + 15 / log2(3)) / ideal)
    assert judge.ndcg_10({"q": ["bad", "harmful", "never seen", "great"]})["q"] == pytest.approx(15 / log2(5) / ideal)
    assert judge.scores({"q": ["bad", "harmful", "never seen"]}) == judge.scores({"q": []}) == judge.scores({})


def test_cut_offs() -> None:
    judge = Judge({"q": {"wanted": 1, "too": 1}})
    others = [f"other-{number}" for number in range(200)]
    tenth = judge.scores({"q": [*others[:9], "wanted"]})
    assert astuple(tenth) == pytest.approx((1 / log2(11) / (1 + 1 / log2(3)), 0.5, 0.1))
    assert judge.scores({"q": [*others[:10], "wanted"]}) == Scores(0.0, 0.5, 0.0)
    assert judge.scores({"q": [*others[:99], "wanted", "too"]}).recall_100 == 0.5


def test_questions_keep_their_order_and_numbers_become_ids(beir: Path) -> None:
    assert list(load_beir(beir).texts) == ["from-0", "from-90", "not in the collection"]
    (beir / "queries.jsonl").write_text('{"_id": 7, "text": "seven"}\n')
    (beir / "qrels" / "test.tsv").write_text("7\td\t1\n7\td\t2\n")
    questions = load_beir(beir)
    assert (questions.texts, questions.judgements) == ({"7": "seven"}, {"7": {"d": 2}})


@pytest.mark.parametrize(
    ("file", "content", "error", "says"),
    [
        ("queries.jsonl", None, ConfigurationError, "queries.jsonl does not exist"),
        ("qrels/test.tsv", None, ConfigurationError, "test.tsv does not exist"),
        ("queries.jsonl", b'{"_id": "a"', SourceError, r"queries.jsonl:1: not JSON"),
        ("queries.jsonl", b'{"_id": "from-0", "text": "x"}\n[]\n', SourceError, r"queries.jsonl:2: .*_id"),
        ("queries.jsonl", b'{"_id": "from-0", "text": " "}\n', SourceError, "not empty"),
        ("queries.jsonl", b"\xff\xfe", SourceError, "cannot be read"),
        ("queries.jsonl", b'{"_id": "from-0", "text": "x"}\n', SourceError, "'from-90', which is not in"),
        ("qrels/test.tsv", b"", SourceError, "no judgements"),
        ("qrels/test.tsv", b"query-id\tcorpus-id\tscore\n", SourceError, "no judgements"),
        ("qrels/test.tsv", b"from-0\tA\t1\nfrom-0\tA\n", SourceError, r"test.tsv:2: .*separated by tabs"),
        ("qrels/test.tsv", b"from-0\tA\t1\nfrom-0\tB\t0.5\n", SourceError, r"test.tsv:2: .*'0.5' is not a whole number"),
        ("qrels/test.tsv", b"from-0\tA\t1\nfrom-0\tB\t100\n", SourceError, r"test.tsv:2: .*smaller scale"),
    ],
)
def test_what_is_missing_or_malformed(beir: Path, file: str, content: bytes | None, error: type[IngestError], says: str) -> None:
    if content is None:
        (beir / file).unlink()
    else:
        (beir / file).write_bytes(content)
    with pytest.raises(error, match=says):
        load_beir(beir)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingExtraError, match=r"qdrant-ingest\[eval\]"):
        Judge({})

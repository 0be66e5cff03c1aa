"""Reindexing in every store: what search sees before, during and after the swap."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from reindexing import NEW, OLD, Bench, bm25, documents

from ingest.records import Document
from ingest.reindex.reindex import roll_back
from ingest.search.searcher import Searcher
from ingest.store.contract import Store, VectorQuery
from ingest.testing import HashEncoder

SWAPS = 15

DOCUMENTS = [*documents(9), Document("no words", "!!!")]


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> Bench:
    """With a model that will be swapped, one that stays, and a sparse one that finds nothing to say of one of the chunks."""
    made = Bench(store, tmp_path, collection)
    made.run(DOCUMENTS, [OLD, HashEncoder("kept", 16), bm25()])
    return made


def found(bench: Bench, model: HashEncoder) -> dict[str, float]:
    """The best answer to each document's own text, asked by this model: what was found, and how sure it is."""
    texts = sorted({str(payload["text"]) for payload, _ in bench.content().values()})
    questions = [VectorQuery(model.key, vector, 1) for vector in model.encode_queries(texts)]
    return {answer[0].id: round(answer[0].score, 3) for answer in bench.store.query(bench.name, questions)}


def test_search_uses_the_new_models_and_after_a_rollback_the_old(bench: Bench) -> None:
    before = bench.content()
    old_answers = found(bench, OLD)
    kept, sparse = HashEncoder("kept", 16, record=True), bm25()
    report = bench.reindex([NEW, kept, sparse])
    assert kept.encoded == []
    assert report.encoded == {"swapped": len(before)}
    assert report.copied == {"kept": len(before), "bm25": len(before)}
    assert [model.key for model in report.models] == ["swapped"]
    after = bench.content()
    assert after.keys() == before.keys()
    for id_, (_, vectors) in after.items():
        assert vectors["bm25"] == before[id_][1]["bm25"]
        assert vectors["kept"] == pytest.approx(before[id_][1]["kept"], abs=1e-6)
    with Searcher.open(bench.name, bench.store, models=lambda _: [NEW, kept, sparse]) as searcher:
        question = ("Paragraph 1 of 4. " + "b4 " * 80).strip()
        best = searcher.search(question).hits[0]
        assert (best.text, best.ranks) == (question, {"swapped": 1, "kept": 1, "bm25": 1})

    assert bench.run(DOCUMENTS, [NEW, kept, sparse]).unchanged == len(DOCUMENTS)
    roll_back(bench.name, store=bench.store)
    assert bench.content() == before
    assert found(bench, OLD) == old_answers
    roll_back(bench.name, store=bench.store)
    assert bench.content() == after


def test_a_reader_of_the_name_sees_one_or_the_other_and_never_an_error(bench: Bench) -> None:
    """Every answer comes from points of one model alone, while the name is swapped to and fro."""
    bench.reindex([NEW, HashEncoder("kept", 16), bm25()])
    answers: list[frozenset[str]] = []
    errors: list[BaseException] = []
    done = threading.Event()
    [vector] = OLD.encode_queries(["anything"])
    questions = [VectorQuery("swapped", vector, 20), VectorQuery("kept", vector, 20)]

    def read() -> None:
        try:
            while not done.is_set():
                made_by = (
                    point.payload["_ingest"]["vectors"]["swapped"]
                    for answer in bench.store.query(bench.name, questions)
                    for point in answer
                )
                answers.append(frozenset(made_by))
        except BaseException as error:  # noqa: BLE001  shown below
            errors.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(SWAPS):
        roll_back(bench.name, store=bench.store)
    while len(answers) < SWAPS and not errors:
        roll_back(bench.name, store=bench.store)
    done.set()
    for reader in readers:
        reader.join()
    assert not errors
    assert {*answers} == {frozenset({OLD.fingerprint}), frozenset({NEW.fingerprint})}


def test_accepting_works_in_every_store(bench: Bench) -> None:
    vectors = {id_: vectors for id_, (_, vectors) in bench.content().items()}
    recorder = HashEncoder("swapped", 16, revision="2", record=True)
    receipt = bench.run(DOCUMENTS, [recorder, HashEncoder("kept", 16), bm25()], accept_fingerprints=True)
    assert (receipt.unchanged, recorder.encoded) == (len(DOCUMENTS), [])
    assert {id_: vectors for id_, (_, vectors) in bench.content().items()} == vectors

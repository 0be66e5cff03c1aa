"""The searcher over the embedded engine, with hash models: what it asks, what it refuses, what it hands back."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest.encode.contract import Model, RunsOn
from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.errors import (
    CollectionNotFoundError,
    ConfigurationError,
    ManifestMismatchError,
    ModelError,
    ModelUnavailableError,
    StoreError,
)
from ingest.records import DenseMatrix, Document
from ingest.search import Answer, Searcher
from ingest.search.fusion import fuse
from ingest.source.chunking import ChunkingOptions
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource

TEXTS = ["a blue chair", "a red table", "a green lamp", "an old clock"]


def two_models(keys: Sequence[str]) -> list[Model]:
    return [HashEncoder(key, dim=64, revision=key) for key in keys]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    models = two_models(["first", "second"])
    source = ListSource(
        [Document(text.split()[-1], text, metadata={"words": len(text), "set": n % 2}) for n, text in enumerate(TEXTS)]
    )
    with (
        EdgeStore(folder / "qdrant") as store,
        BatchRunner(models, lease_directory=folder / "leases") as runner,
        RejectsFile(folder / "rejects") as rejects,
    ):
        job = Job("Furniture & more", weights={"first": 2.0})
        run_job(job, [source], store=store, ensemble=Ensemble(runner), rejects=rejects)
    return folder / "qdrant"


@pytest.fixture
def searcher(root: Path) -> Iterator[Searcher]:
    with Searcher.open("furniture & MORE", root, models=two_models) as opened:
        yield opened


def test_the_text_itself_is_the_best_hit_of_every_vector(searcher: Searcher) -> None:
    (best, *rest) = searcher.search("a red table", fusion="rrf")
    assert (best.doc_id, best.text, best.ranks) == ("table", "a red table", {"first": 1, "second": 1})
    assert (best.start, best.end, best.source, best.title) == (0, 11, "list", None)
    assert (
        best.score == best.fused_score == pytest.approx(3 / 60)
    )  # 2/60 by the collection's weight of the first, 1/60 by the second
    assert len(rest) == 3


def test_models_are_loaded_as_the_searcher_is_opened_if_that_is_asked_for(root: Path) -> None:
    loaded: list[str] = []

    class Loading(HashEncoder):
        def load(self) -> None:
            loaded.append(self.key)

    def models(keys: Sequence[str]) -> list[Model]:
        return [Loading(key, dim=64, revision=key) for key in keys]

    with Searcher.open("furniture & more", root, models=models):
        assert not loaded
    with Searcher.open("furniture & more", root, models=models, preload=True) as searcher:
        assert set(loaded) == {"first", "second"}
        assert searcher.search("a red table")[0].doc_id == "table"


def test_a_model_that_cannot_be_loaded_closes_what_was_opened(root: Path) -> None:
    class Missing(HashEncoder):
        def load(self) -> None:
            raise ModelError("it is not on this machine")

    with pytest.raises(ModelError, match="not on this machine"):
        Searcher.open(
            "furniture & more", root, models=lambda keys: [Missing(key, dim=64, revision=key) for key in keys], preload=True
        )
    with Searcher.open("furniture & more", root, models=two_models) as searcher:
        assert searcher.search("a red table")


def test_limits_vectors_and_conditions(searcher: Searcher) -> None:
    assert len(searcher.search("a red table", limit=2)) == 2
    assert {name for hit in searcher.search("a red table", vectors=["second"]) for name in hit.ranks} == {"second"}
    assert {hit.doc_id for hit in searcher.search("a red table", where={"metadata.set": 0})} == {"chair", "lamp"}
    assert not searcher.search("a red table", where={"metadata.words": {"gt": 1000}})


def test_a_batch_gets_what_single_questions_get(searcher: Searcher) -> None:
    assert searcher.search_batch(TEXTS, limit=2) == [searcher.search(text, limit=2) for text in TEXTS]


def test_a_chunk_that_is_deleted_while_a_question_is_answered_is_left_out(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "qdrant")
    with EdgeStore(tmp_path / "qdrant") as store:
        searcher = Searcher.open("furniture_more", store, models=two_models)
        candidates = fuse(searcher.rankings("a red table"), {})
        store.delete(searcher.manifest.collection, [candidates[1].id])
        [hits] = searcher.hits([candidates])
        assert [hit.id for hit in hits] == [candidates[number].id for number in (0, 2, 3)]
        assert searcher.hits([[], candidates[1:2]]) == [[], []]


def test_asyncio_applications_may_ask_many_at_once(searcher: Searcher) -> None:
    async def ask() -> list[Answer]:
        return list(await asyncio.gather(*(searcher.asearch(text, limit=2) for text in TEXTS * 5)))

    assert asyncio.run(ask()) == [searcher.search(text, limit=2) for text in TEXTS] * 5


def test_rankings_are_what_each_vector_finds_by_itself(searcher: Searcher) -> None:
    rankings = searcher.rankings("a red table", depth=2)
    assert {name: (len(found), found[0].payload["doc_id"]) for name, found in rankings.items()} == {
        "first": (2, "table"),
        "second": (2, "table"),
    }


def test_dbsf_orders_by_normalized_scores(searcher: Searcher) -> None:
    hits = searcher.search("a red table", fusion="dbsf")
    assert hits[0].doc_id == "table"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_a_book_is_one_hit_when_grouped_and_a_hit_comes_with_its_neighbours(tmp_path: Path) -> None:
    chapters = [f"Chapter {number}. " + f"word{number} " * 40 for number in range(6)]
    documents = [Document("book", "\n\n".join(chapters)), Document("note", "A short note.")]
    models = two_models(["first"])
    with (
        EdgeStore(tmp_path / "qdrant") as store,
        BatchRunner(models, lease_directory=tmp_path / "leases") as runner,
        RejectsFile(tmp_path / "rejects") as rejects,
    ):
        job = Job("books", chunking=ChunkingOptions(tokens=90))
        run_job(job, [ListSource(documents)], store=store, ensemble=Ensemble(runner), rejects=rejects)
        searcher = Searcher.open("books", store, models=two_models)
        assert [hit.doc_id for hit in searcher.search(chapters[2].strip())].count("book") == 6
        assert sorted(hit.doc_id for hit in searcher.search("x", group_by="doc_id")) == ["book", "note"]
        best = searcher.search(chapters[2].strip(), limit=1, context=1)[0]
        assert (best.chunk, best.before, best.after) == (2, (chapters[1].strip(),), (chapters[3].strip(),))
        first = searcher.search(chapters[0].strip(), limit=1, context=2)[0]
        assert (first.before, first.after) == ((), (chapters[1].strip(), chapters[2].strip()))


def test_a_condition_on_a_field_that_no_chunk_has_is_told(searcher: Searcher) -> None:
    answer = searcher.search("x", where={"metadata.sett": 1, "metadata.set": 1})
    assert not answer
    [warning] = answer.warnings
    assert "no chunk of 'furniture_more' has a field metadata.sett:" in warning
    assert len(searcher.search("x", where={"metadata.sett": {"not": 1}}).warnings) == 1
    assert searcher.search("x", where={"metadata.set": 9, "metadata.words": 1}).warnings == ()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"query": "x", "fusion": "sum"}, "sum"),
        ({"query": "x", "group_by": "no field"}, "no field"),
        ({"query": "x", "context": -1}, "context"),
        ({"query": "x", "vectors": []}, "vector"),
        ({"query": " \n"}, "empty"),
        ({"query": "x", "limit": 0}, "limit"),
        ({"query": "x", "limit": 10_001}, "limit"),
        ({"query": "x", "vectors": ["third"]}, "third"),
        ({"query": "x", "where": {"metadata.set": {"near": 1}}}, "near"),
    ],
)
def test_what_cannot_be_asked(searcher: Searcher, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        searcher.search(**arguments)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize(
    "question", ["🪑🪑🪑", "مرحبا بالعالم", "the of and", "x" * 100_000, "'; DROP TABLE --", '{"must": []}', "\x00"]
)
def test_any_other_question_has_an_answer(searcher: Searcher, question: str) -> None:
    assert len(searcher.search(question)) == 4


def test_many_threads_get_what_one_gets(searcher: Searcher) -> None:
    alone = [searcher.search(text) for text in TEXTS]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(searcher.search, TEXTS * 10))
    assert together == alone * 10


def test_a_store_that_was_given_stays_open_and_one_that_was_opened_does_not(root: Path) -> None:
    with EdgeStore(root) as store:
        with Searcher.open("furniture_more", store, models=two_models) as borrowed:
            borrowed.search("x")
        assert store.count("furniture_more") == 4
    with Searcher.open("furniture_more", root, models=two_models) as owned:
        pass
    with pytest.raises(StoreError, match="closed"):
        owned.search("x")


def test_other_models_than_the_collection_was_made_with_are_refused(root: Path) -> None:
    with pytest.raises(ManifestMismatchError, match="second"):
        Searcher.open("furniture_more", root, models=lambda keys: [HashEncoder(key, dim=64, revision="first") for key in keys])
    with EdgeStore(root) as store:  # and the refusal left nothing locked
        assert store.count("furniture_more") == 4


def test_a_collection_that_is_not_there(root: Path) -> None:
    with pytest.raises(CollectionNotFoundError):
        Searcher.open("nothing", root)


class Placed(HashEncoder):
    """Writes down where it is placed."""

    def __init__(self, key: str, runs_on: RunsOn) -> None:
        super().__init__(key, dim=64, revision=key, runs_on=runs_on)
        self.places: list[str] = []

    def to_device(self, device: str) -> HashEncoder:
        self.places.append(device)
        return super().to_device(device)


def test_a_model_that_computes_elsewhere_leases_nothing_for_a_query(root: Path, tmp_path: Path) -> None:
    """Another process holds the device for longer than a query waits: only a model that computes here notices."""
    models = [Placed("first", "remote"), Placed("second", "remote")]
    leases = tmp_path / "leases"
    with Searcher.open(
        "furniture & more", root, models=lambda _keys: models, devices=("cpu",), lease_directory=leases
    ) as searcher:
        assert searcher.search("a red table")[0].doc_id == "table"
    assert [model.places for model in models] == [["remote"], ["remote"]]
    assert not leases.exists()


def test_a_model_that_is_unavailable_is_an_error_of_the_query(root: Path) -> None:
    class Down(HashEncoder):
        def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
            raise ConnectionRefusedError(111, "Connection refused")

    models = [Down(key, dim=64, revision=key, runs_on="remote") for key in ("first", "second")]
    with (
        Searcher.open("furniture & more", root, models=lambda _keys: models) as searcher,
        pytest.raises(ModelUnavailableError, match="model 'first' is unavailable"),
    ):
        searcher.search("a red table")

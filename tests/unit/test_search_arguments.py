"""What a caller passes wrongly is a `ConfigurationError` of one line that names the parameter; what is meant is understood."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from ingest.encode.contract import Model
from ingest.errors import ConfigurationError
from ingest.records import Point
from ingest.search import RerankPipeline, Searcher
from ingest.search.evaluate import evaluate
from ingest.search.rerank import rerank_or_explain
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Condition, Manifest, Store, VectorSpec
from ingest.testing import HashEncoder

VECTORS = ("first", "second")
TEXTS = ("a blue chair", "a red table", "a green lamp")


def models_of(keys: Sequence[str]) -> list[Model]:
    return [HashEncoder(key, 16) for key in keys]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    encoders = [HashEncoder(key, 16) for key in VECTORS]
    with open_store(tmp_path_factory.mktemp("arguments") / "qdrant") as opened:
        specs = tuple(VectorSpec(each.key, each.dim, each.fingerprint, space=each.space) for each in encoders)
        opened.ensure(Manifest("things", "things", specs), CollectionOptions())
        points = []
        for number, text in enumerate(TEXTS):
            payload = {
                "text": text,
                "doc_id": str(number),
                "source": "s",
                "chunk": 0,
                "start": 0,
                "end": 1,
                "metadata": {"n": number},
            }
            vectors = {each.key: each.encode_documents([text])[0] for each in encoders}
            points.append(Point(f"00000000-0000-0000-0000-00000000000{number}", vectors, payload))
        opened.upsert("things", points)
        yield opened


@pytest.fixture(scope="module")
def searcher(store: Store) -> Searcher:
    return Searcher.open("things", store, models=models_of)


def anything(of: Searcher) -> Any:
    """Without types: what is passed here is wrong on purpose."""
    return cast("Any", of)


def assert_refused(call: Callable[[], object], names: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        call()
    message = str(refused.value)
    assert names in message
    assert "\n" not in message
    assert "at least -inf" not in message
    assert len(message) < 400


HUGE = 10**5000

WRONG: list[tuple[str, str, list[Any]]] = [
    ("limit", "limit", [0, -1, 1_001, HUGE, "5", 2.5, True, None, [], float("nan"), np.True_]),
    ("where", "…", ["a" * 20_000]),
    ("where", "where", [5, b"metadata.n=1", ["metadata.n=1", 5], [None], object(), True]),
    ("where", "filter", ["", "nonsense", {"metadata.n": HUGE}, {"metadata.n": object()}, {"metadata.n": float("nan")}]),
    ("where", "filter", [Condition("metadata.n", cast("Any", "near"), 1), [Condition("metadata.n", "any", 1)]]),
    ("where", "filter", [Condition("metadata.n", "gte", "soon"), {"metadata.n": "\ud800"}]),
    ("where", "field", [{5: 1}, 'metadata."\ud800"=1', {'"\ud800"': 1}, [Condition("", "eq", 1)]]),
    ("weights", "weights", [{"third": 1}, {"first": -1}, {"first": float("nan")}, {"first": float("inf")}, {"first": "2"}]),
    ("weights", "from 0 to 1000000", [{"first": 1e308}, {"first": 1_000_001}]),
    ("boost", "Boost.weight", ["metadata.n:0..2*1e308", "metadata.n:0..2*nan", "metadata.n:0..2*0"]),
    ("boost", "must be a finite number", ["metadata.n:nan..2", "metadata.n:0..inf"]),
    ("weights", "weights", [{"first": True}, {"first": None}, {1: 1.0}, [1, 2], 0.5, "first", {"first": 0, "second": 0.0}]),
    ("vectors", "vectors", ["first", [], [1], ["third"], ["first\x00"], 5, {"first": 1}, b"first", [["first"]]]),
    ("fusion", "fusion", ["RRF", "sum", None, True, [], 5]),
    ("feedback", "feedback", ["yes", 1, None, []]),
    ("group_by", "group_by", [True, "metadata n", [], "", 5]),
    ("group_size", "group_size", [0, -1, 101, "2", None, True, 2]),
    ("offset", "offset", [-1, "1", 1.5, None, True, 9_991, HUGE]),
    ("score_threshold", "score_threshold", ["1", True, float("nan"), float("-inf"), [], HUGE]),
    ("min_rank_vectors", "min_rank_vectors", [0, "1", None, True, 1.5]),
    ("context", "context", [-1, "1", 1.0, True, None, HUGE]),
    ("rerank", "rerank", ["yes", "", None, 1, 0, [], np.True_]),
]


@pytest.mark.parametrize(("name", "says", "values"), WRONG, ids=[f"{name}-{n}" for n, (name, _, _) in enumerate(WRONG)])
def test_a_wrong_argument_is_refused_with_its_name(searcher: Searcher, name: str, says: str, values: Sequence[object]) -> None:
    for value in values:
        wrong: Any = {name: value}
        assert_refused(lambda wrong=wrong: searcher.search("a red table", **wrong), says)  # type: ignore[misc]
        assert_refused(lambda wrong=wrong: searcher.search_batch(["a red table"], **wrong), says)  # type: ignore[misc]
        assert_refused(lambda wrong=wrong: asyncio.run(searcher.asearch("a red table", **wrong)), says)  # type: ignore[misc]


@pytest.mark.parametrize("query", ["", " \n", None, 5, b"a", ["a red table"], "\ud800", object()])
def test_a_wrong_query_is_refused(searcher: Searcher, query: object) -> None:
    for ask in (searcher.search, searcher.rankings):
        assert_refused(lambda ask=ask: ask(query), "query")  # type: ignore[misc]


def test_a_search_for_nothing_says_what_is_missing(searcher: Searcher) -> None:
    assert_refused(searcher.search, "give the text to search for, or the id of a document with like")


@pytest.mark.parametrize("queries", ["a red table", b"x", None, 5, {"a": 1}, ["a", ""], ["a", 5], [["a"]], [None]])
def test_a_wrong_batch_is_refused_also_where_it_is_one_text(searcher: Searcher, queries: object) -> None:
    assert_refused(lambda: anything(searcher).search_batch(queries), "quer")


def test_a_batch_without_queries_is_checked_too(searcher: Searcher) -> None:
    assert searcher.search_batch([]) == []
    assert_refused(lambda: searcher.search_batch([], limit=0), "limit")
    assert_refused(lambda: searcher.search_batch([], vectors=["third"]), "third")


def test_what_is_meant_is_understood(searcher: Searcher) -> None:
    def found(**arguments: Any) -> set[str]:
        return {hit.doc_id for hit in anything(searcher).search("a red table", **arguments)}

    everything = {"0", "1", "2"}
    assert found(where=None) == found(where={}) == found(where=[]) == found(where=()) == everything
    assert found(where="metadata.n>=1 & metadata.n<2") == {"1"}
    assert found(where=["metadata.n>=1", "metadata.n<2"]) == {"1"}
    assert found(where=[Condition("metadata.n", "gte", 1), "metadata.n<2", {"source": "s"}]) == {"1"}
    assert found(where=Condition("metadata.n", "eq", 1)) == {"1"}
    assert found(where={"metadata.n": {"gte": 2}}) == {"2"}
    assert found(limit=np.int64(1)) == {"1"}
    assert found(weights={}) == found(weights={"first": 0}) == found(weights={"first": np.float32(0.5)}) == everything
    assert found(vectors=("second", "second"), weights={"first": 0}) == everything
    assert [len(answer) for answer in searcher.search_batch(cast("Any", (text for text in TEXTS)))] == [3, 3, 3]
    assert searcher.search("a red table", rerank=False) == searcher.search("a red table", rerank="off")


def test_true_means_on(store: Store, tmp_path: Path) -> None:
    searcher = Searcher.open("things", store, models=models_of, reranker=RerankPipeline(tmp_path / "no such model"))
    with pytest.raises(Exception, match="no such model"):
        searcher.search("a red table", rerank=True)


def test_an_unknown_argument_is_a_type_error_as_everywhere(searcher: Searcher) -> None:
    with pytest.raises(TypeError, match="filter"):
        anything(searcher).search("a red table", filter={"a": 1})


@pytest.mark.parametrize(
    ("name", "value"), [("depth", 0), ("depth", "5"), ("depth", True), ("depth", 10_001), ("vectors", "first"), ("where", 5)]
)
def test_rankings_are_checked_likewise(searcher: Searcher, name: str, value: object) -> None:
    assert_refused(lambda: anything(searcher).rankings("a red table", **{name: value}), name)


@pytest.mark.parametrize("candidates", [None, "x", [1], [[1]], ["x"], {}])
def test_hits_take_lists_of_candidates(searcher: Searcher, candidates: object) -> None:
    assert_refused(lambda: anything(searcher).hits(candidates), "candidates")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"collection": None}, "collection"),
        ({"collection": 5}, "collection"),
        ({"collection": "!"}, "!"),
        ({"store": None}, "store"),
        ({"store": 5}, "store"),
        ({"store": b"x"}, "store"),
        ({"devices": [0]}, "devices"),
        ({"devices": ["cuda:99"]}, "cuda:99"),
        ({"lease_directory": 5}, "lease_directory"),
        ({"lease_directory": ""}, "lease_directory"),
        ({"models": ["first"]}, "models"),
        ({"models": lambda keys: models_of(keys)[:1]}, "second"),
        ({"models": lambda keys: models_of(keys)[::-1]}, "second"),
        ({"reranker": "ms-marco-minilm-l6"}, "reranker"),
        ({"reranker": True}, "reranker"),
    ],
)
def test_opening_is_checked_too(store: Store, arguments: dict[str, object], names: str) -> None:
    given = {"collection": "things", "store": store, "models": models_of} | arguments
    assert_refused(lambda: Searcher.open(**given), names)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 5),
        ("model", None),
        ("devices", 5),
        ("devices", [0]),
        ("lease_timeout", "1"),
        ("lease_timeout", -1),
        ("lease_timeout", float("nan")),
        ("lease_timeout", True),
        ("lease_directory", 5),
        ("max_length", 0),
        ("max_length", "512"),
        ("max_length", True),
        ("trust_remote_code", "jina-reranker-v3"),
        ("trust_remote_code", True),
        ("cache_directory", 5),
    ],
)
def test_a_reranker_is_checked_when_it_is_made(name: str, value: object) -> None:
    assert_refused(lambda: RerankPipeline(**{name: value}), name)  # type: ignore[arg-type]


def test_a_reranker_is_checked_when_it_is_asked(searcher: Searcher) -> None:
    pipeline, hits = RerankPipeline(), searcher.search("a red table").hits
    for query in (None, 5, ["x"], "\ud800"):
        assert_refused(lambda query=query: pipeline.rerank(query, hits), "query")  # type: ignore[misc]
    for wrong in (None, "x", [1], ["x"], 5):
        assert_refused(lambda wrong=wrong: pipeline.rerank("x", wrong), "hits")  # type: ignore[misc]
    for limit in (0, -1, "5", True):
        assert_refused(lambda limit=limit: pipeline.rerank("x", hits, limit), "limit")  # type: ignore[misc]
    for device in ("cuda:99", 5):
        assert_refused(lambda device=device: pipeline.set_cross_encoder_device(device), "device")  # type: ignore[misc]
    assert_refused(lambda: rerank_or_explain("yes", lambda: pipeline, "x", hits, 1), "rerank")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("depth", 0),
        ("depth", True),
        ("limit", 0),
        ("limit", "5"),
        ("candidates", -1),
        ("candidates", 1.5),
        ("held_out", "yes"),
        ("fusion", "sum"),
        ("feedback", 1),
        ("tuning", 1),
        ("rerank", 5),
        ("rerank", "yes"),
        ("beir_dir", 5),
        ("searcher", "things"),
    ],
)
def test_an_evaluation_is_checked_before_anything_is_read(searcher: Searcher, name: str, value: object) -> None:
    given = {"searcher": searcher, "beir_dir": "/nowhere"} | {name: value}
    assert_refused(lambda: evaluate(**given), name)  # type: ignore[arg-type]


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_searcher_cannot_be_copied_and_says_what_to_do(searcher: Searcher, way: Callable[[object], object]) -> None:
    for each in (searcher, RerankPipeline()):
        with pytest.raises(TypeError, match=r"(?s)^(?!.*\n).*cannot be pickled or copied.*in each process"):
            way(each)
    answer = searcher.search("a red table")
    assert way(answer) in (answer, pickle.dumps(answer))

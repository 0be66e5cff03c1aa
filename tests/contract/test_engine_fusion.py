"""Our fusion gives what Qdrant's own fusion gives, embedded and on the real server; and weights, which old servers ignore without
a word, really act."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as engine
from qdrant_client import QdrantClient, models

from ingest.records import DenseMatrix, Point
from ingest.search.fusion import FusionMethod, fuse
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, Store, VectorQuery, VectorSpec

NAMES = ("first", "second")
DEPTH = 20


def _points() -> list[Point]:
    random = np.random.default_rng(7)
    return [
        Point(str(uuid.UUID(int=number)), {name: random.standard_normal(8).astype(np.float32) for name in NAMES}, {})
        for number in range(60)
    ]


def _fill(store: Store, collection: str) -> None:
    store.ensure(Manifest(collection, collection, tuple(VectorSpec(name, 8, "fp") for name in NAMES)), CollectionOptions())
    store.upsert(collection, _points())


def _ours(
    store: Store, collection: str, question: DenseMatrix, method: FusionMethod, **weights: float
) -> list[tuple[str, float]]:
    found = store.query(collection, [VectorQuery(name, question, DEPTH) for name in NAMES], payload=False)
    return [(each.id, each.score) for each in fuse(dict(zip(NAMES, found, strict=True)), weights, method)]


def _assert_same(ours: Sequence[tuple[str, float]], theirs: Sequence[tuple[str, float]]) -> None:
    assert dict(ours) == pytest.approx(dict(theirs), abs=2e-3)
    by_score = [score for _, score in theirs]
    assert by_score == sorted(by_score, reverse=True)
    if len({round(score, 5) for _, score in theirs}) == len(theirs):  # without ties the order is one
        assert [id_ for id_, _ in ours] == [id_ for id_, _ in theirs]


@pytest.fixture
def question() -> DenseMatrix:
    return np.random.default_rng(1).standard_normal(8).astype(np.float32)


@pytest.mark.parametrize("method", ["rrf", "dbsf"])
def test_the_real_server_fuses_to_the_same(server_url: str, collection: str, question: DenseMatrix, method: FusionMethod) -> None:
    with open_store(server_url) as store:
        _fill(store, collection)
        ours = _ours(store, collection, question, method)
    client = QdrantClient(server_url, check_compatibility=False)
    query: models.Query = (
        models.RrfQuery(rrf=models.Rrf(k=60)) if method == "rrf" else models.FusionQuery(fusion=models.Fusion.DBSF)
    )
    answer = client.query_points(
        collection,
        prefetch=[models.Prefetch(query=question.tolist(), using=name, limit=DEPTH) for name in NAMES],
        query=query,
        limit=2 * DEPTH,
    )
    client.close()
    _assert_same(ours, [(str(point.id), point.score) for point in answer.points])


@pytest.mark.parametrize("method", ["rrf", "dbsf"])
def test_the_embedded_engine_fuses_to_the_same(tmp_path: Path, question: DenseMatrix, method: FusionMethod) -> None:
    with open_store(tmp_path) as store:
        _fill(store, "fused")
        ours = _ours(store, "fused", question, method)
    shard = engine.EdgeShard.load(str(tmp_path / "fused" / "shard"))
    answer = shard.query(
        engine.QueryRequest(
            limit=2 * DEPTH,
            prefetches=[
                engine.Prefetch(limit=DEPTH, query=engine.Query.Nearest(question.tolist(), using=name)) for name in NAMES
            ],
            query=engine.Fusion.Rrf(60) if method == "rrf" else engine.Fusion.Dbsf(),  # type: ignore[arg-type]  # its stubs know Fusion's members only as unrelated classes
        )
    )
    shard.close()
    _assert_same(ours, [(str(point.id), point.score) for point in answer])


def test_weights_change_the_order_on_the_real_server(server_url: str, collection: str, question: DenseMatrix) -> None:
    with open_store(server_url) as store:
        _fill(store, collection)
        equal = _ours(store, collection, question, "rrf")
        weighted = _ours(store, collection, question, "rrf", second=5.0)
        alone = store.query(collection, [VectorQuery("second", question, DEPTH)])[0]
    assert [id_ for id_, _ in equal] != [id_ for id_, _ in weighted]
    assert weighted[0][0] == alone[0].id

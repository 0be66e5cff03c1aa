"""A process that has several collections open loads each model once."""

from __future__ import annotations

import gc
from pathlib import Path

import ingest
from ingest.search.models import ModelPool
from ingest.testing import HashEncoder


class CountingEncoder(HashEncoder):
    loads = 0

    def load(self) -> None:
        self.loads += 1


def test_the_queries_of_collections_with_the_same_model_share_it(tmp_path: Path) -> None:
    pool, encoders = ModelPool(), [CountingEncoder(), CountingEncoder(), CountingEncoder(revision="other")]
    with ingest.open_store(tmp_path / "store") as store:
        for name, encoder in zip("abc", encoders, strict=True):
            with ingest.Collection(name, store=store, models=[encoder], pool=pool, state=tmp_path) as collection:
                collection.sync([{"id": "x", "text": "Refunds."}], name="x")
        fresh = [CountingEncoder(), CountingEncoder(), CountingEncoder(revision="other")]
        opened = [
            ingest.Collection(name, store=store, models=[encoder], pool=pool, state=tmp_path)
            for name, encoder in zip("abc", fresh, strict=True)
        ]
        for each in opened:
            assert [hit.doc_id for hit in each.search("refunds")] == ["x"]
        assert [encoder.loads > 0 for encoder in fresh] == [True, False, True]
        for each in opened:
            each.close()


def test_the_second_run_takes_the_models_of_the_first(tmp_path: Path) -> None:
    pool, encoders = ModelPool(), [CountingEncoder(), CountingEncoder(), CountingEncoder(revision="other")]
    with ingest.open_store(tmp_path / "store") as store:
        for number, encoder in enumerate(encoders):
            with ingest.Collection(f"c{number}", store=store, models=[encoder], pool=pool, state=tmp_path) as collection:
                assert collection.sync([{"id": "x", "text": f"Refund {number}."}], name="x").written == 1
    assert [encoder.loads > 0 for encoder in encoders] == [True, False, True]


def test_the_model_of_queries_goes_with_its_last_searcher() -> None:
    pool = ModelPool()
    first = pool.of_queries(HashEncoder())
    assert pool.of_queries(HashEncoder()) is first
    assert pool.of_queries(HashEncoder(revision="other")) is not first
    kept = first.model
    del first
    gc.collect()
    assert pool.of_queries(HashEncoder()).model is not kept

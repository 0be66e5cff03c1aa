"""A reindex takes over what an operator set on the old collection: payload indexes, and on a server every other setting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import qdrant_edge as engine
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from reindexing import Bench

from ingest.errors import ConfigurationError
from ingest.records import Document
from ingest.store import open_store
from ingest.store.contract import CollectionOptions
from ingest.store.server.settings import check_can_be_taken_over
from ingest.store.server.wire import DEFERRED_KEY
from ingest.testing import HashEncoder

DOCUMENTS = [Document("one", "The first document."), Document("two", "The second document.")]
KEPT, OLD, NEW = HashEncoder("kept", 4), HashEncoder("swapped", 4), HashEncoder("swapped", 4, revision="2")

INDEXES: dict[str, models.PayloadSchemaType | models.PayloadSchemaParams] = {
    "source": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),  # instead of the plain one
    "metadata.tag": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True),
    "metadata.year": models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=False, range=True),
    "metadata.price": models.FloatIndexParams(type=models.FloatIndexType.FLOAT, is_principal=True),
    "metadata.place": models.PayloadSchemaType.GEO,
    "metadata.on": models.BoolIndexParams(type=models.BoolIndexType.BOOL, on_disk=True),
    "metadata.day": models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, is_principal=True),
    "metadata.key": models.UuidIndexParams(type=models.UuidIndexType.UUID, is_tenant=True),
    "text": models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        tokenizer=models.TokenizerType.WORD,
        min_token_len=2,
        lowercase=False,
        phrase_matching=True,
        stopwords=models.StopwordsSet(custom=["the"]),
    ),
}
SETTINGS: dict[str, Any] = {
    "optimizers_config": models.OptimizersConfigDiff(
        indexing_threshold=12_345, memmap_threshold=777, deleted_threshold=0.3, max_optimization_threads=2
    ),
    "collection_params": models.CollectionParamsDiff(read_fan_out_factor=2, on_disk_payload=False),
    "vectors_config": {
        "kept": models.VectorParamsDiff(on_disk=True, hnsw_config=models.HnswConfigDiff(m=5)),
        "swapped": models.VectorParamsDiff(
            quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
        ),
    },
    "hnsw_config": models.HnswConfigDiff(m=24, payload_m=7, on_disk=True),
    "quantization_config": models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16)
    ),
    "strict_mode_config": models.StrictModeConfig(enabled=True, max_timeout=50, max_points_count=1_000),
    "metadata": {"their tool": {"keys": [1, "two"]}},
}


class Watched(Bench):
    """A collection on a server, seen and set with the server's own client."""

    client: QdrantClient

    @property
    def stored_as(self) -> str:
        return self.store.aliases()[self.name]

    def settings(self, collection: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Everything that is set, payload indexes, and the metadata of other tools."""
        found = self.client.get_collection(collection)
        metadata = {key: value for key, value in (found.config.metadata or {}).items() if not key.startswith("ingest")}
        indexes = {field: (index.data_type, index.params) for field, index in found.payload_schema.items()}
        return found.config.model_dump(exclude={"metadata"}), indexes, metadata

    def create_indexes(self, collection: str) -> None:
        self.client.delete_payload_index(collection, "source", wait=True)
        for field, index in INDEXES.items():
            self.client.create_payload_index(collection, field, field_schema=index, wait=True)


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def bench(request: pytest.FixtureRequest, server: Address, collection: str, tmp_path: Path) -> Iterator[Watched]:
    with open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=request.param) as store:
        made = Watched(store, tmp_path, collection)
        made.client = QdrantClient(url=server.url, check_compatibility=False)
        made.run(DOCUMENTS, [KEPT, OLD], options=CollectionOptions(shards=2))
        yield made
        for info in store.collections():
            if info.name.startswith(collection):
                store.drop(info.name)
        made.client.close()


def test_every_setting_and_index_is_taken_over(bench: Watched) -> None:
    old = bench.stored_as
    bench.client.update_collection(old, **SETTINGS)
    bench.create_indexes(old)
    settings, indexes, metadata = bench.settings(old)
    report = bench.reindex([KEPT, NEW])
    assert report.encoded == {"swapped": len(DOCUMENTS)}
    assert bench.stored_as != old
    assert bench.settings(bench.stored_as) == (settings, indexes, metadata)
    assert settings["params"]["shard_number"] == 2
    assert indexes.keys() >= INDEXES.keys()
    assert metadata == SETTINGS["metadata"]


def test_what_is_set_while_the_new_collection_is_built_is_taken_over(bench: Watched) -> None:
    def gate(old: str, _new: str) -> None:
        bench.client.update_collection(old, **SETTINGS)
        bench.create_indexes(old)

    old = bench.stored_as
    bench.reindex([KEPT, NEW], gate=gate)
    assert bench.settings(bench.stored_as) == bench.settings(old)


def test_a_kept_collection_that_is_used_again_gets_the_settings_of_the_one_in_use(bench: Watched) -> None:
    first = bench.stored_as
    bench.client.update_collection(first, quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig()))
    bench.reindex([KEPT, NEW])
    second = bench.stored_as
    bench.client.update_collection(second, **SETTINGS | {"quantization_config": models.Disabled.DISABLED})
    bench.create_indexes(second)
    bench.reindex([KEPT, OLD])
    assert bench.stored_as == first
    assert bench.settings(first) == bench.settings(second)


def test_a_layout_that_is_asked_for_wins(bench: Watched) -> None:
    bench.client.update_collection(bench.stored_as, **SETTINGS)
    asked = CollectionOptions(on_disk=True, quantization="scalar", hnsw_m=9, hnsw_ef_construct=50, shards=3)
    bench.job = replace(bench.job, options=asked)
    bench.reindex([KEPT, NEW])
    config, _, _ = bench.settings(bench.stored_as)
    assert (config["hnsw_config"]["m"], config["hnsw_config"]["ef_construct"]) == (9, 50)
    assert (config["hnsw_config"]["payload_m"], config["params"]["shard_number"]) == (7, 3)
    assert "scalar" in config["quantization_config"]
    assert all(vector["on_disk"] for vector in config["params"]["vectors"].values())


def test_a_vector_with_a_new_name_gets_what_all_vectors_have(bench: Watched, caplog: pytest.LogCaptureFixture) -> None:
    old = bench.stored_as
    on_disk = models.VectorParamsDiff(on_disk=True)
    bench.client.update_collection(old, vectors_config={"kept": on_disk, "swapped": on_disk})
    bench.reindex([KEPT, HashEncoder("other", 3)])
    vectors = bench.settings(bench.stored_as)[0]["params"]["vectors"]
    assert {name: vector["on_disk"] for name, vector in vectors.items()} == {"kept": True, "other": True}
    bench.client.update_collection(
        bench.stored_as, vectors_config={"other": models.VectorParamsDiff(hnsw_config=models.HnswConfigDiff(m=5))}
    )
    bench.reindex([KEPT, HashEncoder("third", 3)])
    assert "the settings of the vectors other are not in the collection" in caplog.text


def test_a_threshold_that_a_load_has_lowered_is_not_taken_for_the_operators(bench: Watched) -> None:
    old = bench.stored_as
    bench.client.update_collection(old, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=12_345))
    bench.store.defer_indexing(old)
    bench.reindex([KEPT, NEW])
    config, _, _ = bench.settings(bench.stored_as)
    assert config["optimizer_config"]["indexing_threshold"] == 12_345
    assert DEFERRED_KEY not in (bench.client.get_collection(bench.stored_as).config.metadata or {})


def test_custom_sharding_is_refused_by_name(server: Address, collection: str) -> None:
    client = QdrantClient(url=server.url, check_compatibility=False)
    client.create_collection(collection, vectors_config={})
    found = client.get_collection(collection)
    client.delete_collection(collection)
    client.close()
    found.config.params.sharding_method = models.ShardingMethod.CUSTOM
    with pytest.raises(ConfigurationError, match=f"{collection} has the sharding method custom"):
        check_can_be_taken_over(found, collection)


def test_on_the_embedded_engine_payload_indexes_are_taken_over(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with open_store(root) as store:
        bench = Bench(store, tmp_path)
        bench.run(DOCUMENTS, [KEPT, OLD])
        old = store.aliases()["docs"]
    create, delete = engine.UpdateOperation.create_field_index, engine.UpdateOperation.delete_field_index
    shard = engine.EdgeShard.load(str(root / old / "shard"))
    shard.update(delete("source"))
    shard.update(create("source", engine.KeywordIndexParams(is_tenant=True)))
    shard.update(create("metadata.year", engine.IntegerIndexParams(lookup=False, range=True)))
    shard.update(create("metadata.place", engine.PayloadSchemaType.Geo))
    shard.update(create("text", engine.TextIndexParams(tokenizer=engine.TokenizerType.Word, lowercase=False)))
    shard.close()
    with open_store(root) as store:
        Bench(store, tmp_path).reindex([KEPT, NEW])
        new = store.aliases()["docs"]
    assert new != old
    was, now = (engine.EdgeShard.load(str(root / name / "shard")).info().payload_schema for name in (old, new))
    assert {field: index.data_type for field, index in now.items()} == {field: index.data_type for field, index in was.items()}
    source, year, text = (now[field].params for field in ("source", "metadata.year", "text"))
    assert isinstance(source, engine.KeywordIndexParams)
    assert isinstance(year, engine.IntegerIndexParams)
    assert isinstance(text, engine.TextIndexParams)
    assert (source.is_tenant, year.lookup, year.range, text.lowercase) == (True, False, True, False)

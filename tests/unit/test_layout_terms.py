"""The layout of a collection in the terms of each version of a server, and layouts that contradict themselves."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import qdrant_edge as engine
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from store_data import manifest, point, vectors

from ingest.errors import ConfigurationError
from ingest.run_settings import LayoutSettings
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store, VectorQuery, VectorSpec
from ingest.store.edge.wire import collection_config as embedded_config
from ingest.store.layout import Quantization
from ingest.store.server.layout import check_supported
from ingest.store.server.wire import collection_config

NEW, OLD = (1, 20), (1, 16)


def config(version: tuple[int, int], **options: Any) -> dict[str, Any]:
    made = collection_config(manifest("docs"), CollectionOptions(**options), version)
    sent = ("vectors_config", "sparse_vectors_config", "hnsw_config", "quantization_config", "payload", "id_tracker")
    found = {name: made[name] for name in (*sent, "on_disk_payload") if made.get(name) is not None}
    found["vectors_config"], found["sparse_vectors_config"] = (
        found["vectors_config"]["dense"],
        found["sparse_vectors_config"]["bm25"],
    )
    return {name: getattr(each, "model_dump", lambda each=each, **_: each)(exclude_none=True) for name, each in found.items()}


@pytest.mark.parametrize(
    ("version", "disk", "memory", "payload"),
    [
        (OLD, {"on_disk": True}, {"always_ram": False}, {"on_disk_payload": True}),
        (NEW, {"memory": "cold"}, {"memory": "cold"}, {"payload": {"memory": "cold"}}),
    ],
)
def test_what_is_on_disk_is_said_in_the_terms_of_the_server(
    version: tuple[int, int], disk: dict[str, Any], memory: dict[str, Any], payload: dict[str, Any]
) -> None:
    found = config(version, on_disk=True, quantization="binary-2", query_encoding="scalar-4", datatype="float16")
    assert found == {
        "vectors_config": {"size": 8, "distance": "Cosine", "datatype": "float16", **disk},
        "sparse_vectors_config": {"modifier": "idf", "index": disk},
        "hnsw_config": {"m": 16, "ef_construct": 100, **disk},
        "quantization_config": {"binary": {"encoding": "two_bits", "query_encoding": "scalar4bits", **memory}},
        **payload,
    }


def test_a_placement_is_sent_for_its_part_alone() -> None:
    parts = {"vectors": "cold", "graph": "pinned", "quantized": "cached", "sparse": "cached", "payload": "cached", "ids": "cold"}
    found = config(NEW, quantization="turbo-1.5", **{f"{part}_memory": placement for part, placement in parts.items()})
    assert found["vectors_config"]["memory"] == "cold"
    assert found["hnsw_config"]["memory"] == "pinned"
    assert found["quantization_config"] == {"turbo": {"bits": "bits1_5", "memory": "cached"}}
    assert found["sparse_vectors_config"]["index"] == {"memory": "cached"}
    assert (found["payload"], found["id_tracker"]) == ({"memory": "cached"}, {"memory": "cold"})


@pytest.mark.parametrize(
    ("options", "since"),
    [
        ({"quantization": "turbo-1"}, (1, 18)),
        ({"quantization": "turbo-8"}, (1, 20)),
        ({"datatype": "turbo4"}, (1, 19)),
        ({"datatype": "turbo8"}, (1, 20)),
        ({"graph_memory": "pinned"}, (1, 19)),
        ({"sparse_memory": "cached"}, (1, 19)),
        ({"ids_memory": "cold"}, (1, 20)),
        ({"quantization": "scalar", "quantized_memory": "cached"}, (1, 19)),
        ({"quantization": "scalar", "quantized_memory": "cold"}, (1, 19)),
    ],
)
def test_a_server_is_asked_only_for_what_its_version_has(options: dict[str, Any], since: tuple[int, int]) -> None:
    check_supported(CollectionOptions(**options), since, "there")
    with pytest.raises(ConfigurationError, match=rf"Qdrant has from {since[0]}\.{since[1]} on, and the server at there has"):
        check_supported(CollectionOptions(**options), (since[0], since[1] - 1), "there")


@pytest.mark.parametrize("options", [{"quantization": "turbo-8"}, {"datatype": "turbo16"}, {"ids_memory": "cold"}])
def test_the_oldest_client_has_the_terms_of_every_server(options: dict[str, Any]) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (oldest,) = (each.partition(">=")[2] for each in project["dependencies"] if each.startswith("qdrant-client>="))
    major, minor = map(int, oldest.split("."))
    check_supported(CollectionOptions(**options), (major, minor), "the oldest client's own server")


@pytest.mark.parametrize("quantization", get_args(Quantization))
def test_every_quantization_has_a_configuration(quantization: Quantization) -> None:
    found = config(NEW, quantization=quantization)
    expected = [] if quantization in ("auto", "none") else [quantization.partition("-")[0]]
    assert list(found.get("quantization_config", {})) == expected


@pytest.mark.parametrize(
    ("options", "copies"),
    [
        ({}, {"dense": (None,), "dot": (None,)}),
        ({"on_disk": True, "datatype": "float16"}, {"dense": (engine.Memory.Cold,), "dot": (engine.Memory.Cold,)}),
        ({"quantization": "none"}, {}),
        ({"quantization": "binary"}, {}),
        ({"datatype": "turbo8"}, {}),
    ],
)
def test_by_default_the_embedded_engine_builds_graphs_of_dense_vectors_from_8_bits(
    options: dict[str, Any], copies: dict[str, tuple[engine.Memory | None]]
) -> None:
    rows = VectorSpec("rows", 8, "model", "space", multi=True)
    docs = manifest("docs")
    config = embedded_config(replace(docs, vectors=(*docs.vectors, rows)), CollectionOptions(**options))
    found = {name: vector.quantization_config for name, vector in config.vectors.items() if vector.quantization_config}
    assert {name: (each.memory,) for name, each in found.items()} == copies
    assert all(isinstance(each, engine.ScalarQuantizationConfig) for each in found.values())
    assert (config.quantization_config is None) == (options.get("quantization") != "binary")
    assert config.optimizers is not None
    assert config.optimizers.indexing_threshold == (10_000 if options.get("quantization") == "binary" else 1_000_000)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"datatype": "uint8"}, "all numbers of a dense vector, which has length 1, would become 0: use float16"),
        ({"query_encoding": "scalar-8"}, "'scalar-8' is for binary vectors"),
        ({"query_encoding": "scalar-8", "quantization": "turbo-1"}, "'scalar-8' is for binary vectors"),
        ({"inline_storage": True}, "inline_storage: True requires quantized vectors"),
        ({"quantized_memory": "pinned"}, "quantized_memory: 'pinned' requires quantized vectors"),
        ({"vectors_memory": "pinned"}, "vectors_memory: 'pinned' is for graphs"),
        ({"payload_memory": "pinned"}, "payload_memory: 'pinned' is for graphs"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        CollectionOptions(**options)


def test_every_setting_of_the_layout_is_an_option() -> None:
    settings = LayoutSettings().model_dump(exclude={"distance"})
    assert CollectionOptions(**settings) == CollectionOptions()


@pytest.fixture(params=[False, True], ids=["rest", "grpc"])
def strict(request: pytest.FixtureRequest, server: Address, client: QdrantClient, collection: str) -> Iterator[Store]:
    """A store with a collection of ten points, whose searches may not oversample by more than 1.5."""
    with open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=request.param) as store:
        store.ensure(manifest(collection), CollectionOptions(quantization="scalar"))
        store.upsert(collection, [point(number) for number in range(10)])
        limits = models.StrictModeConfig(enabled=True, search_max_oversampling=1.5)
        client.update_collection(collection, strict_mode_config=limits)
        yield store
        store.drop(collection)


def test_a_search_oversamples_as_much_as_strict_mode_allows(strict: Store, collection: str) -> None:
    for _ in range(2):
        [[best]] = strict.query(collection, [VectorQuery("dense", vectors(7)["dense"], 1)])
        assert best.id == point(7).id

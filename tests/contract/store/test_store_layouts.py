"""Layouts of collections: datatypes, quantization and placements, against the embedded engine and a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from store_data import manifest, point, vectors

from ingest.errors import ConfigurationError
from ingest.store.contract import CollectionOptions, Store, VectorQuery

OFFERED = [
    CollectionOptions(datatype="float16"),
    CollectionOptions(quantization="scalar", vectors_memory="cold", quantized_memory="pinned", inline_storage=True),
    CollectionOptions(quantization="product-16", graph_memory="cold", on_disk=True),
    CollectionOptions(quantization="binary-1.5", query_encoding="scalar-8", datatype="float16"),
    CollectionOptions(quantization="binary-2", query_encoding="binary", sparse_memory="cold", payload_memory="cached"),
]
"""Layouts that every supported engine offers."""

ONLY_EMBEDDED = [
    CollectionOptions(datatype="turbo8"),
    CollectionOptions(datatype="turbo16", quantization="turbo-1.5"),
    CollectionOptions(quantization="turbo-8", quantized_memory="cached"),
    CollectionOptions(sparse_memory="cached", graph_memory="pinned", ids_memory="cold"),
]
"""Layouts that the embedded engine offers, and a server of the oldest supported version lacks."""


def assert_stores_and_finds(store: Store, collection: str, options: CollectionOptions) -> None:
    made = replace(manifest(collection), layout=options.layout)
    assert store.ensure(made, options).layout == options.layout
    store.upsert(collection, [point(number) for number in range(20)])
    store.finalize(collection)
    queries = [VectorQuery("dense", vectors(7)["dense"], 1), VectorQuery("bm25", vectors(7)["bm25"], 1)]
    assert [[hit.id for hit in hits] for hits in store.query(collection, queries)] == [[point(7).id]] * 2
    [stored] = store.retrieve(collection, [point(7).id], vectors=["dense"])
    wanted: Any = vectors(7)["dense"]
    np.testing.assert_allclose(stored.vectors["dense"], wanted / np.linalg.norm(wanted), atol=0.02)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", OFFERED)
def test_every_offered_layout_stores_and_finds(store: Store, collection: str, options: CollectionOptions) -> None:
    assert_stores_and_finds(store, collection, options)


@pytest.mark.parametrize("options", ONLY_EMBEDDED)
def test_a_layout_that_an_engine_lacks_is_refused_before_anything_is_made(
    store: Store, store_kind: str, collection: str, options: CollectionOptions
) -> None:
    if store_kind == "embedded":
        assert_stores_and_finds(store, collection, options)
        return
    with pytest.raises(ConfigurationError, match=r"which Qdrant has from 1\.\d+ on, and the server at .* has 1\.16: choose"):
        store.ensure(manifest(collection), options)
    assert collection not in [info.name for info in store.collections()]


def test_a_datatype_that_no_embedded_engine_has_is_refused(store: Store, collection: str) -> None:
    with pytest.raises(ConfigurationError, match=r"datatype 'turbo4', which"):
        store.ensure(manifest(collection), CollectionOptions(datatype="turbo4"))
    assert collection not in [info.name for info in store.collections()]


def test_an_existing_collection_keeps_its_layout(ready: Store, collection: str) -> None:
    assert ready.ensure(manifest(collection), CollectionOptions(datatype="turbo4")).layout == {}

"""`ingest collections` on what is damaged, in use, or somebody else's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import ingest, ingest_process
from qdrant_client import QdrantClient, models
from qdrant_server import Address
from store_data import manifest, point

from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Store


def fill(store: Store, collection: str) -> None:
    store.ensure(manifest(collection), CollectionOptions())
    store.upsert(collection, [point(1), point(2)])


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """An embedded store with the collections `broken`, which cannot be opened, and `whole`."""
    root = tmp_path / "store"
    with open_store(root) as store:
        fill(store, "broken")
        fill(store, "whole")
    (root / "broken" / "shard" / "edge_config.json").write_text("[{")
    return root


def test_a_damaged_collection_is_listed_with_the_reason_and_can_be_dropped(damaged: Path, tmp_path: Path) -> None:
    place = ("--store", str(damaged))
    listed = ingest("collections", "list", *place, "--json", cwd=tmp_path).json["collections"]
    assert [(info["name"], info["points"]) for info in listed] == [("broken", None), ("whole", 2)]
    assert "broken" in listed[0]["problem"]
    shown = ingest("collections", "list", *place, cwd=tmp_path)
    assert shown.code == 0
    assert "refused" in shown.out
    dropped = ingest("collections", "drop", "broken", "--yes", "--json", *place, cwd=tmp_path)
    assert dropped.json == {"dropped": "broken", "stored_as": "broken", "points": None}
    assert not (damaged / "broken").exists()


def test_a_collection_in_use_is_listed_and_not_dropped(tmp_path: Path) -> None:
    root = tmp_path / "store"
    place = ("--store", str(root))
    with open_store(root) as store:
        fill(store, "docs")
        [info] = ingest_process("collections", "list", *place, "--json", cwd=tmp_path).json["collections"]
        assert "in use by process" in info["problem"]
        dropped = ingest_process("collections", "drop", "docs", "--yes", *place, cwd=tmp_path)
        assert dropped.code == 1
        assert "in use by process" in dropped.err
        assert store.count("docs") == 2


def test_only_the_exact_name_drops_a_collection(damaged: Path, tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text('[collections.aliases]\nentire = "whole"\n')
    for spelling in ("Whole", "whole ", "entire"):
        dropped = ingest("collections", "drop", spelling, "--yes", "--store", str(damaged), cwd=tmp_path)
        assert dropped.code == 2
        assert "another spelling of whole" in dropped.err
    assert (damaged / "whole").exists()


def test_a_collection_behind_an_alias_goes_by_its_alias(tmp_path: Path) -> None:
    root = tmp_path / "store"
    place = ("--store", str(root))
    with open_store(root) as store:
        fill(store, "docs__1234abcd")
        fill(store, "docs__5678abcd")
        store.set_aliases({"docs": "docs__1234abcd", "docs__previous": "docs__5678abcd", "handbook": "docs__1234abcd"})
    listed = ingest("collections", "list", *place, "--json", cwd=tmp_path).json["collections"]
    assert [(info["name"], info["aliases"], info["stored_as"]) for info in listed] == [
        ("docs", ["handbook"], "docs__1234abcd"),
        ("docs__previous", [], "docs__5678abcd"),
    ]
    told = ingest("collections", "info", "Docs", *place, cwd=tmp_path).out
    assert "docs (stored as docs__1234abcd): 2 points" in told
    kept = ingest("collections", "drop", "docs", "--yes", *place, cwd=tmp_path)
    assert kept.code == 2
    assert "in use: the alias handbook names the same collection" in kept.err
    assert "drop it as docs__1234abcd" in kept.err
    dropped = ingest("collections", "drop", "docs__1234abcd", "--yes", *place, cwd=tmp_path)
    assert "dropped docs__1234abcd with 2 points" in dropped.out
    with open_store(root) as store:
        assert store.aliases() == {"docs__previous": "docs__5678abcd"}
        assert [info.name for info in store.collections()] == ["docs__5678abcd"]


def test_what_is_not_there_is_not_dropped(tmp_path: Path) -> None:
    dropped = ingest("collections", "drop", "nothing", "--yes", cwd=tmp_path)
    assert dropped.code == 1
    assert "no collection nothing" in dropped.err


@pytest.fixture
def foreign(server: Address) -> Iterator[str]:
    """A collection that another tool made on a server."""
    name = f"test_{uuid.uuid4().hex}"
    client = QdrantClient(url=server.url, check_compatibility=False)
    client.create_collection(name, vectors_config=models.VectorParams(size=3, distance=models.Distance.DOT))
    yield name
    assert client.delete_collection(name)
    client.close()


def test_what_another_tool_made_is_not_dropped(server: Address, foreign: str, tmp_path: Path) -> None:
    dropped = ingest("collections", "drop", foreign, "--yes", "--store", server.url, cwd=tmp_path)
    assert dropped.code == 1
    assert "not made by ingest" in dropped.err

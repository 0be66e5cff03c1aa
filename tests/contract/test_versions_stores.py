"""Documents whose version is the stored one are not read, in every store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from open_files import OLD, opened_below, write_tree
from sync_bench import SyncBench, counts, text_of, versioned

from ingest.errors import DeletionBrakeError
from ingest.records import Document
from ingest.source import open_source
from ingest.store.contract import Store
from ingest.store.schema import INGEST_FIELD
from ingest.testing import HashEncoder, VersionedSource


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> SyncBench:
    """Nothing stored."""
    return SyncBench(store, collection, tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "tree")


def test_unchanged_files_are_not_opened(bench: SyncBench, tree: Path) -> None:
    bench.run([open_source(tree)])
    before = bench.stored()
    with opened_below(tree) as opened:
        receipt = bench.run([open_source(tree)])
        assert opened() == []
    assert counts(receipt) == {"read": 4, "unchanged": 4}
    assert (receipt.skipped_unread, receipt.chunks.reused, bench.effects) == (4, 4, {})
    assert bench.stored() == before
    (tree / "b.txt").write_text("White coffee.")
    with opened_below(tree) as opened:
        receipt = bench.run([open_source(tree)])
        assert opened() == ["b.txt"]
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 4, "unchanged": 3, "updated": 1}, 3)


def test_touching_a_file_writes_its_version_alone(bench: SyncBench, tree: Path) -> None:
    bench.run([open_source(tree)])
    os.utime(tree / "b.txt", (OLD + 1, OLD + 1))
    models = [HashEncoder("hash", 8, record=True)]
    receipt = bench.run([open_source(tree)], models=models)
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 4, "unchanged": 4}, 3)
    assert (receipt.chunks.reused, receipt.chunks.written) == (4, 0)
    assert (bench.effects, models[0].encoded) == ({"set_payload": 1}, [])
    assert bench.run([open_source(tree)]).skipped_unread == 4


def test_missing_documents_are_deleted_around_unread_ones(bench: SyncBench) -> None:
    documents = [versioned(f"d{number}", "ab", "1") for number in range(30)]
    bench.full(documents)
    receipt = bench.full(documents[5:], delete_after=None)
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 25, "unchanged": 25, "deleted": 5}, 25)
    with pytest.raises(DeletionBrakeError):
        bench.full(documents[20:])
    assert len(bench.live()) == 25


DAMAGE: list[Callable[[dict[str, Any]], object]] = [
    lambda own: own.pop("version"),
    lambda own: own.update(version=7),
    lambda own: own.update(version="1"),
    lambda own: own.update(doc_chunks=3),
    lambda own: own.update(doc_chunks="2"),
    lambda own: own.update(schema=1),
    lambda own: own.update(vectors={}),
    lambda own: own.update(soft_deleted_at="2025-06-15T15:06:40+00:00"),
    lambda own: own.update(doc_key="damaged"),
]


@pytest.mark.parametrize("chunks", [1, 1000])
def test_a_document_with_a_point_that_differs_is_read(bench: SyncBench, chunks: int) -> None:
    """With few points, all versions are read at once; among many, the first documents are looked up."""
    documents = [versioned(f"d{number}", "ab", "1") for number in range(2 * len(DAMAGE))]
    documents += [versioned("e", "c", "1"), Document("f", text_of("d" * chunks))]
    bench.run(documents)
    for number, damage in enumerate(2 * DAMAGE):
        first_or_last = min if number < len(DAMAGE) else max
        point, (payload, _) = first_or_last(bench.stored(doc_id=documents[number].id).items())
        own = dict(payload[INGEST_FIELD])
        damage(own)
        bench.store.set_payload(bench.collection, {point: {**payload, INGEST_FIELD: own}})
    source = VersionedSource(documents)
    receipt = bench.run([source])
    assert source.documents_read == [each.id for each in documents if each.id != "e"]
    assert receipt.skipped_unread == 1

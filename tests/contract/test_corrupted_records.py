"""Whatever becomes of what a stored point records of itself, or of the point: a run mends it, or verifying reports it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_server import Address
from verify_bench import BOOK, DOCUMENTS, ELSEWHERE_KEY, Bench, set_made

from ingest.identity import doc_key
from ingest.records import Document
from ingest.store import open_store
from ingest.store.schema import INGEST_FIELD
from ingest.sync.plan import DeleteMode
from ingest.testing import ListSource

SOURCE = ListSource([*DOCUMENTS, Document("long", BOOK, title="A title that is too long for its share of a chunk. " * 20)])

FIELDS = ("doc_key", "doc_fp", "doc_chunks", "text_fp", "payload_fp", "vectors", "schema", "soft_deleted_at", "context")

MISSING = "missing"
LOST = "lost"


@dataclass(frozen=True, slots=True)
class Corruption:
    """`field` of the record of one point has this value now, or is missing; or the point itself is lost."""

    point: int
    field: str
    value: Any

    def do(self, bench: Bench) -> bool:
        """Return False if that would change nothing."""
        stored = bench.stored()
        point = stored[sorted(stored)[self.point % len(stored)]]
        made = dict(point.payload[INGEST_FIELD])
        if self.field == LOST:
            bench.store.delete(bench.collection, [point.id])
            return True
        if self.value == MISSING:
            made.pop(self.field, None)
        else:
            made[self.field] = self.value
        if made == point.payload[INGEST_FIELD] or (self.field not in point.payload[INGEST_FIELD] and self.value is None):
            return False
        bench.store.set_payload(bench.collection, {point.id: {**point.payload, INGEST_FIELD: made}})
        return True


values = st.one_of(
    st.sampled_from([MISSING, None, "", "x", [], ["x"], {}, {"x": "y"}, 0.5, -1, ELSEWHERE_KEY, doc_key("list", "d5")]),
    st.sampled_from(["2025-06-15T15:06:40+00:00", doc_key("list", "book")]),
    st.integers(0, 5),
)
corruptions = st.builds(Corruption, st.integers(0, 30), st.sampled_from([*FIELDS, LOST]), values)
modes = st.sampled_from([DeleteMode.INCREMENTAL, DeleteMode.FULL])


def check(bench: Bench, before: dict[str, object], corruption: Corruption, mode: DeleteMode) -> None:
    if not corruption.do(bench):
        return
    corrupted = bench.everything()
    assert not bench.verify(SOURCE).clean or corrupted == before
    receipt = bench.run(SOURCE, delete=mode, max_delete=1.0)
    mended = bench.everything() == before
    assert mended or not receipt.balanced or not bench.verify(SOURCE).clean
    if not mended:
        assert bench.verify(SOURCE, repair=True, max_delete=1.0).repaired
        assert bench.everything() == before


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Bench]:
    with open_store(tmp_path / "store") as store:
        bench = Bench(store, tmp_path)
        assert bench.run(SOURCE).balanced
        yield bench


@pytest.fixture
def served(server: Address, collection: str, tmp_path: Path) -> Iterator[Bench]:
    with open_store(server.url) as store:
        bench = Bench(store, tmp_path, collection)
        assert bench.run(SOURCE).balanced
        yield bench
        store.drop(collection)


@settings(UNHURRIED, max_examples=30)
@given(corruption=corruptions, mode=modes)
def test_on_the_embedded_engine_no_corruption_goes_unnoticed(embedded: Bench, corruption: Corruption, mode: DeleteMode) -> None:
    check(embedded, embedded.everything(), corruption, mode)


@settings(UNHURRIED, max_examples=10)
@given(corruption=corruptions, mode=modes)
def test_on_a_server_no_corruption_goes_unnoticed(served: Bench, corruption: Corruption, mode: DeleteMode) -> None:
    check(served, served.everything(), corruption, mode)


@pytest.mark.parametrize("mode", [DeleteMode.INCREMENTAL, DeleteMode.FULL])
def test_a_lost_chunk_is_noticed_although_another_records_that_there_was_none(embedded: Bench, mode: DeleteMode) -> None:
    before = embedded.everything()
    chunks = sum(point.payload["doc_id"] == "book" for point in embedded.stored().values())
    for kept in range(chunks - 1):
        set_made(doc_chunks=chunks - 1)(embedded.store, embedded.collection, embedded.point("book", kept))
        embedded.store.delete(embedded.collection, [embedded.point("book", chunks - 1).id])
        assert not embedded.verify(SOURCE, sample="all").clean
        receipt = embedded.run(SOURCE, delete=mode)
        assert (receipt.updated, receipt.balanced) == (1, True)
        assert embedded.everything() == before

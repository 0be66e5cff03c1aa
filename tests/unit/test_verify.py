"""Verifying, damage by damage, on the embedded engine; and what it must never do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from verify_bench import (
    DOCUMENTS,
    ELSEWHERE_KEY,
    Bench,
    Damager,
    counts,
    drop_vector,
    remove,
    replace_payload,
    set_fields,
    set_made,
    set_vector,
    sparse,
    unit,
)

from ingest.errors import (
    CollectionNotFoundError,
    DeletionBrakeError,
    IngestError,
    ManifestMismatchError,
    SourceError,
    StoreUnavailableError,
)
from ingest.identity import doc_key
from ingest.records import Document, Point, Rejected
from ingest.store.edge.store import EdgeStore
from ingest.testing import Crash, FlakyStore, HashEncoder, ListSource, Moment
from ingest.verify.damage import FindingKind

SOURCE = ListSource(DOCUMENTS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path / "qdrant") as opened:
        yield opened


@pytest.fixture
def bench(store: EdgeStore, tmp_path: Path) -> Bench:
    made = Bench(store, tmp_path)
    assert made.run(SOURCE).balanced
    return made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One collection for tests that leave it as it was."""
    folder = tmp_path_factory.mktemp("shared")
    with EdgeStore(folder / "qdrant") as store:
        made = Bench(store, folder)
        assert made.run(SOURCE).balanced
        yield made


DAMAGES: dict[str, tuple[Damager, dict[str, int]]] = {
    "a point is gone": (remove, {"missing_points": 1}),
    "a dense vector is zeros": (set_vector("first", np.zeros(16, np.float32)), {"damaged_vectors": 1}),
    "a dense vector is not finite": (set_vector("first", np.full(16, np.inf, np.float32)), {"damaged_vectors": 1}),
    "a dense vector is another's": (set_vector("second", unit(8)), {"wrong_vectors": 1}),
    "a sparse vector is another's": (set_vector("bm25", sparse({1: 1.0, 2: 1.0})), {"wrong_vectors": 1}),
    "a sparse vector is not finite": (set_vector("bm25", sparse({1: float("nan")})), {"damaged_vectors": 1}),
    "a sparse vector has a term twice": (
        set_vector("bm25", replace(sparse({1: 1.0, 2: 2.0}), indices=np.array([1, 1], np.uint32))),
        {"damaged_vectors": 1},
    ),
    "a dense vector is missing": (drop_vector("first"), {"missing_vectors": 1}),
    "a sparse vector is missing": (drop_vector("bm25"), {"missing_vectors": 1}),
    "the text was edited": (set_fields(text="edited"), {"damaged_payloads": 1}),
    "the metadata was edited": (set_fields(metadata={"number": 7.5}), {"damaged_payloads": 1}),
    "the metadata is none": (set_fields(metadata="gone"), {"damaged_payloads": 1}),
    "a title was added": (set_fields(title="new"), {"damaged_payloads": 1}),
    "the offsets were edited": (set_fields(start=1), {"damaged_payloads": 1}),
    "the id was edited": (set_fields(doc_id="nobody"), {"damaged_payloads": 1}),
    "the source was edited": (set_fields(source="nobody"), {"damaged_payloads": 1}),
    "the text's digest was edited": (set_made(text_fp="0" * 32), {"damaged_payloads": 1}),
    "the payload's digest was edited": (set_made(payload_fp="0" * 32), {"damaged_payloads": 1}),
    "the document's digest was edited": (set_made(doc_fp="0" * 32), {"changed_documents": 1}),
    "the document's key was edited": (set_made(doc_key=ELSEWHERE_KEY), {"damaged_payloads": 1}),
    "the document's key is another document's": (set_made(doc_key=doc_key("list", "d5")), {"damaged_payloads": 1}),
    "the document's key is no key": (set_made(doc_key="none"), {"damaged_payloads": 1}),
    "the schema is another": (set_made(schema=0), {"damaged_payloads": 1}),
    "a vector was made by another model": (set_made(vectors={}), {"foreign_vectors": 3}),
    "who made the vectors is nonsense": (set_made(vectors="nobody"), {"foreign_vectors": 3}),
    "the fingerprint is gone": (
        replace_payload(lambda payload: {name: value for name, value in payload.items() if name != "_ingest"}),
        {"damaged_payloads": 1},
    ),
    "the payload is gone": (replace_payload(lambda _: {}), {"missing_points": 1}),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_a_damage_is_named_once_and_mended(shared: Bench, damage: Damager, expected: dict[str, int]) -> None:
    before = shared.everything()
    for place in (("d1", 0), ("book", 1)):
        damage(shared.store, shared.collection, shared.point(*place))
    damaged = shared.everything()
    twice = {kind: 2 * count for kind, count in expected.items()}
    found = shared.verify(SOURCE, sample="all")
    assert (counts(found), found.clean, found.errors) == (twice, False, ())
    assert shared.everything() == damaged
    repaired = shared.verify(SOURCE, repair=True, sample="all")
    assert (counts(repaired), repaired.repaired, repaired.errors) == (twice, True, ())
    assert shared.everything() == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hits=st.lists(st.tuples(st.integers(0, 100), st.sampled_from(sorted(DAMAGES))), max_size=8))
def test_one_repair_mends_any_damages_together(shared: Bench, hits: list[tuple[int, str]]) -> None:
    before = shared.everything()
    for number, name in hits:
        points = sorted(shared.stored().values(), key=lambda point: point.id)
        DAMAGES[name][0](shared.store, shared.collection, points[number % len(points)])
    shared.verify(SOURCE, repair=True, sample="all", max_delete=1.0)
    assert shared.everything() == before
    assert shared.verify(SOURCE, sample="all").clean


def test_a_point_that_hid_under_another_source_is_made_anew_for_nobody_looked_at_it(shared: Bench) -> None:
    before = shared.everything()
    set_vector("first", np.zeros(16, np.float32))(shared.store, shared.collection, shared.point("d1"))
    set_fields(source="nobody")(shared.store, shared.collection, shared.point("d1"))
    assert counts(shared.verify(SOURCE, repair=True)) == {"damaged_payloads": 1}
    assert shared.everything() == before


def test_what_changed_in_the_source_is_what_a_run_would_do(bench: Bench) -> None:
    changed = ListSource(
        [*DOCUMENTS[:5], replace(DOCUMENTS[5], text="Another text."), DOCUMENTS[6], Document("new", "New here.")]
    )
    assert counts(bench.verify(changed)) == {"changed_documents": 1, "missing_points": 1}
    assert bench.verify(changed, repair=True).repaired
    assert sorted(bench.first.encoded) == ["Another text.", "New here."]
    mended = bench.everything()
    assert bench.run(changed).updated == 0
    assert bench.everything() == mended


def test_a_document_that_is_gone_is_an_orphan_and_deleted(bench: Bench) -> None:
    shorter = ListSource(DOCUMENTS[:-1])
    found = bench.verify(shorter)
    assert (counts(found), found.repairs.deleted) == ({"orphans": 1}, 0)
    repaired = bench.verify(shorter, repair=True)
    assert (repaired.repaired, repaired.repairs.deleted) == (True, 1)
    assert bench.verify(shorter).clean


def test_a_document_that_is_gone_is_hidden_first_where_the_job_says_so(bench: Bench) -> None:
    shorter = ListSource(DOCUMENTS[:-1])
    repaired = bench.verify(shorter, repair=True, delete_after=3600.0)
    assert (counts(repaired), repaired.repairs.soft_deleted, repaired.repairs.deleted) == ({"orphans": 1}, 1, 0)
    waiting = bench.verify(shorter, delete_after=3600.0)
    assert (waiting.clean, waiting.soft_deleted) == (True, 1)
    back = bench.verify(SOURCE, delete_after=3600.0)
    assert counts(back) == {"changed_documents": 1}
    assert bench.verify(SOURCE, repair=True, delete_after=3600.0).repaired
    assert bench.verify(SOURCE, sample="all").clean


def test_the_brake_holds_and_all_but_the_deletes_is_mended(bench: Bench) -> None:
    set_vector("first", np.zeros(16, np.float32))(bench.store, bench.collection, bench.point("book"))
    points = bench.stored().keys()
    with pytest.raises(DeletionBrakeError) as stopped:
        bench.verify(ListSource(DOCUMENTS[:1]), repair=True)
    assert stopped.value.doc_ids == ("d0", "d1", "d2", "d3", "d4", "d5")
    assert bench.stored().keys() == points
    assert bench.verify(SOURCE).clean


def test_the_old_text_of_an_edited_document_is_mended_although_the_brake_holds(bench: Bench) -> None:
    edited = replace(DOCUMENTS[0], text="Another text.")
    with pytest.raises(DeletionBrakeError):
        bench.verify(ListSource([edited]), repair=True)
    assert bench.verify(ListSource([edited, *DOCUMENTS[1:]])).clean


def test_a_source_that_dies_half_way_deletes_nothing(bench: Bench) -> None:
    before = bench.everything()
    with pytest.raises(SourceError):
        bench.verify(ListSource([*DOCUMENTS[:2], Crash()]), repair=True, max_delete=1.0)
    assert bench.everything() == before


def test_what_a_broken_record_may_stand_for_is_kept(bench: Bench) -> None:
    known = ListSource([*DOCUMENTS[:-1], Rejected("line 7", "the text is empty", doc_id="d5")])
    found = bench.verify(known, repair=True)
    assert (found.clean, found.rejected, len(found.errors)) == (True, 1, 1)
    unknown = bench.verify(ListSource([*DOCUMENTS[:-1], Rejected("line 7", "not JSON")]), repair=True)
    assert (unknown.clean, unknown.repairs.deleted) == (True, 0)
    assert any("no readable id" in error for error in unknown.errors)
    elsewhere = Rejected("line 7", "not JSON", id_prefix="d4")
    assert counts(bench.verify(ListSource([*DOCUMENTS[:-1], elsewhere]))) == {"orphans": 1}
    its_own = bench.verify(ListSource([*DOCUMENTS[:-1], replace(elsewhere, id_prefix="d")]), repair=True)
    assert (its_own.clean, its_own.repairs.deleted) == (True, 0)
    assert any("no document whose id begins with 'd' was deleted" in error for error in its_own.errors)
    assert bench.verify(SOURCE).clean


def test_other_sources_and_other_tools_are_left_alone(bench: Bench) -> None:
    bench.run(ListSource(DOCUMENTS[1:3], name="other"))
    numbered = Point("33333333-3333-4333-8333-333333333333", {"first": np.zeros(16, np.float32)}, {"source": "list"})
    bench.store.upsert(bench.collection, [numbered])
    set_vector("first", np.zeros(16, np.float32))(
        bench.store, bench.collection, next(p for p in bench.stored().values() if p.payload["source"] == "other")
    )
    before = bench.everything()
    found = bench.verify(ListSource(DOCUMENTS[:-1]), repair=True)
    assert (counts(found), found.others, found.repairs.deleted) == ({"orphans": 1}, 1, 1)
    after = bench.everything()
    assert {id_: before[id_] for id_ in after} == after
    both = bench.verify(ListSource(DOCUMENTS[:-1]), ListSource(DOCUMENTS[1:3], name="other"), repair=True)
    assert (counts(both), both.repaired) == ({"damaged_vectors": 1}, True)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("effect", ["upsert", "update_vectors", "set_payload", "delete"])
def test_an_interrupted_repair_is_finished_by_the_next(bench: Bench, effect: str, moment: Moment) -> None:
    before, store, collection = bench.everything(), bench.store, bench.collection
    remove(store, collection, bench.point("d1"))
    set_vector("second", np.zeros(8, np.float32))(store, collection, bench.point("d2"))
    set_fields(text="edited")(store, collection, bench.point("book", 1))
    planted = replace(bench.point("d3"), id="22222222-2222-4222-8222-222222222222")
    store.upsert(collection, [Point(planted.id, planted.vectors, planted.payload)])
    error = StoreUnavailableError("the wire was cut")
    flaky = FlakyStore(store, lambda name, _: (moment, error) if name == effect else None)
    with pytest.raises(StoreUnavailableError):
        bench.verify(SOURCE, repair=True, store=flaky)
    assert flaky.calls[effect] == 1
    bench.verify(SOURCE, repair=True)
    assert bench.verify(SOURCE).clean
    assert bench.everything() == before


def test_a_sample_is_as_large_as_asked_for_and_finds_what_it_meets(bench: Bench) -> None:
    assert bench.verify(SOURCE, sample=3).sampled == 3
    assert len(bench.first.encoded) == 3
    assert bench.verify(SOURCE, sample=10_000).sampled == len(bench.stored())
    for point in bench.stored().values():
        set_vector("second", unit(8))(bench.store, bench.collection, point)
    assert bench.verify(SOURCE).clean
    assert counts(bench.verify(SOURCE, sample=3)) == {"wrong_vectors": 3}


def test_examples_are_few_however_much_is_found(bench: Bench) -> None:
    bench.run(ListSource([Document(f"d{n}", f"text {n}") for n in range(50)], name="many"))
    finding = bench.verify(ListSource([], name="many")).findings[FindingKind.ORPHANS]
    assert (finding.count, len(finding.examples)) == (50, 20)


def test_a_text_that_cannot_be_encoded_is_not_called_repaired(bench: Bench) -> None:
    set_vector("first", np.zeros(16, np.float32))(bench.store, bench.collection, bench.point("d1"))
    vector = HashEncoder.encode_documents

    def broken(texts: list[str]) -> object:
        return vector(bench.first, texts) * np.nan

    bench.first.encode_documents = broken  # type: ignore[method-assign,assignment]  # a model that has gone wrong
    found = bench.verify(SOURCE, repair=True)
    assert (counts(found), found.repaired, len(found.errors)) == ({"damaged_vectors": 1}, False, 1)


REFUSED: dict[str, tuple[Callable[[Bench], object], type[IngestError]]] = {
    "another revision": (
        lambda bench: bench.verify(SOURCE, models=[HashEncoder("first", 16, revision="2"), *bench.models()[1:]]),
        ManifestMismatchError,
    ),
    "fewer models": (lambda bench: bench.verify(SOURCE, models=bench.models()[:2]), ManifestMismatchError),
    "other chunks": (
        lambda bench: bench.verify(SOURCE, chunking=replace(bench.job().chunking, tokens=50)),
        ManifestMismatchError,
    ),
    "no such collection": (lambda bench: replace(bench, collection="none").verify(SOURCE), CollectionNotFoundError),
}


@pytest.mark.parametrize(("attempt", "error"), REFUSED.values(), ids=REFUSED)
def test_the_wrong_collection_or_models_are_refused_before_the_source_is_read(
    bench: Bench, attempt: Callable[[Bench], object], error: type[IngestError]
) -> None:
    reads = SOURCE.reads
    with pytest.raises(error):
        attempt(bench)
    assert SOURCE.reads == reads

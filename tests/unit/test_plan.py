"""The plan: by table, and by property against a simulated store."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.records import Fingerprint
from ingest.sync.plan import (
    ChunkAction,
    DeleteMode,
    DocumentPlan,
    MissingAction,
    is_unchanged,
    plan_document,
    plan_missing_document,
)

MODELS = {"a": "a1", "b": "b1"}
GONE = "2025-06-15T15:06:40+00:00"


def point(id_: str, **changes: object) -> Fingerprint:
    base = Fingerprint(id_, doc_key="doc", doc_fp="v1", doc_chunks=1, text_fp="t1", payload_fp="p1", vectors=MODELS)
    return replace(base, **changes)  # type: ignore[arg-type]  # changes are the record's own fields


@pytest.mark.parametrize(
    ("stored", "action"),
    [
        pytest.param(None, ChunkAction("1", "point", ("a", "b"), new=True), id="not stored"),
        pytest.param(point("1"), ChunkAction("1", "nothing"), id="equal"),
        pytest.param(point("1", text_fp="t0"), ChunkAction("1", "point", ("a", "b")), id="other context"),
        pytest.param(point("1", payload_fp="p0"), ChunkAction("1", "payload"), id="metadata"),
        pytest.param(point("1", doc_fp="v0"), ChunkAction("1", "payload"), id="another part of the document"),
        pytest.param(point("1", soft_deleted_at=GONE), ChunkAction("1", "payload"), id="came back"),
        pytest.param(point("1", vectors={"a": "a1", "b": "b0"}), ChunkAction("1", "vectors", ("b",)), id="one model swapped"),
        pytest.param(point("1", vectors={"a": "a1"}), ChunkAction("1", "vectors", ("b",)), id="one model new"),
        pytest.param(point("1", vectors={"a": "a0", "b": "b0"}), ChunkAction("1", "point", ("a", "b")), id="all models swapped"),
        pytest.param(point("1", vectors={**MODELS, "c": "c1"}), ChunkAction("1", "nothing"), id="a vector beside them"),
        pytest.param(
            point("1", vectors={"a": "a1", "c": "c1"}),
            ChunkAction("1", "vectors", ("b",), others={"c": "c1"}),
            id="one new, one beside",
        ),
        pytest.param(
            point("1", doc_fp="v0", vectors={**MODELS, "c": "c1"}), ChunkAction("1", "payload", others={"c": "c1"}), id="beside"
        ),
        pytest.param(point("1", vectors={"c": "c1"}), ChunkAction("1", "point", ("a", "b")), id="only another model"),
    ],
)
def test_a_chunk_costs_only_what_changed(stored: Fingerprint | None, action: ChunkAction) -> None:
    plan = plan_document([point("1")], [stored] if stored else [], DeleteMode.INCREMENTAL)
    assert plan.actions == (action,)
    assert plan.stale == ()


def test_chunks_the_document_no_longer_has_are_stale() -> None:
    assert plan_document([point("1")], [point("1"), point("2")], DeleteMode.INCREMENTAL) == DocumentPlan(
        "updated", (ChunkAction("1", "nothing"),), ("2",)
    )


def test_without_deletes_nothing_is_stale() -> None:
    plan = plan_document([point("1")], [point("1"), point("2", doc_fp="v0")], DeleteMode.NONE)
    assert (plan.status, plan.stale) == ("unchanged", ())


@pytest.mark.parametrize(
    ("stored", "delete", "expected"),
    [
        pytest.param([point("1")], DeleteMode.INCREMENTAL, True, id="all there"),
        pytest.param([], DeleteMode.INCREMENTAL, False, id="not stored"),
        pytest.param([point("1", doc_chunks=2)], DeleteMode.INCREMENTAL, False, id="a crash left half"),
        pytest.param([point("1", doc_fp="v0")], DeleteMode.INCREMENTAL, False, id="older version"),
        pytest.param([point("1", soft_deleted_at=GONE)], DeleteMode.NONE, False, id="came back"),
        pytest.param([point("1", vectors={"a": "a1", "b": "b0"})], DeleteMode.INCREMENTAL, False, id="model swapped"),
        pytest.param([point("1"), point("2", doc_fp="v0")], DeleteMode.INCREMENTAL, False, id="leftovers"),
        pytest.param([point("1"), point("2", doc_fp="v0")], DeleteMode.NONE, True, id="leftovers that may stay"),
    ],
)
def test_unchanged_documents_are_known_before_they_are_chunked(
    stored: list[Fingerprint], delete: DeleteMode, expected: bool
) -> None:
    assert is_unchanged("v1", stored, MODELS, delete) is expected


@pytest.mark.parametrize(
    ("soft_deleted_at", "delete_after", "action"),
    [
        pytest.param(None, None, MissingAction.PURGE, id="newly gone, no grace"),
        pytest.param(50.0, None, MissingAction.PURGE, id="hidden, no grace any more"),
        pytest.param(None, 10.0, MissingAction.SOFT_DELETE, id="newly gone"),
        pytest.param(None, 0.0, MissingAction.SOFT_DELETE, id="newly gone, until the next run"),
        pytest.param(90.5, 10.0, MissingAction.KEEP, id="hidden, not yet due"),
        pytest.param(90.0, 10.0, MissingAction.PURGE, id="due"),
        pytest.param(100.5, 0.0, MissingAction.KEEP, id="hidden by a clock that was ahead"),
    ],
)
def test_what_becomes_of_a_document_that_is_gone(
    soft_deleted_at: float | None, delete_after: float | None, action: MissingAction
) -> None:
    assert plan_missing_document(soft_deleted_at, 100.0, delete_after) is action


ids = st.sampled_from("123456")
fingerprints = st.builds(
    point,
    ids,
    doc_fp=st.sampled_from(["v0", "v1"]),
    text_fp=st.sampled_from(["t0", "t1"]),
    payload_fp=st.sampled_from(["p0", "p1"]),
    vectors=st.dictionaries(st.sampled_from("ab"), st.sampled_from(["x", "y"])),
    soft_deleted_at=st.sampled_from([None, GONE]),
)
documents = st.lists(fingerprints, unique_by=lambda each: each.id)


@given(wanted=st.lists(ids, unique=True, min_size=1), stored=documents)
def test_applying_a_plan_makes_stored_equal_wanted_and_planning_again_finds_nothing(
    wanted: list[str], stored: list[Fingerprint]
) -> None:
    desired = [point(id_, doc_chunks=len(wanted)) for id_ in wanted]
    plan = plan_document(desired, stored, DeleteMode.INCREMENTAL)

    store = {each.id: each for each in stored}
    for want, action in zip(desired, plan.actions, strict=True):
        if action.write == "point":
            assert action.new == (want.id not in store)
            assert set(action.vectors) == set(MODELS)
            store[want.id] = want
        elif action.write != "nothing":
            kept = {name: fp for name, fp in store[want.id].vectors.items() if name not in action.vectors}
            store[want.id] = replace(want, vectors=kept | {name: MODELS[name] for name in action.vectors})
    for id_ in plan.stale:
        del store[id_]

    assert sorted(store.values(), key=lambda each: each.id) == sorted(desired, key=lambda each: each.id)
    assert is_unchanged("v1", list(store.values()), MODELS, DeleteMode.INCREMENTAL)
    assert plan_document(desired, list(store.values()), DeleteMode.INCREMENTAL).status == "unchanged"


@given(stored=documents)
def test_a_crash_that_left_a_part_of_the_points_is_never_taken_for_unchanged(stored: list[Fingerprint]) -> None:
    complete = [point(id_, doc_chunks=7) for id_ in "1234567"]
    held = [each for each in complete if each.id not in {other.id for other in stored}][:6]
    assert not is_unchanged("v1", held, MODELS, DeleteMode.INCREMENTAL)

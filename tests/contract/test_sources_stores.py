"""The sources of a collection, listed, forgotten and moved, in every store there is."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from sync_bench import DAY, FIRST_SECOND, SyncBench, counts, document, paragraph

from ingest.errors import ConfigurationError, StoreError
from ingest.records import Document, Source
from ingest.source import open_source
from ingest.store.contract import Store
from ingest.store.similarity import NOTE
from ingest.sync.deletion import undelete
from ingest.sync.moving import Moved, move_source
from ingest.sync.stored_sources import MAX_NOTES, Forgotten, StoredSource, forget_source, list_sources, note_runs
from ingest.testing import FlakyStore, HashEncoder, ListSource, Moment

DOCUMENTS = [
    document("d0", "abc", year=1999),
    document("d1", "d"),
    Document("twice", "\n\n".join([paragraph("x"), paragraph("y")] * 3), title="Texts that repeat"),
]


@pytest.fixture
def bench(store: Store, collection: str, tmp_path: Path) -> SyncBench:
    """All documents stored as the source `old`, and of another one."""
    made = SyncBench(store, collection, tmp_path)
    made.run([ListSource(DOCUMENTS, name="old"), ListSource(DOCUMENTS[:1], name="other")])
    return made


def test_sources_are_listed_with_what_is_stored_and_when_they_were_last_read(bench: SyncBench, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("A note.")
    bench.clock += 60
    bench.run([open_source(str(tmp_path / "notes"), name="notes")])
    bench.full([ListSource(DOCUMENTS[1:], name="old")])
    assert list_sources(bench.store, bench.collection) == [
        StoredSource("notes", 1, 1, 0, "2025-06-15T15:07:40+00:00", str(tmp_path / "notes")),
        StoredSource("old", 3, 10, 1, "2025-06-15T15:07:40+00:00", None),
        StoredSource("other", 1, 3, 0, FIRST_SECOND, None),
    ]


def test_no_more_than_the_newest_notes_are_kept(bench: SyncBench) -> None:
    for number in range(3):
        sources = [ListSource([], name=f"s{number}-{each}") for each in range(MAX_NOTES - 2)]
        note_runs(bench.store, bench.collection, sources, bench.clock + number + 1)
    noted = [source for source in list_sources(bench.store, bench.collection) if source.last_run is not None]
    assert len(noted) == len(bench.store.notes(bench.collection).keys() - {NOTE}) == MAX_NOTES
    assert {source.name.partition("-")[0] for source in noted} == {"s1", "s2"}
    note_runs(bench.store, bench.collection, [ListSource([], name="x" * 5_000)], bench.clock + 9)
    assert len(bench.store.notes(bench.collection).keys() - {NOTE}) <= MAX_NOTES


def test_notes_are_kept_key_by_key_beside_the_manifest(bench: SyncBench) -> None:
    store, collection = bench.store, bench.collection
    manifest, before = store.manifest(collection), store.notes(collection)
    store.update_notes(collection, {"one": {"a": [1, "ü"]}, "two": "text"})
    store.update_notes(collection, {"two": None, "three": 3, "never": None})
    assert store.notes(collection) == {**before, "one": {"a": [1, "ü"]}, "three": 3}
    assert store.manifest(collection) == manifest


def test_a_source_is_forgotten_at_once(bench: SyncBench) -> None:
    other = bench.stored(source="other")
    assert forget_source(bench.store, bench.collection, "old") == Forgotten(bench.collection, "old", 3, 0, 0, 10)
    assert bench.stored() == other
    assert [source.name for source in list_sources(bench.store, bench.collection)] == ["other"]
    with pytest.raises(ConfigurationError, match="has no source old"):
        forget_source(bench.store, bench.collection, "old")


def test_a_source_is_forgotten_after_a_time_in_which_it_can_be_brought_back(bench: SyncBench) -> None:
    before = bench.stored()

    def forget() -> tuple[int, int, int]:
        done = forget_source(bench.store, bench.collection, "old", delete_after="7d", now=lambda: bench.clock)
        return done.soft_deleted, done.in_grace_period, done.deleted

    assert forget() == (3, 0, 0)
    assert bench.soft_deleted().keys() == {"d1", "twice"}  # another source has d0, too
    assert forget() == (0, 3, 0)
    assert undelete(bench.store, bench.collection, ["old"]) == 3
    assert bench.stored() == before
    assert forget() == (3, 0, 0)
    bench.clock += 7 * DAY
    assert forget() == (0, 0, 3)
    assert {payload["source"] for payload, _ in bench.stored().values()} == {"other"}


def test_a_moved_source_is_what_a_fresh_run_makes_and_nothing_is_encoded(bench: SyncBench, store: Store, tmp_path: Path) -> None:
    encoder = HashEncoder("hash", 8, record=True)
    receipt = bench.run([ListSource(DOCUMENTS, name="new")], models=[encoder], moved_from="old")
    assert counts(receipt) == {"read": 3, "unchanged": 3}
    assert (receipt.moved, receipt.chunks.written, encoder.encoded) == (10, 0, [])
    fresh = SyncBench(store, f"{bench.collection}_fresh", tmp_path)
    fresh.run([ListSource(DOCUMENTS, name="new"), ListSource(DOCUMENTS[:1], name="other")])
    assert bench.stored() == fresh.stored()
    assert [source.name for source in list_sources(store, bench.collection)] == ["new", "other"]
    again = bench.run([ListSource(DOCUMENTS, name="new")], models=[encoder], moved_from="old")
    assert (counts(again), again.moved, encoder.encoded) == ({"read": 3, "unchanged": 3}, 0, [])


def test_a_moved_source_keeps_what_is_soft_deleted_and_edits_are_encoded_alone(bench: SyncBench) -> None:
    bench.full([ListSource(DOCUMENTS[1:], name="old")])
    assert move_source(bench.store, bench.collection, "old", "new") == Moved(10, 0)
    gone = {payload["_ingest"].get("soft_deleted_at") for payload, _ in bench.stored(source="new", doc_id="d0").values()}
    assert gone == {FIRST_SECOND}
    encoder = HashEncoder("hash", 8, record=True)
    receipt = bench.run([ListSource([document("d0", "abz", year=1999), *DOCUMENTS[1:]], name="new")], models=[encoder])
    assert counts(receipt) == {"read": 3, "unchanged": 2, "updated": 1}
    assert [text.strip() for text in encoder.encoded] == [paragraph("z").strip()]


@pytest.mark.parametrize("effect", ["upsert", "delete"])
@pytest.mark.parametrize("moment", ["before", "halfway", "after"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_move_that_dies_anywhere_loses_nothing_and_the_next_finishes_it(
    bench: SyncBench,
    monkeypatch: pytest.MonkeyPatch,
    effect: str,
    moment: Moment,
    call: int,
) -> None:
    monkeypatch.setattr("ingest.sync.moving.MOVE_POINTS", 4)

    def cue(name: str, number: int) -> tuple[Moment, StoreError] | None:
        return (moment, StoreError("died")) if (name, number) == (effect, call) else None

    with pytest.raises(StoreError, match="died"):
        move_source(cast("Store", FlakyStore(bench.store, cue)), bench.collection, "old", "new")
    stored = bench.stored()
    texts = {(payload["doc_id"], payload["chunk"]) for payload, _ in stored.values() if payload["source"] in {"old", "new"}}
    assert len(texts) == 10
    move_source(bench.store, bench.collection, "old", "new")
    assert bench.stored(source="old") == {}
    encoder = HashEncoder("hash", 8, record=True)
    receipt = bench.run([ListSource(DOCUMENTS, name="new")], models=[encoder], delete="full")
    assert (counts(receipt), encoder.encoded) == ({"read": 3, "unchanged": 3}, [])


def test_points_that_are_newer_under_the_new_name_stay_and_strangers_are_left(bench: SyncBench) -> None:
    newer = ListSource([document("d1", "d", year=2025)], name="new")
    bench.run([newer])
    kept = bench.stored(source="new")
    ((damaged, (payload, _)), *_) = bench.stored(source="old", doc_id="d0").items()
    bench.store.set_payload(bench.collection, {damaged: {**payload, "text": "not what was encoded", "chunk": 10**15}})
    receipt = bench.run([newer], moved_from="old")
    assert receipt.moved == 9
    assert any("1 points of the source old were left" in error for error in receipt.errors)
    assert bench.stored(source="new", doc_id="d1") == kept
    assert bench.stored(source="old").keys() == {damaged}


@pytest.mark.parametrize(
    ("sources", "old", "message"),
    [
        (["new", "newer"], "old", "can move to one source only, and 2 were given"),
        (["old"], "old", "is called old already"),
        (["new"], "odl", "has no source odl to move from"),
    ],
)
def test_a_move_that_cannot_be_meant_is_refused(bench: SyncBench, sources: list[str], old: str, message: str) -> None:
    before = bench.stored()
    with pytest.raises(ConfigurationError, match=message):
        bench.run([ListSource(DOCUMENTS, name=name) for name in sources], moved_from=old)
    assert bench.stored() == before


def test_a_run_warns_where_its_location_is_known_under_another_name(bench: SyncBench, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("A note.")

    def named(name: str | None) -> list[Source]:
        return [open_source(str(folder), name=name)]

    assert bench.run(named(None)).errors == ()
    bench.store.update_notes(bench.collection, dict.fromkeys(bench.store.notes(bench.collection)))  # as before there were notes
    (first,) = bench.run(named("one")).errors
    assert f"also stored as the source {folder}" in first
    assert f"--moved-from {folder}" in first
    assert len(bench.run(named("two")).errors) == 2
    forget_source(bench.store, bench.collection, str(folder))
    forget_source(bench.store, bench.collection, "one")
    assert bench.run(named("two")).errors == ()

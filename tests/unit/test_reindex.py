"""Reindexing on the embedded engine: what comes of it, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reindexing import DOCUMENTS, FEW, KEPT, LONG_TITLE, NEW, OLD, Bench, embedded_bench

from ingest.errors import CollectionNotFoundError, ConfigurationError, IngestError, ManifestMismatchError, StoreError
from ingest.records import Chunk, Document, Point, StoredPoint, TokenLimit
from ingest.reindex.rebuild import pair_by_id
from ingest.reindex.reindex import roll_back
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import CollectionOptions
from ingest.store.schema import encoded_text
from ingest.store.similarity import NOTE
from ingest.sync.fingerprints import digest_document, fingerprint_chunks
from ingest.sync.ownership import next_alias, previous_alias
from ingest.testing import HashEncoder


class Limited(HashEncoder):
    """Takes so many words, and cannot encode more."""

    def __init__(self, words: int) -> None:
        super().__init__("swapped", 16, revision="limited")
        self._words = words

    @property
    def token_limit(self) -> TokenLimit | None:
        return TokenLimit(self.key, self._words, lambda texts: [len(text.split()) for text in texts])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with embedded_bench(tmp_path, DOCUMENTS, [KEPT, OLD]) as made:
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Bench]:
    """What a fresh ingestion with the new models makes."""
    with embedded_bench(tmp_path / "fresh", DOCUMENTS, [KEPT, NEW]) as made:
        yield made


# --- what comes of it


def test_the_new_collection_is_what_a_fresh_ingestion_would_have_made(bench: Bench, fresh: Bench) -> None:
    bench.reindex([KEPT, NEW])
    assert bench.content() == fresh.content()
    again = bench.run(DOCUMENTS, [KEPT, NEW])
    assert (again.unchanged, again.balanced) == (len(DOCUMENTS), True)


def test_the_new_collection_knows_when_its_sources_were_last_read(bench: Bench) -> None:
    before = bench.store.notes(bench.name)
    bench.reindex([KEPT, NEW])
    assert len(before) == 2
    now = bench.store.notes(bench.name)
    assert now.keys() == before.keys()
    assert now.pop(NOTE)["fingerprints"].keys() == {"kept", "swapped"}
    del before[NOTE]
    assert now == before


def test_only_the_new_column_is_encoded(bench: Bench) -> None:
    kept, new = HashEncoder("kept", 16, record=True), HashEncoder("swapped", 16, revision="2", record=True)
    report = bench.reindex([kept, new])
    assert kept.encoded == []
    assert len(new.encoded) == report.points
    assert report.copied == {"kept": report.points}
    assert report.encoded == {"swapped": report.points}


def test_a_vector_can_be_added_and_left_out(bench: Bench) -> None:
    bench.reindex([KEPT, OLD, HashEncoder("more", 8)])
    assert {spec.name for spec in bench.store.manifest("docs").vectors} == {"kept", "swapped", "more"}
    report = bench.reindex([KEPT])
    assert report.encoded == {}
    assert all(vectors.keys() == {"kept"} for _, vectors in bench.content().values())


def test_a_second_reindex_with_the_same_models_does_nothing(bench: Bench) -> None:
    first = bench.reindex([KEPT, NEW])
    second = bench.reindex([KEPT, NEW])
    assert (second.stored_as, second.previous, second.encoded, second.copied) == (first.stored_as, first.previous, {}, {})


def test_the_one_before_the_last_is_dropped_and_named(bench: Bench) -> None:
    oldest = bench.store.aliases()["docs"]
    bench.reindex([KEPT, NEW])
    report = bench.reindex([KEPT, HashEncoder("swapped", 16, revision="3")])
    assert report.dropped == (oldest,)
    assert {info.name for info in bench.store.collections()} == {report.stored_as, report.previous}


def test_the_old_one_is_dropped_where_it_is_not_kept(bench: Bench) -> None:
    old = bench.store.aliases()["docs"]
    report = bench.reindex([KEPT, NEW], keep_old=False)
    assert (report.dropped, report.previous) == ((old,), None)
    assert [info.name for info in bench.store.collections()] == [report.stored_as]
    with pytest.raises(ConfigurationError, match="no previous collection"):
        roll_back("docs", store=bench.store)


def test_what_another_alias_names_is_kept_and_said(bench: Bench) -> None:
    first = bench.store.aliases()["docs"]
    bench.store.set_aliases({"production": first})
    second = bench.reindex([KEPT, NEW], keep_old=False)
    assert (second.dropped, second.kept) == ((), {first: "in use: the alias production names it"})
    assert second.previous == first
    third = bench.reindex([KEPT, HashEncoder("swapped", 16, revision="3")])
    assert (third.dropped, third.kept) == ((), second.kept)
    assert bench.store.aliases() == {"docs": third.stored_as, "docs__previous": second.stored_as, "production": first}
    bench.store.set_aliases({next_alias("docs"): first})  # as a crash would leave it
    again = bench.reindex([KEPT, HashEncoder("swapped", 16, revision="3")])
    assert (again.dropped, again.kept) == ((), second.kept)
    assert bench.store.count("production") == bench.store.count("docs") > 0
    assert next_alias("docs") not in bench.store.aliases()


@pytest.mark.parametrize("alias", ["docs", "docs__previous", "docs__next"])
@pytest.mark.parametrize("owner", ["handbook", "another tool"])
def test_an_alias_of_what_was_not_created_for_the_name_is_refused(bench: Bench, tmp_path: Path, alias: str, owner: str) -> None:
    if owner == "handbook":
        Bench(bench.store, tmp_path, "handbook").run(FEW, [KEPT, OLD])
        target = bench.store.aliases()["handbook"]
    else:
        target = "foreign"
        bench.store.ensure(replace(bench.store.manifest("docs"), collection=target), CollectionOptions())
        (tmp_path / "qdrant" / target / "manifest.json").unlink()
    bench.store.set_aliases({"docs__previous": "docs"} | {alias: target})
    before = bench.store.aliases()
    refused = f"the alias {alias} stands for the collection {target}, which was created"
    with pytest.raises(ConfigurationError, match=refused):
        bench.reindex([KEPT, NEW])
    with pytest.raises(ConfigurationError, match=refused):
        roll_back("docs", store=bench.store)
    assert bench.store.aliases() == before


def test_a_collection_with_the_name_of_an_alias_to_be_is_refused_before_anything_is_made(bench: Bench) -> None:
    plain = replace(bench.store.manifest("docs"), collection="docs__previous")
    bench.store.ensure(plain, CollectionOptions())
    with pytest.raises(ConfigurationError, match="a collection has the name docs__previous"):
        bench.reindex([KEPT, NEW])
    assert len(bench.store.collections()) == 2


def test_a_restored_copy_is_swapped_and_never_dropped(bench: Bench) -> None:
    """It was created for the name, and a person gave it another."""
    copy = replace(bench.store.manifest("docs"), collection="docs_restored")
    bench.store.ensure(copy, CollectionOptions())
    bench.store.upsert(copy.collection, [Point(p.id, p.vectors, p.payload) for p in bench.store.scroll("docs", vectors=True)])
    bench.store.set_aliases({"docs": copy.collection})
    report = bench.reindex([KEPT, NEW], keep_old=False)
    assert (report.dropped, report.kept) == ((), {copy.collection: "not created by ingest for docs"})
    assert bench.store.count(copy.collection) == report.points


def test_going_back_to_the_models_of_the_one_that_is_kept_brings_it_up_to_date(bench: Bench) -> None:
    old = bench.store.aliases()["docs"]
    before = bench.content()
    bench.reindex([KEPT, NEW])
    bench.run(DOCUMENTS[1:], [KEPT, NEW])
    recorder = HashEncoder("swapped", 16, record=True)
    report = bench.reindex([KEPT, recorder])
    assert (report.stored_as, recorder.encoded) == (old, [])
    assert bench.content() == {id_: what for id_, what in before.items() if what[0]["doc_id"] != "d0"}


def test_rolling_back_swaps_and_swaps_again(bench: Bench) -> None:
    old = bench.content()
    report = bench.reindex([KEPT, NEW])
    new = bench.content()
    back = roll_back("Docs", store=bench.store)
    assert (back.stored_as, back.previous) == (report.previous, report.stored_as)
    assert bench.content() == old
    with pytest.raises(ManifestMismatchError, match="reindex"):
        bench.run(DOCUMENTS, [KEPT, NEW])
    roll_back("docs", store=bench.store)
    assert bench.content() == new


def test_another_distance_needs_no_encoding(bench: Bench) -> None:
    bench.job = replace(bench.job, distance="dot")
    report = bench.reindex([KEPT, OLD])
    assert report.encoded == {}
    assert {spec.distance for spec in bench.store.manifest("docs").vectors} == {"dot"}
    assert bench.run(DOCUMENTS, [KEPT, OLD]).unchanged == len(DOCUMENTS)


def test_weights_and_the_first_name_stay(bench: Bench) -> None:
    bench.run(DOCUMENTS, [KEPT, OLD], weights={"kept": 2.0, "swapped": 0.5})
    bench.reindex([KEPT, HashEncoder("other", 16)])
    manifest = bench.store.manifest("docs")
    assert manifest.weights == {"kept": 2.0}
    assert manifest.raw_name == "docs"


# --- what is refused


def test_a_gate_that_refuses_leaves_the_old_one_in_use(bench: Bench) -> None:
    asked = []

    def gate(old: str, new: str) -> None:
        asked.append((old, new, bench.store.count(new)))
        raise IngestError("worse than before")

    before = bench.content()
    with pytest.raises(IngestError, match="worse than before"):
        bench.reindex([KEPT, NEW], gate=gate)
    assert bench.content() == before
    assert asked == [(bench.store.aliases()["docs"], bench.store.aliases()[next_alias("docs")], len(before))]
    assert previous_alias("docs") not in bench.store.aliases()


def test_chunks_that_are_too_long_for_the_new_model_are_an_error_before_anything_is_made(bench: Bench) -> None:
    with pytest.raises(
        ConfigurationError, match=r"chunk \d of 'd\d+' .* is \d+ tokens long for swapped, which takes 20: .*ingest run"
    ):
        bench.reindex([KEPT, Limited(20)])
    assert len(bench.store.collections()) == 1
    assert bench.reindex([KEPT, Limited(500)]).encoded["swapped"] > 0


def test_other_chunks_are_refused(bench: Bench) -> None:
    bench.job = replace(bench.job, chunking=ChunkingOptions(tokens=50))
    with pytest.raises(ManifestMismatchError, match=r"'tokens': 100.*'tokens': 50.*ingest run"):
        bench.reindex([KEPT, NEW])


def test_a_collection_under_its_own_name_is_refused_with_what_to_do(bench: Bench) -> None:
    plain = replace(bench.store.manifest("docs"), collection="plain")
    bench.store.ensure(plain, CollectionOptions())
    bench.job = replace(bench.job, collection="plain")
    with pytest.raises(ConfigurationError, match=r"no alias.*ingest run"):
        bench.reindex([KEPT, NEW])
    bench.job = replace(bench.job, collection="nowhere")
    with pytest.raises(CollectionNotFoundError):
        bench.reindex([KEPT, NEW])


def test_points_of_another_tool_are_not_lost_in_a_swap(bench: Bench) -> None:
    [vector] = KEPT.encode_documents(["foreign"])
    foreign = "00000000-0000-4000-8000-000000000001"
    bench.store.upsert("docs", [Point(foreign, {"kept": vector, "swapped": vector}, {"text": "foreign"})])
    with pytest.raises(StoreError, match=f"{foreign}.*not written by"):
        bench.reindex([KEPT, NEW])
    assert bench.store.count("docs", ()) > 1


def test_a_vector_that_was_damaged_is_encoded_instead_of_copied(bench: Bench, fresh: Bench) -> None:
    point = next(bench.store.scroll("docs"))
    made = point.payload["_ingest"]
    damaged = {**point.payload, "_ingest": {**made, "vectors": {**made["vectors"], "kept": "another"}}}
    bench.store.set_payload("docs", {point.id: damaged})
    kept = HashEncoder("kept", 16, record=True)
    bench.reindex([kept, NEW])
    assert len(kept.encoded) == 1
    assert bench.content() == fresh.content()


# --- the pure parts


def test_the_encoded_text_is_told_from_the_payload() -> None:
    for title, context in ((None, ""), (" A \n title", "A title"), (LONG_TITLE, LONG_TITLE[:57].strip()), (LONG_TITLE, "")):
        whole = f"{context}\ntext" if context else "text"
        payload = {"text": "text", **({"title": title} if title else {})}
        [made] = fingerprint_chunks(
            [Chunk("", 0, 0, 4, "text", context)], "", digest_document(Document("d", "text", title), ""), {}
        )
        assert encoded_text(payload, made) == whole
        assert encoded_text({**payload, "text": "edited"}, made) is None
        assert encoded_text({**payload, "title": f"Edited {title}"}, made) == (None if made.context is None else whole)


@given(st.sets(st.uuids()), st.sets(st.uuids()), st.sets(st.uuids()))
def test_points_of_one_id_are_paired(left: set[object], right: set[object], both: set[object]) -> None:
    lefts, rights = (sorted(map(str, ids | both)) for ids in (left, right))
    pairs = list(pair_by_id([StoredPoint(id_, {}) for id_ in lefts], [StoredPoint(id_, {}) for id_ in rights]))
    ids = [(one.id if one else None, other.id if other else None) for one, other in pairs]
    expected = sorted({*lefts, *rights})
    assert ids == [(id_ if id_ in lefts else None, id_ if id_ in rights else None) for id_ in expected]

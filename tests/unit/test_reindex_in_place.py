"""Reindexing in place on the embedded engine: what comes of it, what is refused, and what writes meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from reindexing import DOCUMENTS, FEW, KEPT, OLD, Bench, bm25, embedded_bench
from word_rows import WordRows

from ingest.errors import ConfigurationError, IngestError, ManifestMismatchError
from ingest.records import Document, Point, TokenLimit
from ingest.reindex.in_place import StagedStore, reindex_in_place
from ingest.reindex.reindex import roll_back
from ingest.search.searcher import Searcher
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import CollectionOptions, Manifest
from ingest.sync.ownership import next_alias, previous_alias
from ingest.testing import FakeClock, FlakyStore, HashEncoder

NEW = HashEncoder("fresh-1.5", 24)
"""A dot and a hyphen, as registry keys have them."""

WORDS = HashEncoder("words", 8)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with embedded_bench(tmp_path, FEW, [KEPT, OLD]) as made:
        made.reindex = partial(made.reindex, build=reindex_in_place)  # type: ignore[method-assign]
        yield made


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Bench]:
    """What a fresh ingestion with the new models makes."""
    with embedded_bench(tmp_path / "fresh", FEW, [KEPT, NEW]) as made:
        yield made


def stored(bench: Bench) -> set[str]:
    """The named vectors that the points have."""
    return {name for _, vectors in bench.content().values() for name in vectors}


def names(manifest: Manifest) -> list[str]:
    return [spec.name for spec in manifest.vectors]


# --- what comes of it


def test_the_collection_is_what_a_fresh_ingestion_would_have_made(bench: Bench, fresh: Bench) -> None:
    kept, new = HashEncoder("kept", 16, record=True), HashEncoder(NEW.key, 24, record=True)
    old, before = bench.store.manifest("docs"), bench.searched()
    report = bench.reindex([kept, new])
    assert bench.searched() == fresh.content()
    assert (report.stored_as, report.encoded, report.copied) == (old.collection, {NEW.key: len(before)}, {})
    assert (report.previous_vectors, report.dropped_vectors) == (("kept", "swapped"), ())
    assert (kept.encoded, len(new.encoded)) == ([], len(before))
    assert [info.name for info in bench.store.collections()] == [old.collection]
    again = bench.run(FEW, [KEPT, NEW])
    assert (again.unchanged, again.balanced, again.chunks.written) == (len(FEW), True, 0)

    back = roll_back("docs", store=bench.store)
    assert bench.searched() == before
    assert bench.store.manifest("docs").searched == old
    assert back.previous_vectors == ("kept", NEW.key)
    assert bench.run(FEW, [KEPT, OLD]).unchanged == len(FEW)
    roll_back("docs", store=bench.store)
    assert bench.searched() == fresh.content()


def test_a_vector_can_be_added_and_left_out(bench: Bench) -> None:
    assert bench.reindex([KEPT, OLD, NEW]).encoded == {NEW.key: bench.store.count("docs")}
    assert names(bench.store.manifest("docs")) == ["kept", "swapped", NEW.key]
    assert bench.reindex([KEPT]).encoded == {}
    assert names(bench.store.manifest("docs")) == ["kept"]
    assert roll_back("docs", store=bench.store).previous_vectors == ("kept",)
    assert names(bench.store.manifest("docs")) == ["kept", "swapped", NEW.key]


def test_the_vectors_before_the_last_are_dropped_with_what_points_record_of_them(bench: Bench) -> None:
    bench.reindex([KEPT, NEW])
    report = bench.reindex([KEPT, WORDS])
    assert report.dropped_vectors == ("swapped",)
    assert stored(bench) == {"kept", NEW.key, "words"}
    assert all(payload["_ingest"]["vectors"].keys() == {"kept", NEW.key, "words"} for payload, _ in bench.content().values())
    assert bench.reindex([KEPT, OLD]).encoded == {"swapped": bench.store.count("docs")}


def test_old_vectors_are_dropped_at_once_or_later_where_they_are_not_kept(bench: Bench) -> None:
    assert bench.reindex([KEPT, NEW], keep_old=False).dropped_vectors == ("swapped",)
    assert stored(bench) == {"kept", NEW.key}
    with pytest.raises(ConfigurationError, match="cannot be rolled back"):
        roll_back("docs", store=bench.store)
    bench.reindex([KEPT, OLD])
    later = bench.reindex([KEPT, OLD], keep_old=False)
    assert (later.dropped_vectors, later.encoded) == ((NEW.key,), {})
    assert stored(bench) == {"kept", "swapped"}
    manifest = bench.store.manifest("docs")
    assert manifest == manifest.searched


def test_going_back_to_the_kept_vectors_encodes_only_what_was_written_since(bench: Bench) -> None:
    bench.reindex([KEPT, NEW])
    bench.run([*FEW, Document("late", "A late document")], [KEPT, NEW])
    assert bench.reindex([KEPT, OLD]).encoded == {"swapped": 1}


def test_the_collection_kept_by_a_blue_green_reindex_is_dropped_and_each_rollback_goes_one_step(bench: Bench) -> None:
    blue = Bench(bench.store, bench.folder)
    oldest = blue.reindex([KEPT, HashEncoder("swapped", 16, revision="2")]).previous
    live = bench.reindex([KEPT, NEW])
    assert (live.dropped, live.previous) == ((oldest,), None)
    assert not {previous_alias("docs"), next_alias("docs")} & bench.store.aliases().keys()
    green = blue.reindex([KEPT, WORDS])
    assert (green.previous, green.previous_vectors) == (live.stored_as, ())
    assert names(bench.store.manifest("docs")) == ["kept", "words"]
    roll_back("docs", store=bench.store)
    assert names(bench.store.manifest("docs")) == ["kept", NEW.key]
    again = blue.reindex([KEPT, WORDS])
    assert (again.stored_as, again.encoded) == (green.stored_as, {})
    assert blue.reindex([KEPT, NEW]).stored_as != live.stored_as, "it has other vectors, too, so it is not built upon"


def test_weights_of_vectors_that_stay_stay_and_come_back(bench: Bench) -> None:
    bench.run(FEW, [KEPT, OLD], weights={"kept": 2.0, "swapped": 0.5})
    bench.reindex([KEPT, NEW])
    assert bench.store.manifest("docs").weights == {"kept": 2.0}
    roll_back("docs", store=bench.store)
    assert bench.store.manifest("docs").weights == {"kept": 2.0, "swapped": 0.5}


def test_a_collection_without_an_alias_and_with_points_of_other_tools(bench: Bench) -> None:
    plain = replace(bench.store.manifest("docs"), collection="plain")
    bench.store.ensure(plain, CollectionOptions())
    bench.store.upsert("plain", [Point(each.id, each.vectors, each.payload) for each in bench.store.scroll("docs", vectors=True)])
    [vector] = KEPT.encode_documents(["foreign"])
    foreign = Point("00000000-0000-4000-8000-000000000001", {"kept": vector}, {"text": "foreign"})
    bench.store.upsert("plain", [foreign])
    bench.job = replace(bench.job, collection="plain")
    assert bench.reindex([KEPT, NEW]).encoded == {NEW.key: bench.store.count("docs")}
    [left] = bench.store.retrieve("plain", [foreign.id], vectors=True)
    assert (left.payload, left.vectors.keys()) == (foreign.payload, foreign.vectors.keys())
    roll_back("plain", store=bench.store)
    assert names(bench.store.manifest("plain")) == ["kept", "swapped"]


@pytest.mark.parametrize("options", [CollectionOptions(), CollectionOptions(datatype="float16", on_disk=True, hnsw_m=8)])
def test_the_engine_stores_new_vectors_like_those_of_a_fresh_ingestion(tmp_path: Path, options: CollectionOptions) -> None:
    models = [KEPT, NEW, WordRows("rows", 8), bm25()]
    with (
        embedded_bench(tmp_path / "in_place", FEW, [KEPT, OLD], options=options) as made,
        embedded_bench(tmp_path / "fresh", FEW, models, options=options) as fresh,
    ):
        count = made.store.count("docs")
        assert made.reindex(models, build=reindex_in_place, keep_old=False).encoded == {
            model.key: count for model in models if model is not KEPT
        }
        assert made.content() == fresh.content()
        in_place, ingested = (json.loads(next(each.folder.rglob("edge_config.json")).read_text()) for each in (made, fresh))
    assert in_place == ingested


def test_what_is_written_just_before_the_manifest_gets_the_new_vectors(bench: Bench) -> None:
    late = [*FEW, Document("late", "A new document")]

    def run_meanwhile(_: str, __: int) -> None:
        bench.run(late, [KEPT, OLD])

    methods = frozenset({"write_manifest"})
    assert bench.reindex([KEPT, NEW], store=FlakyStore(bench.store, run_meanwhile, methods=methods)).encoded[NEW.key] > len(FEW)
    assert bench.run(late, [KEPT, NEW]).chunks.written == 0


# --- what is refused, before anything changes


def refused(bench: Bench, error: type[Exception], match: str, models: list[HashEncoder]) -> None:
    before = bench.store.manifest("docs"), bench.content()
    with pytest.raises(error, match=match):
        bench.reindex(models)
    assert (bench.store.manifest("docs"), bench.content()) == before


def test_another_model_under_a_name_that_stays_is_refused(bench: Bench) -> None:
    for other in (HashEncoder("swapped", 16, revision="2"), HashEncoder("swapped", 24)):
        refused(bench, ConfigurationError, "vector swapped would keep its name but not its model.*leave --in-place out", [other])
    bench.reindex([KEPT, NEW])
    refused(bench, ConfigurationError, "swapped is kept for --rollback and was made by another model.*--drop-old", [KEPT, other])
    bench.reindex([KEPT, NEW], keep_old=False)
    assert bench.reindex([KEPT, other]).encoded == {"swapped": bench.store.count("docs")}


def test_another_distance_other_chunks_and_another_layout_are_refused(bench: Bench) -> None:
    job = bench.job
    bench.job = replace(job, distance="dot")
    refused(bench, ConfigurationError, "would keep its name", [KEPT, OLD])
    bench.job = replace(job, chunking=ChunkingOptions(tokens=50))
    refused(bench, ManifestMismatchError, "other chunks", [KEPT, NEW])
    bench.job = replace(job, options=CollectionOptions(on_disk=True))
    refused(bench, ConfigurationError, "layout setting on_disk cannot be applied in place;", [KEPT, NEW])
    bench.job = replace(job, options=CollectionOptions(quantization="scalar"))
    refused(bench, ConfigurationError, "layout setting quantization cannot be applied in place;", [KEPT, OLD])


def test_chunks_that_are_too_long_for_the_new_model_are_refused(bench: Bench) -> None:
    class Limited(HashEncoder):
        @property
        def token_limit(self) -> TokenLimit:
            return TokenLimit(self.key, 20, lambda texts: [len(text.split()) for text in texts])

    refused(bench, ConfigurationError, "tokens long for limited, which takes 20", [KEPT, Limited("limited", 16)])


# --- while others search and write


def test_a_gate_searches_the_new_vectors_and_others_the_old_ones_until_it_passes(bench: Bench) -> None:
    text = next(str(payload["text"]) for payload, _ in bench.content().values() if not payload.get("title"))
    known = {model.key: model for model in (KEPT, OLD, NEW)}
    clock = FakeClock()
    open_searcher = partial(Searcher.open, models=lambda keys: [known[key] for key in keys], clock=clock)
    searcher = open_searcher("docs", bench.store)
    asked: list[str] = []

    def gate(_: str, new: str) -> None:
        asked.append(new)
        clock.sleep(10)
        for opened, vector in ((searcher, "swapped"), (open_searcher(new, StagedStore(bench.store, "docs")), NEW.key)):
            assert opened.search(text)[0].text == text
            assert opened.search(text)[0].ranks.keys() == {"kept", vector}
        if len(asked) == 1:
            raise IngestError("worse than before")

    with pytest.raises(IngestError, match="worse"):
        bench.reindex([KEPT, NEW], gate=gate)
    assert names(bench.store.manifest("docs")) == ["kept", "swapped"]
    assert bench.run(FEW, [KEPT, OLD]).unchanged == len(FEW)
    assert bench.reindex([KEPT, NEW], gate=gate, keep_old=False).encoded == {}, "what was built is kept"
    assert searcher.search(text)[0].ranks.keys() == {"kept", NEW.key}, "at once: its vector has been dropped"
    assert bench.reindex([KEPT, NEW]).dropped_vectors == ()


def test_an_abandoned_build_is_dropped_by_the_next_reindex(bench: Bench) -> None:
    def refuse(_old: str, _new: str) -> None:
        raise IngestError("not this one")

    for models in ([KEPT, OLD], [KEPT, WORDS]):
        with pytest.raises(IngestError):
            bench.reindex([KEPT, NEW], gate=refuse)
        assert NEW.key in stored(bench)
        bench.reindex(models)
        assert NEW.key not in stored(bench)


def test_what_is_written_while_it_builds_gets_the_new_vectors_too(bench: Bench) -> None:
    edited = [Document("d0", "Wholly new text"), *DOCUMENTS[1:4], Document("d99", "A new document")]

    def run_meanwhile(name: str, call: int) -> None:
        if (name, call) == ("fill_vectors", 2):
            bench.run(edited, [KEPT, OLD])

    def gate(_old: str, _new: str) -> None:
        bench.run([*edited[:-1], Document("last", "Written while the gate decides")], [KEPT, OLD], delete_after=1000.0)

    flaky = FlakyStore(bench.store, run_meanwhile, methods=frozenset({"fill_vectors"}))
    bench.reindex([KEPT, NEW], store=flaky, gate=gate)
    assert all(vectors.keys() == {"kept", NEW.key} for _, vectors in bench.searched().values())
    again = bench.run(edited, [KEPT, NEW])
    assert (again.unchanged, again.chunks.written) == (len(edited) - 1, 0), "one was soft-deleted while the gate decided"


def test_documents_written_after_the_flip_get_the_old_vectors_back_with_the_next_run(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.reindex([KEPT, NEW])
    late = [FEW[0], Document("d1", "Edited"), Document("late", "A late document")]
    bench.run(late, [KEPT, NEW])
    with caplog.at_level(logging.WARNING):
        roll_back("docs", store=bench.store)
    assert "2 points of docs were written since and lack a vector" in caplog.text
    recorder = HashEncoder("swapped", 16, record=True)
    assert bench.run(late, [KEPT, recorder]).balanced
    assert len(recorder.encoded) == 2
    assert all(vectors.keys() == {"kept", "swapped"} for _, vectors in bench.searched().values())


def test_a_run_that_changes_payloads_keeps_the_old_vectors_for_a_rollback(bench: Bench) -> None:
    bench.reindex([KEPT, NEW])
    assert bench.run([replace(each, metadata={"edited": 1}) for each in FEW], [KEPT, NEW]).updated == len(FEW)
    roll_back("docs", store=bench.store)
    recorder = HashEncoder("swapped", 16, record=True)
    assert bench.run(FEW, [KEPT, recorder]).balanced
    assert recorder.encoded == []


def test_a_vector_is_not_filled_into_a_point_whose_text_changed(bench: Bench) -> None:
    bench.reindex([KEPT, NEW])
    [before] = bench.store.fingerprints("docs", [next(bench.store.scroll("docs")).payload["_ingest"]["doc_key"]])[:1]
    [vector] = NEW.encode_documents(["wrong"])
    content = bench.content()
    bench.store.fill_vectors("docs", [(replace(before, text_fp="other"), {NEW.key: vector})])
    assert bench.content() == content


def test_a_new_vector_that_is_damaged_is_encoded_again_before_the_flip(bench: Bench, fresh: Bench) -> None:
    def damage(name: str, _: int) -> None:
        if name == "finalize":
            point = next(bench.store.scroll("docs"))
            bench.store.update_vectors("docs", {point.id: {NEW.key: np.full(24, np.nan, np.float32)}})

    report = bench.reindex([KEPT, NEW], store=FlakyStore(bench.store, damage, methods=frozenset({"finalize"})))
    assert report.encoded == {NEW.key: report.points + 1}
    assert bench.searched() == fresh.content()

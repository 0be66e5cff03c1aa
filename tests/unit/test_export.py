"""An export on the machine that makes it: whole or recognisably not, continued rather than begun again."""

from __future__ import annotations

import json
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from export_bench import DOCUMENTS, PARAGRAPHS, ExportBench, assert_same_points, ensemble
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, ManifestMismatchError, SourceError
from ingest.export.shards import ShardFile, points_to_table, read_tables, table_to_points
from ingest.records import Document, Point, Rejected, SparseVector
from ingest.store.contract import VectorSpec
from ingest.store.edge.store import EdgeStore
from ingest.testing import Crash, HashEncoder, ListSource, generated_documents

VECTORS = (VectorSpec("a.b", 3, "fp"), VectorSpec("bm25", None, "fp"), VectorSpec("payload", 1, "fp"))


@pytest.fixture
def bench(tmp_path: Path) -> ExportBench:
    return ExportBench(tmp_path)


def encoded(bench: ExportBench, *sources: ListSource, **options: Any) -> tuple[Any, list[str]]:
    """The receipt of an embed, and the texts that it gave to the model."""
    models = ensemble(record=True)
    receipt = bench.embed(*sources, models=models, **options)
    assert isinstance(models[0], HashEncoder)
    return receipt, models[0].encoded


def assert_holds(bench: ExportBench, tmp_path: Path, *sources: ListSource) -> None:
    """A load of the export is what a run of the sources is."""
    with EdgeStore(tmp_path / "loaded") as loaded, EdgeStore(tmp_path / "run") as run:
        assert bench.load(loaded).balanced
        bench.run(run, *sources)
        assert_same_points(loaded, "docs", run, "docs")


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


# --- shards

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
sparse_vectors = st.dictionaries(st.integers(0, 2**32 - 1), finite, max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
texts = st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def points(draw: st.DrawFn) -> Point:
    weights = dict(sorted(draw(sparse_vectors).items()))
    return Point(
        str(draw(st.uuids())),
        {
            "a.b": np.array(draw(st.lists(finite, min_size=3, max_size=3)), np.float32),
            "bm25": SparseVector(np.array(list(weights), np.uint32), np.array(list(weights.values()), np.float32)),
            "payload": np.array([draw(finite)], np.float32),
        },
        {"text": draw(texts), "metadata": json.loads(json.dumps(draw(st.dictionaries(texts, json_values, max_size=3))))},
    )


def assert_equal(found: list[Point], wanted: list[Point]) -> None:
    assert [(point.id, point.payload) for point in found] == [(point.id, point.payload) for point in wanted]
    for made, point in zip(found, wanted, strict=True):
        sparse, was = made.vectors["bm25"], point.vectors["bm25"]
        assert isinstance(sparse, SparseVector)
        assert isinstance(was, SparseVector)
        assert sparse.indices.dtype == np.uint32
        assert sparse.values.dtype == np.float32
        assert sparse.indices.tolist() == was.indices.tolist()
        assert sparse.values.tolist() == was.values.tolist()
        for name in ("a.b", "payload"):
            dense = made.vectors[name]
            assert isinstance(dense, np.ndarray)
            assert dense.dtype == np.float32
            np.testing.assert_array_equal(dense, point.vectors[name])


@given(st.lists(points(), min_size=1, max_size=6), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_points_come_back_as_they_went_in_also_a_part_of_them(wanted: list[Point], start: int) -> None:
    table = points_to_table(wanted, VECTORS)
    assert_equal(table_to_points(table, VECTORS), wanted)
    assert_equal(table_to_points(table.slice(start), VECTORS), wanted[start:])


@given(st.lists(points(), max_size=6), st.lists(points(), max_size=6))
@settings(max_examples=15, deadline=None)
def test_points_come_back_from_a_file(tmp_path_factory: pytest.TempPathFactory, one: list[Point], two: list[Point]) -> None:
    file = ShardFile(tmp_path_factory.mktemp("shards") / "shard", VECTORS)
    file.add(one)
    file.add(two)
    file.close()
    assert_equal([point for table in read_tables(file.path) for point in table_to_points(table, VECTORS)], [*one, *two])


def test_row_groups_are_bounded(tmp_path: Path) -> None:
    file = ShardFile(tmp_path / "shard", (spec := VectorSpec("d", 4, "fp"),))
    vector = np.zeros(4, np.float32)
    file.add([Point(f"{n}", {spec.name: vector}, {"text": "x" * 2**20}) for n in range(40)])
    file.add([Point(f"{n}", {spec.name: vector}, {"text": "x"}) for n in range(3000)])
    file.close()
    groups = pq.read_metadata(file.path)
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [15, 15, 10, 2048, 952]


# --- embed


def test_a_second_embed_encodes_nothing_and_changes_nothing(bench: ExportBench, tmp_path: Path) -> None:
    source = ListSource([*DOCUMENTS, Rejected("line 9", "not JSON")])
    first = bench.embed(source)
    assert (first.read, first.written, first.rejected, first.balanced) == (11, 10, 1, True)
    assert json.loads(bench.rejects.read_text())["position"] == "line 9"
    before = {path: path.stat().st_mtime_ns for path in bench.path.iterdir() if path.name != "lock"}
    second, texts = encoded(bench, source)
    assert (second.unchanged, second.rejected, second.chunks.reused, second.balanced) == (10, 1, first.chunks.written, True)
    assert texts == []
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_holds(bench, tmp_path, source)


def test_it_is_for_its_owner_alone_and_speaks_of_no_collection(bench: ExportBench) -> None:
    bench.embed(ListSource(DOCUMENTS))
    assert stat.S_IMODE(bench.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in bench.path.iterdir()} == {0o600}
    assert not {"collection", "raw_name"} & json.loads((bench.path / "manifest.json").read_text()).keys()


def test_an_interrupted_embed_is_refused_by_load_and_continued_by_embed(bench: ExportBench, tmp_path: Path) -> None:
    documents = list(generated_documents(300, words=10))
    with pytest.raises(SourceError, match="on cue"):
        bench.embed(ListSource([*documents[:290], Crash()]), shard_bytes=2**20)
    with EdgeStore(tmp_path / "store") as store, pytest.raises(SourceError, match="not complete: run the same ingest embed"):
        bench.load(store)
    (whole,) = bench.shards
    kept = pq.read_metadata(whole).num_rows

    source = ListSource(documents)
    receipt, texts = encoded(bench, source)

    assert (receipt.read, receipt.unchanged, receipt.written, receipt.balanced) == (300, kept, 300 - kept, True)
    assert texts == [document.text for document in documents[kept:]]
    assert 0 < kept < 290
    assert_holds(bench, tmp_path, source)


def test_told_to_stop_both_finish_what_they_have_in_hand_and_go_on_later(bench: ExportBench, tmp_path: Path) -> None:
    source, encoder = ListSource(DOCUMENTS), HashEncoder(record=True)
    stopped = bench.embed(source, models=[encoder], stop=lambda: bool(encoder.encoded))
    assert (stopped.stopped, stopped.balanced, stopped.deleted) == (True, True, 0)
    assert 0 < stopped.written < 10
    with EdgeStore(tmp_path / "store") as store:
        with pytest.raises(SourceError, match="not complete"):
            bench.load(store)
        assert bench.embed(source, models=[encoder]).unchanged == stopped.written

        loading = bench.load(store, stop=lambda: bool(store.collections()))
        assert (loading.stopped, loading.balanced) == (True, True)
        loaded = bench.load(store)
        assert (loaded.read, loaded.stopped, loaded.balanced) == (10, False, True)


def test_what_changed_is_made_again_and_what_is_gone_is_taken_out(bench: ExportBench, tmp_path: Path) -> None:
    bench.embed(ListSource(DOCUMENTS), shard_bytes=2**20)
    source = ListSource([Document("d0", PARAGRAPHS[0], metadata={"n": "new"}), *DOCUMENTS[1:7], *DOCUMENTS[8:]])
    receipt, texts = encoded(bench, source)
    assert (receipt.read, receipt.updated, receipt.unchanged, receipt.deleted, receipt.balanced) == (9, 1, 8, 1, True)
    assert texts == [PARAGRAPHS[0].strip()]
    assert receipt.chunks.deleted == 2
    assert_holds(bench, tmp_path, source)


def test_a_document_that_broke_keeps_its_version(bench: ExportBench, tmp_path: Path) -> None:
    bench.embed(ListSource(DOCUMENTS))
    receipt = bench.embed(ListSource([Rejected("line 1", "the text is empty", doc_id="d0"), *DOCUMENTS[1:]]))
    assert (receipt.rejected, receipt.unchanged, receipt.deleted, receipt.balanced) == (1, 9, 0, True)
    unknown = bench.embed(ListSource([Rejected("line 1", "not JSON"), *DOCUMENTS[1:]]))
    assert (unknown.deleted, unknown.balanced) == (0, True)
    assert "no readable id" in unknown.errors[0]
    assert_holds(bench, tmp_path, ListSource(DOCUMENTS))
    elsewhere = Rejected("line 1", "not JSON", id_prefix="d0")
    assert bench.embed(ListSource([elsewhere, *DOCUMENTS[2:]])).deleted == 1
    assert_holds(bench, tmp_path, ListSource([DOCUMENTS[0], *DOCUMENTS[2:]]))


def test_a_source_that_lost_most_of_its_documents_is_stopped_by_the_brake(bench: ExportBench, tmp_path: Path) -> None:
    bench.embed(ListSource(DOCUMENTS))
    with pytest.raises(DeletionBrakeError, match="8 of the 10 documents stored of list") as stopped:
        bench.embed(ListSource(DOCUMENTS[:2]))
    assert len(stopped.value.doc_ids) == 8
    assert_holds(bench, tmp_path, ListSource(DOCUMENTS))
    assert bench.embed(ListSource(DOCUMENTS[:2]), max_delete=1.0).deleted == 8
    assert len(bench.shards) == 1


def test_several_sources_and_always_the_same(bench: ExportBench) -> None:
    one, two = ListSource(DOCUMENTS[:3], name="one"), ListSource(DOCUMENTS[:3], name="two")
    assert bench.embed(one, two).written == 6
    with pytest.raises(ConfigurationError, match="has the sources one, two: name the same ones"):
        bench.embed(one)
    assert bench.embed(two, one).unchanged == 6


def test_other_models_or_chunks_are_refused(bench: ExportBench) -> None:
    source = ListSource(DOCUMENTS)
    bench.embed(source)
    with pytest.raises(ManifestMismatchError, match="name another directory with --out"):
        bench.embed(source, models=ensemble(revision="2"))
    with pytest.raises(ManifestMismatchError, match="chunking"):
        bench.embed(source, tokens=50)
    assert source.reads == 1


def test_a_directory_with_something_else_in_it_is_left_alone(bench: ExportBench) -> None:
    bench.path.mkdir()
    (bench.path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigurationError, match="has other files"):
        bench.embed(ListSource(DOCUMENTS))
    assert [path.name for path in bench.path.iterdir()] == ["thesis.txt"]


def test_a_list_of_shards_that_is_missing_is_no_reason_to_delete_them(bench: ExportBench) -> None:
    bench.embed(ListSource([]))
    (bench.path / "checksums.json").unlink()  # as after a crash right at the beginning
    bench.embed(ListSource(DOCUMENTS))
    shards = bench.shards
    (bench.path / "checksums.json").unlink()
    with pytest.raises(SourceError, match=r"checksums.json is missing: put it back"):
        bench.embed(ListSource(DOCUMENTS))
    assert bench.shards == shards


def test_one_process_at_a_time(bench: ExportBench) -> None:
    bench.path.mkdir()
    with FileLock(bench.path / "lock"), pytest.raises(ConfigurationError, match="another process is writing"):
        bench.embed(ListSource(DOCUMENTS))


def test_a_damaged_shard_is_made_again(bench: ExportBench, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = ListSource(DOCUMENTS)
    bench.embed(source)
    first, second, third = bench.shards[:3]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-10])
    third.write_bytes(third.read_bytes().replace(b"PAR1", b"PAR2"))
    for left_by_a_crash in ("shard-00099.parquet", "shard-00042.parquet.new"):
        (bench.path / left_by_a_crash).write_bytes(b"not listed yet")
    receipt = bench.embed(source)
    assert receipt.balanced
    assert 0 < receipt.written < len(DOCUMENTS)
    assert [record.getMessage().split(" is ")[1][:7] for record in caplog.records] == ["missing", "damaged", "damaged"]
    assert not list(bench.path.glob("shard-000[49]*"))
    assert_holds(bench, tmp_path, source)


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a disk that is full: writing fails half-way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_ends_it_and_costs_one_shard(bench: ExportBench, tmp_path: Path) -> None:
    (large,) = generated_documents(1, words=20_000)
    source = ListSource([*DOCUMENTS[:8], large])
    with no_file_above(60_000), pytest.raises(IngestError, match="cannot be used: File too large; check"):
        bench.embed(source)
    assert bench.shards
    assert not list(bench.path.glob("*.new"))
    receipt = bench.embed(source)
    assert (receipt.written, receipt.unchanged, receipt.balanced) == (1, 8, True)
    assert_holds(bench, tmp_path, source)


# --- load


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(lambda path: path.unlink(), "shard-00000.parquet is missing", id="missing"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes where", id="cut short"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-1] + b"2"), "its checksum", id="other bytes"),
        pytest.param(
            lambda path: edit_json(path.parent / "checksums.json", lambda value: value["shards"][0].update(rows=1)),
            r"rows where checksums.json says 1",
            id="a row count that lies",
        ),
        pytest.param(
            lambda path: edit_json(path.parent / "checksums.json", lambda value: value["shards"][0].update(name="../x")),
            "is not a valid shard name",
            id="a name that leads elsewhere",
        ),
        pytest.param(
            lambda path: edit_json(path.parent / "checksums.json", lambda value: value["shards"][0].pop("sha256")),
            "is damaged",
            id="no checksum",
        ),
        pytest.param(
            lambda path: edit_json(path.parent / "manifest.json", lambda value: value.update(weights={})),
            r"manifest.json is damaged: its checksum",
            id="another manifest",
        ),
        pytest.param(lambda path: (path.parent / "manifest.json").write_text("{"), "manifest.json is damaged", id="no JSON"),
        pytest.param(lambda path: (path.parent / "checksums.json").unlink(), "not complete", id="no checksums"),
        pytest.param(
            lambda path: edit_json(path.parent / "manifest.json", lambda value: value.update(version=99)),
            "made by another version",
            id="another version",
        ),
        pytest.param(lambda path: (path.parent / "manifest.json").unlink(), "is not an export", id="no export"),
    ],
)
def test_nothing_is_written_of_an_export_that_is_not_whole(
    bench: ExportBench, tmp_path: Path, damage: Callable[[Path], None], says: str
) -> None:
    bench.embed(ListSource(DOCUMENTS[:3]), models=[HashEncoder(dim=4)])
    damage(bench.shards[0])
    with EdgeStore(tmp_path / "store") as store:
        with pytest.raises(IngestError, match=says):
            bench.load(store)
        assert store.collections() == []


def test_an_export_of_nothing_makes_an_empty_collection(bench: ExportBench, tmp_path: Path) -> None:
    assert bench.embed(ListSource([])).balanced
    with EdgeStore(tmp_path / "store") as store:
        receipt = bench.load(store)
        assert (receipt.read, receipt.balanced, store.count("docs")) == (0, True, 0)

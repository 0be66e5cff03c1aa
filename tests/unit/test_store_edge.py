"""The embedded store's files: locks, crashes, and memory."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from store_data import manifest, point

from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError, StoreLockedError
from ingest.records import Point
from ingest.store import open_store
from ingest.store.contract import CollectionOptions, Manifest, VectorSpec
from ingest.store.edge.store import EdgeStore

OPTIONS = CollectionOptions()


def made(root: Path, points: int = 0) -> Path:
    """A store with the collection `docs`, closed again."""
    with EdgeStore(root) as store:
        store.ensure(manifest("docs"), OPTIONS)
        store.upsert("docs", [point(number) for number in range(points)])
    return root


def run(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Python code in another process, with `root` and this test's data at hand."""
    prelude = f"""
import os, signal
from store_data import manifest, point
from ingest.store.contract import CollectionOptions
from ingest.store.edge.store import EdgeStore
root = {str(root)!r}
"""
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", prelude + code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    made(tmp_path, points=5)
    with EdgeStore(tmp_path) as store:
        assert store.manifest("docs") == manifest("docs")
        assert {found.id for found in store.scroll("docs")} == {point(number).id for number in range(5)}


def test_nothing_is_created_by_asking(tmp_path: Path) -> None:
    root = tmp_path / "new"
    with EdgeStore(root) as store:
        assert store.collections() == []
        with pytest.raises(CollectionNotFoundError):
            store.count("docs")
    assert not root.exists()


def test_directories_and_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    root = made(tmp_path / "deep" / "store")
    for path, mode in [
        (root, 0o700),
        (root / "docs", 0o700),
        (root / "docs" / "shard", 0o700),
        (root / "docs/manifest.json", 0o600),
    ]:
        assert stat.S_IMODE(path.stat().st_mode) == mode, path


@pytest.mark.parametrize("name", ["", ".", "..", "../docs", "a/b", ".trash", "nul\0"])
def test_a_name_cannot_lead_out_of_the_store(tmp_path: Path, name: str) -> None:
    with EdgeStore(tmp_path / "store") as store:
        with pytest.raises(ConfigurationError):
            store.ensure(manifest(name), OPTIONS)
        with pytest.raises(ConfigurationError):
            store.drop(name)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_used_is_an_error_in_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with EdgeStore(blocked) as store, pytest.raises(StoreError, match="cannot use") as caught:
        store.ensure(manifest("docs"), OPTIONS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("location", ["localhost:6333", "10.0.0.1:6333/", "[::1]:6333", "qdrant.example:80/prefix"])
def test_a_server_without_its_scheme_is_not_taken_for_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=re.escape(f"write http://{location.partition('/')[0]} ")):
        open_store(location)
    with open_store(f"./{location}") as store:
        store.ensure(manifest("docs"), OPTIONS)
        assert Path(store.location) == tmp_path / location


@pytest.mark.parametrize("location", ["", " "])
def test_nothing_is_no_path(location: str) -> None:
    with pytest.raises(ConfigurationError, match="no location"):
        open_store(location)


def test_what_the_file_system_refuses_is_an_error_that_names_the_path_and_the_reason(tmp_path: Path) -> None:
    made(tmp_path)
    for name in ("shard", "manifest.json"):
        (tmp_path / "docs" / name).rename(tmp_path / name)
        (tmp_path / "docs" / name).symlink_to("x" * 300)  # looking there fails, even for root
    with EdgeStore(tmp_path) as store:
        for use in (store.count, store.manifest, store.drop):
            with pytest.raises(StoreError, match=rf"cannot use {tmp_path}/docs/shard: File name too long"):
                use("docs")
        [info] = store.collections()
    assert (info.name, info.points, info.manifest, info.ours) == ("docs", None, None, False)
    assert f"{tmp_path}/docs/manifest.json: File name too long" in (info.problem or "")


def test_other_schemes_are_not_taken_for_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="s3://"):
        open_store("s3://bucket/docs")
    assert list(tmp_path.iterdir()) == []


# --- locks


def test_a_second_opener_is_told_who_holds_it(tmp_path: Path) -> None:
    made(tmp_path, points=1)
    with EdgeStore(tmp_path) as first, EdgeStore(tmp_path) as second:
        assert first.count("docs") == 1
        for use in (second.count, second.drop, second.manifest):
            with pytest.raises(StoreLockedError, match=rf"process {os.getpid()}\b.*server"):
                use("docs")
        with pytest.raises(StoreLockedError):
            second.ensure(manifest("docs"), OPTIONS)
        first.close()
        assert second.count("docs") == 1


def test_another_process_is_told_who_holds_it(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path) as store:
        store.count("docs")
        other = run("EdgeStore(root).count('docs')", tmp_path)
    assert f"in use by process {os.getpid()}" in other.stderr


def test_a_collection_in_use_elsewhere_is_listed_with_who_holds_it(tmp_path: Path) -> None:
    made(tmp_path, points=1)
    with EdgeStore(tmp_path) as first, EdgeStore(tmp_path) as second:
        second.ensure(manifest("free"), OPTIONS)
        first.count("docs")
        held, free = second.collections()
        assert (held.name, held.points, held.manifest, held.ours) == ("docs", None, manifest("docs"), True)
        assert f"process {os.getpid()}" in (held.problem or "")
        assert (free.name, free.points, free.problem) == ("free", 0, None)


def test_a_closed_collection_is_listed_without_being_opened(tmp_path: Path) -> None:
    made(tmp_path, points=2)
    lock = tmp_path / "docs" / "lock"
    with EdgeStore(tmp_path) as store:
        lock.unlink()
        assert [(info.points, info.problem) for info in store.collections()] == [(2, None)]
        assert not lock.exists()


def leaving_out_the_number(collection: Path) -> None:
    (collection / "points.json").unlink()


def with_a_damaged_number(collection: Path) -> None:
    (collection / "points.json").write_text("[")


def with_the_number_of_another_shard(collection: Path) -> None:
    (collection / "points.json").write_text('{"points": 7, "files": "another"}')


@pytest.mark.parametrize("change", [leaving_out_the_number, with_a_damaged_number, with_the_number_of_another_shard])
def test_points_are_counted_again_unless_their_number_is_of_these_files(tmp_path: Path, change: Callable[[Path], None]) -> None:
    made(tmp_path, points=2)
    change(tmp_path / "docs")
    with EdgeStore(tmp_path) as store:
        assert [(info.points, info.problem) for info in store.collections()] == [(2, None)]


def test_a_killed_process_leaves_no_number_of_points_that_is_too_old(tmp_path: Path) -> None:
    made(tmp_path, points=2)
    run("store = EdgeStore(root); store.delete('docs', [point.id for point in store.scroll('docs')][:1]); os._exit(9)", tmp_path)
    with EdgeStore(tmp_path) as store:
        assert [info.points for info in store.collections()] == [1]


def test_listing_does_not_keep_collections_locked(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path) as first, EdgeStore(tmp_path) as second:
        assert [info.name for info in first.collections()] == ["docs"]
        assert second.count("docs") == 0


def test_other_threads_of_the_holder_may_use_and_close_it(tmp_path: Path) -> None:
    store = EdgeStore(tmp_path)
    store.ensure(manifest("docs"), OPTIONS)
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()
    with EdgeStore(tmp_path) as other:
        assert other.count("docs") == 0


def test_a_killed_holder_leaves_no_lock_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    killed = run(
        """
store = EdgeStore(root)
store.ensure(manifest("docs"), CollectionOptions())
store.upsert("docs", [point(number) for number in range(100)])
store.set_payload("docs", {point(0).id: {"text": "changed"}})
store.delete("docs", [point(1).id])
os.kill(os.getpid(), signal.SIGKILL)
""",
        tmp_path,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with EdgeStore(tmp_path) as store:
        found = {each.id: each.payload for each in store.scroll("docs")}
    assert found.keys() == {point(number).id for number in range(100)} - {point(1).id}
    assert found[point(0).id] == {"text": "changed"}


# --- half-made


def without_shard(directory: Path) -> None:
    (directory / "shard").rename(directory / "gone")


def with_shard_in_the_making(directory: Path) -> None:
    (directory / "shard").rename(directory / "shard.new")


def with_damaged_shard_in_the_making(directory: Path) -> None:
    (directory / "shard").rename(directory / "shard.new")
    (directory / "shard.new" / "edge_config.json").write_text("{")


def without_anything(directory: Path) -> None:
    (directory / "shard").rename(directory / "gone")
    (directory / "manifest.json").unlink()


@pytest.mark.parametrize("crash", [without_shard, with_shard_in_the_making, with_damaged_shard_in_the_making, without_anything])
def test_what_a_crash_left_half_made_does_not_exist_until_it_is_finished(tmp_path: Path, crash: object) -> None:
    made(tmp_path)
    assert callable(crash)
    crash(tmp_path / "docs")
    with EdgeStore(tmp_path) as store:
        assert store.collections() == []
        for use in (store.count, store.manifest, store.drop):
            with pytest.raises(CollectionNotFoundError):
                use("docs")
        store.ensure(manifest("docs"), OPTIONS)
        store.upsert("docs", [point(1)])
    with EdgeStore(tmp_path) as store:
        assert store.manifest("docs") == manifest("docs")
        assert store.count("docs") == 1
        assert len(store.fingerprints("docs", [point(1).payload["_ingest"]["doc_key"]])) == 1


def test_a_missing_payload_index_is_made_by_ensure(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path) as store:
        from qdrant_edge import UpdateOperation  # noqa: PLC0415  only to break what ensure repairs

        store.count("docs")
        shard = store._open["docs"].shard
        shard.update(UpdateOperation.delete_field_index("source"))
        assert "source" not in shard.info().payload_schema
        store.ensure(manifest("docs"), OPTIONS)
        assert "source" in shard.info().payload_schema


def test_a_collection_without_a_manifest_is_not_ours(tmp_path: Path) -> None:
    made(tmp_path, points=3)
    (tmp_path / "docs" / "manifest.json").unlink()
    with EdgeStore(tmp_path) as store:
        with pytest.raises(StoreError, match="not made by this package"):
            store.ensure(manifest("docs"), OPTIONS)
        with pytest.raises(StoreError, match="not made by this package"):
            store.manifest("docs")
        assert [(info.name, info.points, info.manifest, info.ours) for info in store.collections()] == [("docs", 3, None, False)]


@pytest.mark.parametrize("text", ["", "{", "[]", "\udcff"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    made(tmp_path)
    (tmp_path / "docs" / "manifest.json").write_text(text, errors="surrogateescape")
    with EdgeStore(tmp_path) as store:
        with pytest.raises(StoreError, match="damaged"):
            store.ensure(manifest("docs"), OPTIONS)
        [info] = store.collections()
    assert (info.points, info.manifest, info.ours) == (None, None, True)
    assert "damaged" in (info.problem or "")


def with_damaged_layout(shard: Path) -> None:
    (shard / "edge_config.json").write_text("{")


def with_truncated_vectors(shard: Path) -> None:
    """The engine panics."""
    for status in shard.rglob("status.dat"):
        status.write_bytes(b"")


@pytest.mark.parametrize("damage", [with_damaged_layout, with_truncated_vectors])
def test_a_damaged_shard_is_refused_listed_and_can_be_dropped(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    made(tmp_path, points=1)
    damage(tmp_path / "docs" / "shard")
    with EdgeStore(tmp_path) as store:
        store.ensure(manifest("whole"), OPTIONS)
        with pytest.raises(StoreError, match="docs") as caught:
            store.count("docs")
        assert "\n" not in str(caught.value)
        damaged, whole = store.collections()
        assert (damaged.name, damaged.points, damaged.manifest, damaged.ours) == ("docs", None, manifest("docs"), True)
        assert damaged.problem == str(caught.value)
        assert (whole.name, whole.points, whole.problem) == ("whole", 0, None)
        store.drop("docs")
        store.drop("whole")
        assert store.collections() == []


# --- memory


def resident_files(directory: Path) -> int:
    """Bytes of the files under `directory` that are mapped and resident in this process."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = str(directory) in line
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_a_long_load_does_not_keep_what_it_wrote_in_memory(tmp_path: Path) -> None:
    wide = Manifest("docs", "docs", (VectorSpec("dense", 256, "1"),))
    random = np.random.default_rng(0)
    with EdgeStore(tmp_path) as store:
        store.ensure(wide, OPTIONS)
        matrix = random.standard_normal((500, 256)).astype(np.float32)
        for start in range(0, 40_000, 500):
            store.upsert("docs", [Point(str(UUID(int=start + row)), {"dense": matrix[row]}, {}) for row in range(500)])
        assert resident_files(tmp_path) < 8 * 2**20  # of 40 MiB of vectors alone
        assert store.count("docs") == 40_000
        [found] = [each for each in store.scroll("docs", vectors=True) if each.id == str(UUID(int=7))]
    stored = found.vectors["dense"]
    assert isinstance(stored, np.ndarray)
    np.testing.assert_allclose(stored, matrix[7] / np.linalg.norm(matrix[7]), atol=1e-6)

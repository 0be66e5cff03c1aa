"""The embedded store's alias file: whose it is, what a crash or another process does to it."""

from __future__ import annotations

import shutil
import stat
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from store_data import manifest, point

from ingest.errors import CollectionNotFoundError, ConfigurationError, StoreError, StoreLockedError
from ingest.store.contract import CollectionOptions
from ingest.store.edge.store import EdgeStore


def made(root: Path) -> Path:
    """A store with the collection `docs_1`, called `docs`."""
    with EdgeStore(root) as store:
        store.ensure(manifest("docs_1"), CollectionOptions())
        store.upsert("docs_1", [point(1)])
        store.set_aliases({"docs": "docs_1"})
    return root


def test_the_file_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    made(tmp_path)
    for name in ("aliases.json", "aliases.lock"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_store_without_aliases_has_no_file(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with EdgeStore(root) as store:
        store.set_aliases({"nobody": None})
        assert store.aliases() == {}
        assert not root.exists()
        store.ensure(manifest("docs"), CollectionOptions())
        store.drop("docs")
    assert not (root / "aliases.json").exists()


def test_what_another_process_sets_is_seen_at_the_next_use(tmp_path: Path) -> None:
    made(tmp_path)
    with EdgeStore(tmp_path) as reader, EdgeStore(tmp_path) as other:
        assert reader.count("docs") == 1
        other.ensure(manifest("docs_2"), CollectionOptions())
        other.close()
        with EdgeStore(tmp_path) as third:
            third.set_aliases({"docs": "docs_2"})  # though the reader holds docs_1
        assert reader.count("docs") == 0


def test_another_process_never_sees_half_a_swap(tmp_path: Path) -> None:
    made(tmp_path)
    done = threading.Event()
    seen: list[dict[str, str]] = []

    def read() -> None:
        with EdgeStore(tmp_path) as reader:
            while not done.is_set():
                seen.append(reader.aliases())

    with EdgeStore(tmp_path) as store:
        store.ensure(manifest("docs_2"), CollectionOptions())
        one, other = {"docs": "docs_1", "old": "docs_2"}, {"docs": "docs_2", "old": "docs_1"}
        store.set_aliases(one)
        thread = threading.Thread(target=read)
        thread.start()
        for _ in range(25):
            store.set_aliases(other)
            store.set_aliases(one)
        done.set()
        thread.join()
    assert seen
    assert all(each in (one, other) for each in seen)


def test_an_alias_goes_with_a_collection_that_was_deleted_behind_our_back(tmp_path: Path) -> None:
    made(tmp_path)
    shutil.rmtree(tmp_path / "docs_1")
    with EdgeStore(tmp_path) as store:
        assert store.aliases() == {}
        with pytest.raises(CollectionNotFoundError, match="docs"):
            store.count("docs")


def test_what_a_crash_left_of_a_change_does_not_count(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / ".aliases.json.x1y2").write_text('{"do')
    with EdgeStore(tmp_path) as store:
        assert store.aliases() == {"docs": "docs_1"}
        store.set_aliases({"more": "docs_1"})
        assert store.aliases() == {"docs": "docs_1", "more": "docs_1"}
        assert [info.name for info in store.collections()] == ["docs_1"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"docs": 1}', "\udcff"])
def test_a_damaged_file_is_refused_and_a_collection_by_its_own_name_not_lost(tmp_path: Path, text: str) -> None:
    made(tmp_path)
    (tmp_path / "aliases.json").write_text(text, errors="surrogateescape")
    with EdgeStore(tmp_path) as store:
        with pytest.raises(StoreError, match=r"aliases\.json are damaged") as caught:
            store.count("docs")
        assert "\n" not in str(caught.value)
        (tmp_path / "aliases.json").unlink()
        assert store.count("docs_1") == 1


def test_a_name_that_leads_out_of_the_store_is_no_target(tmp_path: Path) -> None:
    with EdgeStore(made(tmp_path)) as store, pytest.raises(ConfigurationError):
        store.set_aliases({"docs": "../docs_1"})


def test_changes_wait_for_each_other_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)
    monkeypatch.setattr("ingest.store.edge.aliases.LOCK_SECONDS", 0.05)
    with FileLock(tmp_path / "aliases.lock"), EdgeStore(tmp_path) as store:
        assert store.aliases() == {"docs": "docs_1"}  # reading needs no lock
        with pytest.raises(StoreLockedError, match="aliases"):
            store.set_aliases({"docs": None})

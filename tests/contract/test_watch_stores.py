"""A watched folder, in every store: whatever happens to its files, its events and the store, it ends as a fresh run of it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.cli.watching import JOB, open_watches, run_again, sync_parts
from ingest.collection import Collection
from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, SourceError, StoreError
from ingest.receipt import Receipt
from ingest.schedule.watching import Watches
from ingest.source import open_source
from ingest.source.files import FolderSource
from ingest.source.pieces import PiecesSource
from ingest.store.contract import Store
from ingest.store.schema import SOFT_DELETED_FIELD
from ingest.testing import FakeChanges, FakeClock, FlakyStore, HashEncoder

Script = Iterator[Sequence[str] | None]


class Watch:
    """Watches one folder, driven by a script instead of the system."""

    def __init__(self, store: Any, collection: str, tmp_path: Path) -> None:
        self.store, self.name, self.state = store, collection, tmp_path / "state"
        self.root = tmp_path / "docs"
        self.root.mkdir(exist_ok=True)
        self.encoder = HashEncoder("hash", 8, record=True)
        self.told: list[Receipt | IngestError] = []
        self.parts: list[Sequence[PiecesSource] | None] = []
        self.clock = FakeClock()

    def write(self, *names: str, text: str = "One paragraph.") -> list[str]:
        for name in names:
            path = self.root / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(f"{text} {name}")
        return [str(self.root / name) for name in names]

    def remove(self, *names: str) -> list[str]:
        for name in names:
            (self.root / name).unlink()
        return [str(self.root / name) for name in names]

    def collection(self, name: str = "", store: Store | None = None) -> Collection:
        return Collection(name or self.name, store=store or self.store, models=[self.encoder], state=self.state)

    def follow(self, script: Script, **deletion: Any) -> None:
        """Run the whole folder, then follow the script to its end."""
        source = open_source(self.root)
        assert isinstance(source, FolderSource)
        delete = deletion.setdefault("delete", "full")
        changes = FakeChanges(script, self.clock)
        watches = Watches({JOB: ([source], delete == "full")}, changes, clock=self.clock)
        with self.collection() as opened:

            def sync(parts: Sequence[PiecesSource] | None) -> Receipt:
                self.parts.append(parts)
                if parts is None:
                    return opened.sync(source, **deletion)
                return sync_parts(opened, parts, delete=delete, rejects=self.state / "rejects.jsonl")

            sync(None)
            run_again(sync, every=3600, watches=watches, stop=changes, tell=self.told.append)

    def stored(self, name: str = "") -> dict[str, Any]:
        """Return what is stored, without the times and versions of files: a file that is only touched is unchanged."""
        found = {}
        for point in self.store.scroll(name or self.name, vectors=True):
            own = {**point.payload["_ingest"], "version": None}
            vectors = {key: list(each) for key, each in point.vectors.items()}
            found[point.id] = ({**point.payload, "modified": None, "_ingest": own}, vectors)
        return found

    def doc_ids(self) -> set[str]:
        return {point.payload["doc_id"] for point in self.store.scroll(self.name)}

    def fresh(self) -> dict[str, Any]:
        with self.collection(f"{self.name}_fresh") as opened:
            opened.sync(self.root)
        return self.stored(f"{self.name}_fresh")

    @property
    def whole_runs(self) -> int:
        return self.parts[1:].count(None)


@pytest.fixture
def watch(store: Store, collection: str, tmp_path: Path) -> Watch:
    return Watch(store, collection, tmp_path)


def test_a_change_is_written_alone_and_as_a_run_would(watch: Watch) -> None:
    watch.write(*(f"d{number}.md" for number in range(8)))

    def script() -> Script:
        yield watch.write("d3.md", text="Edited.")
        yield watch.write("new.md", "deep/er.md")
        yield watch.write(".hidden.md", "d1.md~", "node_modules/x.md", "picture.png", "d2.md.tmp")
        yield watch.write("d3.md", text="Edited.")

    watch.follow(script())
    assert [receipt.read for receipt in watch.told if isinstance(receipt, Receipt)] == [1, 2, 1]
    assert watch.whole_runs == 0
    assert len(watch.encoder.encoded) == 8 + 3
    assert watch.stored() == watch.fresh()


def test_a_run_of_changed_files_is_not_noted_as_one_of_the_source_and_may_not_delete(watch: Watch) -> None:
    watch.write("a.md", "b.md")
    watch.follow(iter([]))
    source = open_source(watch.root)
    assert isinstance(source, FolderSource)
    part = source.part([source.place.entry_below("a.md")])
    with watch.collection() as opened:
        [before] = opened.sources()
        assert opened.sync(part).unchanged == 1
        assert opened.sources() == [before]
        with pytest.raises(ConfigurationError, match="only a part of the source"):
            opened.sync(part, delete="full")
    assert watch.doc_ids() == {"a.md", "b.md"}


def test_a_removed_file_is_deleted_by_a_run_of_the_whole_folder_alone(watch: Watch) -> None:
    watch.write(*(f"d{number}.md" for number in range(8)))

    def script() -> Script:
        yield watch.remove("d0.md")
        yield [str(watch.root / "d1.md")]  # as if it had been removed, and it is there

    watch.follow(script())
    assert watch.whole_runs == 1
    assert watch.doc_ids() == {f"d{number}.md" for number in range(1, 8)}


def test_without_full_deletes_a_removed_file_stays(watch: Watch) -> None:
    watch.write("a.md", "b.md")

    def script() -> Script:
        yield watch.remove("a.md")

    watch.follow(script(), delete="incremental")
    assert (watch.whole_runs, watch.told, watch.doc_ids()) == (0, [], {"a.md", "b.md"})


def test_a_folder_that_is_gone_is_kept_by_the_deletion_limit(watch: Watch) -> None:
    watch.write(*(f"{folder}/d{number}.md" for folder in "ab" for number in range(8)))

    def script() -> Script:
        (watch.root / "a").rename(watch.root.parent / "a")
        yield [str(watch.root / "a")]
        yield []
        yield []
        (watch.root.parent / "a").rename(watch.root / "a")
        yield [str(watch.root / "a")]

    watch.follow(script())
    braked, restored = watch.told
    assert isinstance(braked, DeletionBrakeError)
    assert isinstance(restored, Receipt)
    assert (restored.unchanged, restored.deleted) == (16, 0)
    assert len(watch.doc_ids()) == 16


def test_a_root_that_is_gone_is_an_error_that_is_tried_again_and_deletes_nothing(watch: Watch) -> None:
    watch.write("a.md", "b.md")

    def script() -> Script:
        watch.root.rename(watch.root.parent / "elsewhere")
        yield None
        yield []
        yield []
        (watch.root.parent / "elsewhere").rename(watch.root)
        yield watch.write("a.md", text="Edited.")
        yield []

    watch.follow(script(), max_delete="100%")
    *errors, receipt = watch.told
    assert [type(error) for error in errors] == [SourceError] * 3
    assert isinstance(receipt, Receipt)
    assert (receipt.updated, receipt.unchanged) == (1, 1)
    assert watch.clock.slept == [1.0, 2.0, 4.0]


def test_a_file_that_comes_back_in_its_grace_period_is_restored_and_not_encoded(watch: Watch) -> None:
    watch.write(*(f"d{number}.md" for number in range(4)))

    def script() -> Script:
        yield watch.remove("d0.md")
        yield watch.write("d0.md")

    watch.follow(script(), delete_after="7d")
    first, second = watch.told
    assert isinstance(first, Receipt)
    assert isinstance(second, Receipt)
    assert (first.soft_deleted, second.read) == (1, 1)
    assert all("soft_deleted_at" not in point.payload["_ingest"] for point in watch.store.scroll(watch.name))
    assert SOFT_DELETED_FIELD == "_ingest.soft_deleted_at"
    assert len(watch.encoder.encoded) == 4


def test_a_table_that_lost_a_record_is_read_with_the_whole_folder(watch: Watch) -> None:
    records = [json.dumps({"id": f"r{number}", "text": f"Record {number}."}) for number in range(4)]
    (watch.root / "table.jsonl").write_text("\n".join(records))

    def script() -> Script:
        (watch.root / "table.jsonl").write_text("\n".join(records[1:]))
        yield [str(watch.root / "table.jsonl")]

    watch.follow(script())
    assert watch.whole_runs == 1
    assert watch.stored() == watch.fresh()


def test_ignore_rules_that_change_concern_every_file(watch: Watch) -> None:
    watch.write("a.md", "b.md", "c.md")

    def script() -> Script:
        (watch.root / ".ingestignore").write_text("b.md\n")
        yield [str(watch.root / ".ingestignore")]
        yield watch.write("b.md", text="Edited.")

    watch.follow(script())
    assert watch.whole_runs == 1
    assert watch.doc_ids() == {"a.md", "c.md"}


def test_a_store_that_fails_is_tried_again(watch: Watch) -> None:
    watch.write("a.md", "b.md")
    real = watch.store
    failing: list[StoreError] = []
    watch.store = FlakyStore(real, lambda method, number: ("before", failing.pop()) if failing else None)

    def script() -> Script:
        failing.extend([StoreError("no space"), StoreError("no space")])
        yield watch.write("a.md", text="Edited.")
        yield watch.write("c.md")
        yield []
        yield []

    watch.follow(script())
    assert [type(told) for told in watch.told] == [StoreError, StoreError, Receipt]
    watch.store = real
    assert watch.stored() == watch.fresh()


def test_a_configuration_that_fits_no_more_ends_the_watch(watch: Watch) -> None:
    watch.write("a.md")

    def script() -> Script:
        watch.encoder = HashEncoder("hash", 8, revision="2")
        with watch.collection() as opened:
            opened.drop()
            opened.sync(watch.root)
        yield watch.write("a.md", text="Edited.")

    with pytest.raises(ConfigurationError, match="hash"):
        watch.follow(script())


def test_only_local_folders_are_watched(tmp_path: Path) -> None:
    file = tmp_path / "one.md"
    file.write_text("One.")
    stop = FakeChanges([], FakeClock())
    with pytest.raises(ConfigurationError, match=r"only local folders .* --every 5m"):
        open_watches({JOB: ([open_source(file)], "full")}, stop)


NAMES = [f"{folder}{letter}.md" for folder in ("", "x/", "x/y/", "z/") for letter in "abc"]


def something(watch: Watch, rng: random.Random) -> list[str]:
    """Do something to the folder, and return the events that the system would report."""

    def rename(old: Path, new: Path) -> list[str]:
        if not old.exists() or new.exists():
            return []
        new.parent.mkdir(exist_ok=True, parents=True)
        old.rename(new)
        return [str(old), str(new)]

    def remove(path: Path) -> list[str]:
        path.unlink(missing_ok=True)
        return [str(path)]

    def ignore(rule: str) -> list[str]:
        path = watch.root / ".ingestignore"
        path.write_text(rule)
        return [str(path)]

    one, other = (watch.root / rng.choice(NAMES) for _ in range(2))
    doings: list[Callable[[], list[str]]] = [
        lambda: watch.write(str(one.relative_to(watch.root)), text=f"Text {rng.randrange(5)}."),
        lambda: rename(one, other),
        lambda: remove(one),
        lambda: rename(watch.root / "x", watch.root / "z" / "x"),
        lambda: rename(watch.root / "z" / "x", watch.root / "x"),
        lambda: ignore(rng.choice(["b.md\n", "", "x/\n"])),
    ]
    return rng.choices(doings, weights=[6, 2, 2, 1, 1, 1])[0]()


class LostError(StoreError):
    """A write, or its acknowledgement."""


@pytest.mark.parametrize("seed", range(2))
def test_events_lost_doubled_and_reordered_and_writes_that_fail_change_nothing_in_the_end(watch: Watch, seed: int) -> None:
    rng = random.Random(seed)
    real = watch.store
    watch.store = FlakyStore(
        real, lambda *_: (rng.choice(("before", "halfway", "after")), LostError("lost")) if rng.random() < 0.1 else None
    )

    def script() -> Script:
        late: list[str] = []
        for _ in range(12):
            events = [event for _ in range(rng.randrange(1, 4)) for event in something(watch, rng)]
            late += [event for event in events * 2 if rng.random() < 0.4]
            rng.shuffle(late)
            yield [late.pop() for _ in range(rng.randrange(len(late) + 1))]
        watch.store._cue = lambda *_: None
        yield None  # as the scheduled run of the whole folder
        yield from [[]] * 20

    for _ in range(2):  # the second time as after a crash, with what has changed meanwhile
        try:
            watch.follow(script(), max_delete="100%")
        except LostError:  # of the first run, whose errors are the command's
            continue
    watch.store = real
    watch.follow(iter([]), max_delete="100%")
    assert watch.stored() == watch.fresh()

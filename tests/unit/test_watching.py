"""What is read next when files change, on a clock of the test's own; and what the system really says of a folder."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from command import DEADLINE
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import JobRunningError
from ingest.schedule.health import JobsHealth, Limits
from ingest.schedule.status import JobRecord, JobStatus
from ingest.schedule.timetable import Timetable, announce, interval_trigger, run_on_schedule
from ingest.schedule.watching import LONGEST_BACKOFF, MAX_PATHS, Pending, Watchable, Watches, merge
from ingest.source import open_source
from ingest.source.files import FolderSource
from ingest.source.sql import SqlSource
from ingest.source.watching import AnyChanges, FolderChanges, changed_part
from ingest.testing import FakeChanges, FakeClock

PATHS = st.frozensets(st.sampled_from([f"/docs/{number}.md" for number in range(6)]))
CHANGES = st.lists(st.one_of(PATHS, st.none()), max_size=6)


@given(CHANGES, st.randoms(use_true_random=False))
def test_changes_that_come_twice_and_in_another_order_are_the_same_changes(
    changes: list[frozenset[str] | None], rng: object
) -> None:
    def merged(events: Iterable[tuple[float, frozenset[str] | None]]) -> Pending:
        pending = Pending()
        for at, paths in events:
            pending = merge(pending, Pending(paths, at))
        return pending

    events = list(enumerate(changes))
    shuffled = events * 2
    rng.shuffle(shuffled)  # type: ignore[attr-defined]  # a random.Random
    assert merged(shuffled) == merged(events)


def test_too_many_changes_are_anything() -> None:
    some = Pending(frozenset(map(str, range(MAX_PATHS))), 1.0)
    assert merge(some, Pending(frozenset(["0"]), 2.0)) == some
    assert merge(some, Pending(frozenset(["one more"]), 2.0)) == Pending(None, 1.0)


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    """A folder with files, an ignored one, and things that are no files."""
    root = tmp_path / "docs"
    for name in ("a.md", "b.md", "ignored.md", "sub/c.md", "table.csv", "picture.png", ".hidden.md", ".git/x.md", "a.md~"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("id,text\n1,One.\n")
    (root / ".ingestignore").write_text("ignored*\n")
    (root / "link.md").symlink_to(root / "a.md")
    (root / "linked").symlink_to(root / "sub")
    (root / "one.md").write_text("A file with two names.")
    (root / "two.md").hardlink_to(root / "one.md")
    (root / "ignored-too.md").hardlink_to(root / "picture.png")
    source = open_source(root)
    assert isinstance(source, FolderSource)
    return source


@pytest.mark.parametrize(
    ("changed", "expected", "with_deletes"),
    [
        (["a.md", "sub/c.md"], ["a.md", "sub/c.md"], ["a.md", "sub/c.md"]),
        (["picture.png"], [], []),
        (["ignored.md", ".hidden.md", ".git/x.md", ".git", "a.md~", "node_modules/b.md"], [], []),
        ([".a.md.swp", "a.md.tmp", "~$a.md", "4913~"], [], []),  # of editors that save
        (["ignored-and-gone.md"], [], []),
        (["gone.md", "a.md"], ["a.md"], None),
        (["sub"], None, None),
        ([".ingestignore"], None, None),
        (["sub/.gitignore"], None, None),
        (["table.csv"], ["table.csv"], None),
        (["link.md"], [], None),  # it may have been a file before
        (["linked/c.md"], [], None),
        (["one.md"], None, None),
        (["../elsewhere.md", "../docs2/a.md"], [], []),
    ],
)
def test_the_part_that_has_changed(
    folder: FolderSource, changed: Sequence[str], expected: list[str] | None, with_deletes: list[str] | None
) -> None:
    def part(*, deletes_missing: bool) -> list[str] | None:
        paths = [os.path.normpath(f"{folder.place.path}/{name}") for name in changed]
        found = changed_part(folder, paths, deletes_missing=deletes_missing)
        return None if found is None else [piece.entry.relative for piece in found.pieces]

    assert part(deletes_missing=False) == expected
    assert part(deletes_missing=True) == with_deletes


def test_a_changed_file_is_chosen_by_the_patterns_of_its_source(tmp_path: Path) -> None:
    for name in ("a.md", "a.txt", "drafts/b.md"):  # one of them is chosen
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("Text.")
    source = open_source(tmp_path, include=["*.md"], exclude=["drafts/**"])
    assert isinstance(source, FolderSource)
    part = source.part([source.place.entry_below(name) for name in ("a.md", "a.txt", "drafts/b.md")])
    assert [piece.doc_id for piece in part.pieces] == ["a.md"]
    assert list(part.read()) == list(source.read())


class Loop:
    """The loop of scheduled and watched jobs, whose runs take the time that `takes` says; `outcomes`: whether they fail."""

    def __init__(self, folder: FolderSource, *, every: float = 1e6, deletes_missing: bool = False) -> None:
        self.clock = FakeClock()
        self.folder = folder
        self.every = every
        self.deletes_missing = deletes_missing
        self.runs: list[tuple[float, list[str] | None]] = []
        self.outcomes: list[bool | Exception] = []
        self.takes = 0.0
        self.watches: Watches

    def path(self, name: str) -> str:
        return f"{self.folder.place.path}/{name}"

    def play(self, script: Iterable[Iterable[str] | None]) -> None:
        named = (None if step is None else map(self.path, step) for step in script)
        changes = FakeChanges(named, self.clock)
        self.watches = Watches({"docs": ([self.folder], self.deletes_missing)}, changes, clock=self.clock)
        started = self.now()
        timetable = Timetable({"docs": interval_trigger(self.every)}, {"docs": JobStatus("docs", last_success=started)}, started)
        run_on_schedule(timetable, self.run, stop=changes, watches=self.watches, clock=self.now)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def run(self, job: str, _next_run: datetime) -> None:
        with self.watches.batch(job) as batch:
            if batch.is_empty:
                return
            names = None if batch.parts is None else [piece.entry.relative for part in batch.parts for piece in part.pieces]
            self.runs.append((self.clock(), names))
            self.clock.sleep(self.takes)
            outcome = self.outcomes.pop(0) if self.outcomes else False
            if isinstance(outcome, Exception):
                raise outcome
            batch.failed = outcome


def test_a_database_that_tells_of_a_change_is_read_as_a_whole(folder: FolderSource, tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "shop.db").close()
    rows = open_source(f"sqlite:///{tmp_path}/shop.db", table="docs", name="rows")
    assert isinstance(rows, SqlSource)
    file = f"{folder.place.path}/a.md"
    clock = FakeClock()
    streams = [FakeChanges([[file], []], clock), FakeChanges([["rows"], ["rows"]], clock)]
    jobs: dict[str, tuple[list[Watchable], bool]] = {
        "docs": ([folder], True),
        "shop": ([rows], True),
        "both": ([folder, rows], True),
    }
    watches = Watches(jobs, AnyChanges(streams, lambda: False), clock=clock)
    taken: list[dict[str, list[str] | None]] = []
    for _ in range(2):
        watches.wait(60)
        taken.append({})
        while (job := watches.due()) is not None:
            with watches.batch(job) as batch:
                parts = None if batch.parts is None else [piece.doc_id for part in batch.parts for piece in part.pieces]
                taken[-1][job] = parts
    assert taken == [{"docs": ["a.md"], "shop": None, "both": None}, {"shop": None, "both": None}]


def test_a_storm_of_changes_is_one_run_of_the_whole_folder(folder: FolderSource) -> None:
    loop = Loop(folder)
    loop.play([(f"new{number}.md" for number in range(10_000))])
    assert loop.runs == [(0.0, None)]


@pytest.mark.parametrize("storm", [None, ["gone.md"], ["sub"]])
def test_a_storm_that_does_not_end_leaves_the_job_half_of_its_time(folder: FolderSource, storm: list[str] | None) -> None:
    loop = Loop(folder, deletes_missing=True)
    loop.takes = 30.0
    loop.play([storm] * 3 + [[]] * 3)
    assert loop.runs == [(0.0, None), (60.0, None)]


@pytest.mark.parametrize("failure", [True, JobRunningError("another process runs it")])
def test_changes_of_a_run_that_fails_are_taken_up_again_after_longer_and_longer(
    folder: FolderSource, failure: bool | Exception
) -> None:
    loop = Loop(folder)
    loop.outcomes = [failure] * 12
    loop.play([["a.md"], ["b.md"], *[[]] * 60])
    assert [names for _, names in loop.runs] == [["a.md"], *[["a.md", "b.md"]] * 12]
    waits = [later - earlier for (earlier, _), (later, _) in zip(loop.runs, loop.runs[1:], strict=False)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, *[LONGEST_BACKOFF] * 3]


def test_the_scheduled_run_reads_the_whole_folder_however_many_changes_come(folder: FolderSource) -> None:
    loop = Loop(folder, every=10.0)
    loop.takes = 1.0
    loop.play([["a.md"]] * 25)
    whole = [at for at, names in loop.runs if names is None]
    assert whole == [10.0, 20.0]


def test_how_long_changes_have_waited(folder: FolderSource, tmp_path: Path) -> None:
    loop = Loop(folder)
    ages: list[float | None] = []
    loop.outcomes = [True] * 4

    def script() -> Iterable[list[str]]:
        ages.append(loop.watches.freshness("docs"))
        yield ["a.md"]
        for _ in range(5):
            ages.append(loop.watches.freshness("docs"))
            yield []

    loop.play(script())
    assert ages == [0, 0, 1, 3, 7, 0]
    assert loop.watches.freshness("another") is None

    records = {"docs": JobRecord(tmp_path, "docs")}
    timetable = Timetable({"docs": interval_trigger(60)}, {"docs": JobStatus("docs")}, loop.now())
    announce(records, timetable, ["docs"])
    limits = Limits(3, 600, {}, freshness=5)
    for age, healthy in ((4.0, True), (6.0, False)):
        health = JobsHealth(records, timetable, limits, freshness=lambda _, age=age: age, clock=loop.now)  # type: ignore[misc]
        well, said = health.report()
        assert (well, said["jobs"]["docs"]["watching"], said["jobs"]["docs"]["freshness_seconds"]) == (healthy, True, age)
        samples = {sample.name: sample.value for metric in health.collect() for sample in metric.samples}
        assert (samples["ingest_freshness_seconds"], samples["ingest_job_watching"]) == (age, 1)


def test_what_the_system_says_of_a_folder(tmp_path: Path) -> None:
    """With the library and the file system as they are: waits end with the event, not with a time."""
    root = tmp_path / "docs"
    root.mkdir()
    changes = FolderChanges([str(root)])

    def noticed(path: Path) -> None:
        while str(path) not in (changes.wait(DEADLINE) or {str(path)}):
            pass

    (root / "a.md").write_text("One.")
    noticed(root / "a.md")
    (root / "a.md").rename(root / "b.md")
    noticed(root / "b.md")
    (root / "b.md").unlink()
    noticed(root / "b.md")
    root.rename(tmp_path / "elsewhere")
    root.mkdir()
    while changes.wait(DEADLINE) is not None:  # another folder in its place: anything may have changed
        pass
    (root / "c.md").write_text("Three.")
    noticed(root / "c.md")


def test_a_watch_that_cannot_be_opened_again_pauses_as_its_owner_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "docs"
    pauses: list[float] = []
    root.mkdir()
    changes = FolderChanges([str(root)], lambda: bool(pauses), pause=pauses.append)
    root.rename(tmp_path / "elsewhere")
    root.mkdir()

    def no_watches_left(_: object) -> object:
        raise OSError("no space left on device")

    monkeypatch.setattr("watchfiles.watch", lambda *_paths, **_options: map(no_watches_left, [None]))
    assert changes.wait(DEADLINE) is None
    assert changes.wait(DEADLINE) == frozenset()  # it is to stop
    assert pauses == [5.0]

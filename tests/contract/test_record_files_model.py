"""Whatever happens to files of records and to their points: a run by version ends like one that reads everything.

Two collections live through the same history. In one, unchanged files are not read; in the other, everything is.

`pytest --hypothesis-profile thorough` tries many more histories.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_server import Address
from record_folder import RecordFolder, Records
from sync_bench import DAY, SyncBench, counts, document, without_versions
from sync_world import LostError, crashing

from ingest.receipt import Receipt
from ingest.records import Document
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.deletion import delete_documents
from ingest.sync.plan import DeleteMode
from ingest.testing import ListSource, Moment

Kind = Literal[
    "edit",
    "add",
    "remove",
    "move",
    "twice",
    "break",
    "touch",
    "empty",
    "drop",
    "rename",
    "push",
    "delete",
    "lose",
    "hide",
    "notice",
]


class Event(NamedTuple):
    """Something that happens to a record or file, or to its points; `which` chooses it, `letter` is the new text.

    A file that is noticed is written alone, as by a watch, whether or not it has changed.
    """

    kind: Kind
    which: int
    letter: str


class Round(NamedTuple):
    """Events, days that pass, and a run that first crashes at an effect."""

    events: Sequence[Event]
    delete: DeleteMode = DeleteMode.FULL
    grace: float | None = None
    days: int = 0
    crash: tuple[int, Moment] | None = None


events = st.builds(Event, st.sampled_from(get_args(Kind)), st.integers(0, 11), st.sampled_from(["a", "b", "cd"]))
rounds = st.builds(
    Round,
    st.lists(events, max_size=3),
    st.sampled_from([DeleteMode.FULL, DeleteMode.FULL, DeleteMode.INCREMENTAL, DeleteMode.NONE]),
    st.sampled_from([None, 2 * DAY]),
    st.integers(0, 2),
    st.one_of(st.none(), st.tuples(st.integers(1, 4), st.sampled_from(get_args(Moment)))),
)
histories = st.lists(rounds, min_size=1, max_size=4)
EXAMPLES = settings().max_examples // 20
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


class Twins:
    """Two collections of one folder: by version, and by content."""

    def __init__(self, store: Store, folder: Path) -> None:
        name = f"test_{uuid.uuid4().hex}"
        self.benches = {check: SyncBench(store, f"{name}_{check}", folder / check) for check in ("version", "content")}
        for bench in self.benches.values():
            bench.folder.mkdir(exist_ok=True)
        self.receipts: dict[str, Receipt] = {}
        self.folder = RecordFolder(folder / name)
        self.folder.write({"a.jsonl": [("r0", "a"), ("r1", "bc")], "b.jsonl": [("r0", "b")], "c.jsonl": []})

    def live_through(self, round_: Round) -> None:
        for event in round_.events:
            self._happen(event)
        outcomes = []
        for check, bench in self.benches.items():
            bench.clock += round_.days * DAY
            options: dict[str, Any] = {"delete": round_.delete, "delete_after": round_.grace, "max_delete": 1.0, "check": check}
            if round_.crash is not None:
                with suppress(LostError):
                    bench.run([self.folder.source()], store=crashing(bench.store, *round_.crash), **options)
            receipt = bench.run([self.folder.source()], **options)
            path = bench.folder / "rejects.jsonl"
            rejects = path.read_text() if path.exists() else ""
            outcomes.append((receipt.rejected, receipt.read, receipt.balanced, rejects, without_versions(bench.stored())))
            self.receipts[check] = receipt
        assert outcomes[0] == outcomes[1]

    def _happen(self, event: Event) -> None:
        names = sorted(self.folder.files)
        name, other = names[event.which % len(names)], names[(event.which // 3) % len(names)]
        records = list(self.folder.files[name])
        match event.kind:
            case "touch":
                self.folder.touch(name)
            case "drop":
                if len(names) > 1:
                    self.folder.remove(name)
            case "rename":
                self.folder.rename(name, f"{'xyz'[event.which % 3]}{event.which}.jsonl")
            case "push" | "delete" | "lose" | "hide":
                if records:
                    self._meddle(event, f"{name}//{records[event.which % len(records)][0]}")
            case "notice":
                self._notice(name)
            case "move":
                if records and other != name:
                    self.folder.write({other: [*self.folder.files[other], records.pop(0)], name: records})
            case _:
                self.folder.write({name: changed(records, event)})

    def _notice(self, name: str) -> None:
        """Run a file alone, in both collections if they exist."""
        folder = self.folder.source()
        for check, bench in self.benches.items():
            if bench.store.aliases().get(bench.collection):
                part = folder.part([folder.place.entry_below(name)])
                assert bench.run([part], delete=DeleteMode.INCREMENTAL, check=check).balanced

    def _meddle(self, event: Event, doc_id: str) -> None:
        """Change the points of a document, as an app, another tool or a failure may."""
        for check, bench in self.benches.items():
            if not bench.store.aliases().get(bench.collection):
                continue
            points = sorted(bench.stored(doc_id=doc_id))
            if event.kind == "push":
                pushed: list[Document] = [replace(document(doc_id, event.letter), title="pushed")]
                bench.run([ListSource(pushed, self.folder.name)], pushed=True, check=check)
            elif event.kind == "delete":
                delete_documents(bench.store, bench.collection, [doc_id])
            elif event.kind == "lose" and points:
                bench.store.delete(bench.collection, [points[event.which % len(points)]])
            elif event.kind == "hide" and points:
                bench.run(
                    [ListSource([document("else", "a")], self.folder.name)],
                    delete=DeleteMode.FULL,
                    delete_after=DAY,
                    max_delete=1.0,
                )


def changed(records: Records, event: Event) -> Records:
    """Return the records of a file after one of them changed."""
    at = event.which % max(1, len(records))
    match event.kind:
        case "empty":
            return []
        case "add":
            return [*records[:at], (f"r{event.which}", event.letter), *records[at:]]
        case "break":
            return [*records[:at], ("broken", "!"), *records[at:]]
        case "edit":
            return [*records[:at], *((id_, event.letter) for id_, _ in records[at : at + 1]), *records[at + 1 :]]
        case "twice":
            return [*records, *((id_, event.letter) for id_, _ in records[at : at + 1])]
    return records[:at] + records[at + 1 :]


def mended(records: Records) -> Records:
    """Return the records of a file without those that are rejected."""
    return [*dict(each for each in records if "!" not in each[1]).items()]


def check(store: Store, folder: Path, history: Sequence[Round]) -> None:
    twins = Twins(store, folder)
    try:
        for round_ in history:
            twins.live_through(round_)
        twins.folder.write(
            {name: list(dict(each for each in records if each[1] != "!").items()) for name, records in twins.folder.files.items()}
        )
        twins.live_through(Round([]))
        twins.live_through(Round([]))
        documents = sum(map(len, twins.folder.files.values()))
        assert (counts(twins.receipts["version"]).get("unchanged", 0), twins.receipts["version"].skipped_unread) == (
            documents,
            documents,
        )
        assert twins.benches["version"].effects.keys() <= {"set_versions"}
    finally:
        aliases = store.aliases()
        for bench in twins.benches.values():
            if bench.collection in aliases:
                store.drop(aliases[bench.collection])


@settings(UNHURRIED, max_examples=EXAMPLES)
@given(history=histories)
def test_on_the_embedded_engine_a_run_by_version_ends_like_a_run_by_content(tmp_path: Path, history: list[Round]) -> None:
    with open_store(tmp_path / "store") as store:
        check(store, tmp_path, history)


@settings(UNHURRIED, max_examples=EXAMPLES // 5)
@given(history=histories)
def test_on_a_server_a_run_by_version_ends_like_a_run_by_content(server: Address, tmp_path: Path, history: list[Round]) -> None:
    with open_store(server.url) as store:
        check(store, tmp_path, history)

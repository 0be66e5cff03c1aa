"""Whatever happens to a source, and wherever a run crashes: run again, and the store is what a fresh ingestion makes of it.

A round changes the source, perhaps swaps a model, and runs a job that crashes some times before it is left to finish. After each
round every point of the collection must be as a model of the job says, to the bit: what the source has as a fresh ingestion
stores it, what is gone as it was, hidden, or removed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qdrant_server import Address
from sync_bench import DAY, Stored, SyncBench, document

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.errors import SourceError, StoreError
from ingest.records import Document, Point, Rejected
from ingest.reindex.reindex import reindex
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.store.schema import with_soft_delete, without_soft_delete
from ingest.sync.plan import DeleteMode
from ingest.sync.versions import Check
from ingest.testing import Crash, FlakyStore, HashEncoder, Moment

BM25 = ModelManager(EnsembleConfig(ensemble_models=["bm25"])).members[0]
GRACE = 2 * DAY
EFFECTS = 8
"""Requests at least, of a run that has something of everything to do."""


def ensemble(revision: int) -> list[Model]:
    return [HashEncoder("first", 4, record=True), HashEncoder("second", 3, revision=str(revision), record=True), BM25]


class LostError(StoreError):
    """A write, or its acknowledgement."""


# --- what happens


ChangeKind = Literal[
    "add", "edit", "annotate", "move", "copy", "rename", "delete", "restore", "break", "mend", "touch", "edit unseen"
]


@dataclass(frozen=True, slots=True)
class Change:
    """To the source; `which` picks the document (and the paragraph), `letter` what is put there.

    Each gives its document another version, except that an unseen edit does not. To touch a document changes nothing else.
    """

    kind: ChangeKind
    which: int
    letter: str


@dataclass(frozen=True, slots=True)
class Round:
    """Changes, days that pass, another model, documents pushed, and a run that crashes at these effects before one that does not.

    `swap`: by a reindex, or in place, where a manifest and its points disagree. `crashes`: number of the effect, and the moment.
    `breaks_off`: documents after which the source fails once. `pushes`: documents that an app writes before the run.
    """

    changes: Sequence[Change]
    delete: DeleteMode = DeleteMode.FULL
    grace: float | None = None
    days: int = 0
    swap: Literal["reindex", "in place"] | None = None
    crashes: Sequence[tuple[int, Moment]] = ()
    breaks_off: int | None = None
    pushes: int = 0

    @property
    def check(self) -> Check:
        """Only by reading everything can a run find an edit that left the version as it was."""
        return Check.CONTENT if any(change.kind == "edit unseen" for change in self.changes) else Check.VERSION


changes = st.builds(
    Change,
    st.sampled_from([*get_args(ChangeKind), "edit", "delete", "restore"]),
    st.integers(0, 11),
    st.sampled_from("abcd"),
)
rounds = st.builds(
    Round,
    st.lists(changes, max_size=5),
    delete=st.sampled_from([DeleteMode.FULL, DeleteMode.FULL, DeleteMode.INCREMENTAL, DeleteMode.NONE]),
    grace=st.sampled_from([None, GRACE, GRACE]),
    days=st.integers(0, 2),
    swap=st.sampled_from([None, None, None, "in place", "reindex"]),
    crashes=st.lists(st.tuples(st.integers(1, 9), st.sampled_from(get_args(Moment))), max_size=2),
    breaks_off=st.one_of(st.none(), st.none(), st.integers(0, 3)),
    pushes=st.integers(0, 2),
)


# --- the source


@dataclass(slots=True)
class Shelf:
    """A source: document id → its paragraphs' letters and its year, and its version; some are broken.

    What is put back has the version that it had. `unseen`: documents of this round with an edit that left the version as it was.
    """

    documents: dict[str, tuple[str, int]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, tuple[tuple[str, int], int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)
    made: int = 0
    written: int = 0

    def apply(self, change: Change) -> None:
        if change.kind == "restore":
            for id_, (content, version) in self.deleted.items():
                self.documents[id_], self.versions[id_] = content, version
            return
        if change.kind == "add" or not self.documents:
            self._write(self._new_id(), (change.letter * (1 + change.which % 3), 0))
            return
        id_ = sorted(self.documents)[change.which % len(self.documents)]
        content = edited(self.documents[id_], change)
        match change.kind:
            case "edit unseen" if id_ not in self.broken:  # no run reads what is broken
                self.documents[id_] = content
                self.unseen.add(id_)
                self.deleted.pop(id_, None)  # which has the same version
            case "copy":
                self._write(self._new_id(), content)
            case "rename":
                del self.documents[id_]
                self._write(self._new_id(), content)
            case "delete":
                if id_ in self.unseen:
                    self._write(id_, content)
                self.deleted[id_] = self.documents.pop(id_), self.versions[id_]
            case _:
                self._write(id_, content)
        self.broken = set() if change.kind == "mend" else self.broken | {id_} if change.kind == "break" else self.broken
        self.broken &= self.documents.keys()

    def usable(self) -> list[Document]:
        return [
            replace(document(id_, letters, year=year), version=str(self.versions[id_]))
            for id_, (letters, year) in sorted(self.documents.items())
            if id_ not in self.broken
        ]

    def records(self) -> list[Document | Rejected]:
        return [*self.usable(), *(Rejected("somewhere", "broken", doc_id=id_) for id_ in sorted(self.broken))]

    def _write(self, id_: str, content: tuple[str, int]) -> None:
        self.written += 1
        self.documents[id_], self.versions[id_] = content, self.written

    def _new_id(self) -> str:
        """One of few, so that documents come back under the id of one that is gone."""
        self.made += 1
        free = [id_ for id_ in ("d0", "d1", "d2", "d3", "d4") if id_ not in self.documents]
        return free[self.made % len(free)] if free else f"d{self.made + 4}"


def edited(content: tuple[str, int], change: Change) -> tuple[str, int]:
    letters, year = content
    at = change.which % len(letters)
    match change.kind:
        case "edit" | "edit unseen":
            return letters[:at] + change.letter + letters[at + 1 :], year
        case "annotate":
            return letters, year + 1
        case "move":
            return letters[at:] + letters[:at], year
    return content


# --- what must come of it


def expected(before: Stored, fresh: Stored, shelf: Shelf, round_: Round, now: float) -> Stored:
    """What is stored after a run that went through: said as simply as can be, and by nothing of the job itself."""
    wanted = dict(fresh)
    usable = {document.id for document in shelf.usable()}
    for id_ in sorted({payload["doc_id"] for payload, _ in before.values()}):
        points = {point: stored for point, stored in before.items() if stored[0]["doc_id"] == id_}
        if id_ in usable:
            if round_.delete is DeleteMode.NONE:
                wanted |= {point: stored for point, stored in points.items() if point not in fresh}
        elif round_.delete is not DeleteMode.FULL:
            wanted |= points
        elif id_ in shelf.broken:
            wanted |= {point: (without_soft_delete(payload), vectors) for point, (payload, vectors) in points.items()}
        elif round_.grace is not None:
            wanted |= hidden_or_due(points, now, round_.grace)
    return wanted


def hidden_or_due(points: Stored, now: float, grace: float) -> Stored:
    marks = [payload["_ingest"].get("soft_deleted_at") for payload, _ in points.values()]
    if None not in marks:
        due = max(datetime.fromisoformat(mark).timestamp() for mark in marks) + grace <= now
        return {} if due else points
    mark = datetime.fromtimestamp(now, UTC).isoformat()
    return {
        point: (payload if "soft_deleted_at" in payload["_ingest"] else with_soft_delete(payload, mark), vectors)
        for point, (payload, vectors) in points.items()
    }


# --- making it happen


class World:
    """A collection that lives through rounds, and another in which the same source is ingested afresh."""

    def __init__(self, store: Store, folder: Path) -> None:
        name = f"test_{uuid.uuid4().hex}"
        self.bench = SyncBench(store, name, folder)
        self.fresh = SyncBench(store, f"{name}_fresh", folder)
        self._ingested: object = None
        self.shelf = Shelf()
        self.revision = 1
        self.bench.run([document("d0", "ab")], models=ensemble(1))
        self.shelf.documents["d0"], self.shelf.versions["d0"] = ("ab", 0), 0

    def live_through(self, round_: Round) -> None:
        for change in round_.changes:
            self.shelf.apply(change)
        self.bench.clock += round_.days * DAY
        if round_.swap is not None:
            self._swap(round_)
        self.push(round_)
        self.sync(round_)
        self.shelf.unseen.clear()

    def push(self, round_: Round) -> None:
        """Documents written as by an app that has just saved them are as in a fresh ingestion, and all others stay."""
        documents = self.shelf.usable()[: round_.pushes]
        if documents:
            ids, before = {document.id for document in documents}, self.bench.stored()
            assert self.bench.run(documents, pushed=True, models=ensemble(self.revision), check=round_.check).balanced
            others = {point: each for point, each in before.items() if each[0]["doc_id"] not in ids}
            pushed = {point: each for point, each in self.ingested_afresh().items() if each[0]["doc_id"] in ids}
            assert self.bench.stored() == others | pushed

    def sync(self, round_: Round) -> int:
        """The job of a round, its crashes first, and how many there were; then everything must be as it should."""
        before = self.bench.stored()
        changes: dict[str, Any] = {
            "delete": round_.delete,
            "delete_after": round_.grace,
            "max_delete": 1.0,
            "models": ensemble(self.revision),
            "check": round_.check,
        }
        if round_.breaks_off is not None:
            with pytest.raises(SourceError):
                self.bench.run([*self.shelf.records()[: round_.breaks_off], Crash()], **changes)
        crashed = with_crashes(
            lambda store: self.bench.run(self.shelf.records(), store=store, **changes), self.bench.store, round_.crashes
        )
        changes["models"] = ensemble(self.revision)
        receipt = self.bench.run(self.shelf.records(), **changes)
        assert receipt.balanced, receipt.errors
        for model in changes["models"]:
            if isinstance(model, HashEncoder):
                assert known_texts(before, model).isdisjoint(model.encoded), "a text with a stored vector is never encoded"
        assert self.bench.stored() == expected(before, self.ingested_afresh(), self.shelf, round_, self.bench.clock)
        return crashed

    def ingested_afresh(self) -> Stored:
        wanted = ([(each, each.version) for each in self.shelf.usable()], self.revision)
        if wanted != self._ingested:
            self._ingest_afresh()
            self._ingested = wanted
        return self.fresh.stored()

    def drop(self) -> None:
        aliases = self.bench.store.aliases()
        for collection in {aliases[alias] for alias in aliases if alias.startswith(self.bench.collection)}:
            self.bench.store.drop(collection)

    def _ingest_afresh(self) -> None:
        if self.fresh.collection in self.fresh.store.aliases():
            self.fresh.store.delete(self.fresh.collection, list(self.fresh.stored()))
            self.fresh.agree_to(ensemble(self.revision))
        self.fresh.run(self.shelf.usable(), models=ensemble(self.revision))

    def _swap(self, round_: Round) -> None:
        self.revision += 1
        if round_.swap == "in place":
            self.bench.agree_to(ensemble(self.revision))
            return
        before = self.bench.stored()
        with_crashes(self._reindex, self.bench.store, round_.crashes)
        self._reindex(self.bench.store)
        assert all_but("second", self.bench.stored()) == all_but("second", before)

    def _reindex(self, store: Store) -> None:
        self.bench.run_with(
            lambda runner, models, _rejects: reindex(self.bench.job(), store=store, ensemble=Ensemble(runner), keep_old=False),
            ensemble(self.revision),
        )


def known_texts(stored: Stored, model: Model) -> set[str]:
    """The texts that the model has encoded, of documents without a title."""
    return {
        payload["text"] for payload, _ in stored.values() if payload["_ingest"]["vectors"].get(model.key) == model.fingerprint
    }


def all_but(column: str, stored: Stored) -> Stored:
    """Without that vector, and what it was made by."""

    def without(payload: dict[str, Any]) -> dict[str, Any]:
        made = payload["_ingest"]
        return {**payload, "_ingest": {**made, "vectors": {name: by for name, by in made["vectors"].items() if name != column}}}

    return {
        id_: (without(payload), {name: vector for name, vector in vectors.items() if name != column})
        for id_, (payload, vectors) in stored.items()
    }


def with_crashes(work: Callable[[Store], object], store: Store, crashes: Sequence[tuple[int, Moment]]) -> int:
    """Does it once for each crash, at that effect, if it has so many. Gives how many crashed."""
    crashed = 0
    for at, moment in crashes:
        effects = count(1)

        def cue(_name: str, _call: int, at: int = at, moment: Moment = moment) -> tuple[Moment, BaseException] | None:
            return (moment, LostError("crash")) if next(effects) == at else None  # noqa: B023  used up before the next is made

        try:
            work(FlakyStore(store, cue))
        except LostError:
            crashed += 1
    return crashed


@contextmanager
def world(store: Store, folder: Path) -> Iterator[World]:
    made = World(store, folder)
    try:
        yield made
    finally:
        made.drop()


LAST = Round([Change("mend", 0, "a")], DeleteMode.FULL, None)
"""After it, nothing is left but what the source has."""


def check(store: Store, folder: Path, history: Sequence[Round]) -> None:
    with world(store, folder) as lived:
        for round_ in history:
            lived.live_through(round_)
        lived.live_through(LAST)
        assert lived.bench.stored() == lived.ingested_afresh()
        again = lived.bench.run(lived.shelf.records(), delete=DeleteMode.FULL, models=ensemble(lived.revision))
        assert (again.unchanged, again.skipped_unread, lived.bench.effects) == (*2 * [len(lived.shelf.documents)], {})


def check_crashes(store: Store, folder: Path, *, every: int) -> None:
    """At every so many effects of a run that has documents to write, to mark, to delete and to bring back, and a column that was
    swapped.
    """
    hide = Round([], grace=GRACE)
    with world(store, folder) as lived:
        documents = lived.shelf.documents
        documents |= {"d1": ("bc", 0), "d2": ("cad", 0), "d3": ("d", 0), "d4": ("ac", 0), "d5": ("b", 0), "d6": ("dd", 0)}
        lived.shelf.versions |= dict.fromkeys(documents, 1)
        lived.live_through(hide)
        for id_ in ("d4", "d5", "d6"):
            del documents[id_]
        lived.live_through(hide)
        documents |= {"d0": ("ad", 0), "d1": ("bc", 1), "d2": ("dac", 0), "d5": ("b", 0), "d7": ("abcd", 0), "d6": ("dd", 0)}
        lived.shelf.versions |= dict.fromkeys(("d0", "d1", "d2", "d7"), 2)
        del documents["d3"]
        lived.shelf.broken = {"d6"}
        lived.bench.clock += GRACE
        lived.revision += 1
        lived.bench.agree_to(ensemble(lived.revision))
        points = [Point(point.id, point.vectors, point.payload) for point in store.scroll(lived.bench.collection, vectors=True)]

        for at in count(1, every):
            for moment in get_args(Moment):
                store.delete(lived.bench.collection, list(lived.bench.stored()))
                store.upsert(lived.bench.collection, points)
                crashed = lived.sync(replace(hide, crashes=[(at, moment)]))
            if not crashed:
                break
        assert at > EFFECTS


histories = st.lists(rounds, min_size=1, max_size=3)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@settings(UNHURRIED, max_examples=16)
@given(history=histories)
def test_on_the_embedded_engine_the_end_is_a_fresh_ingestion(tmp_path: Path, history: list[Round]) -> None:
    with open_store(tmp_path / "store") as store:
        check(store, tmp_path, history)


@settings(UNHURRIED, max_examples=5)
@given(history=histories)
def test_on_a_server_the_end_is_a_fresh_ingestion(server: Address, tmp_path: Path, history: list[Round]) -> None:
    with open_store(server.url) as store:
        check(store, tmp_path, history)


def test_on_the_embedded_engine_a_crash_at_any_effect_heals(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        check_crashes(store, tmp_path, every=1)


def test_on_a_server_a_crash_at_some_effects_heals(server: Address, tmp_path: Path) -> None:
    with open_store(server.url) as store:
        check_crashes(store, tmp_path, every=3)

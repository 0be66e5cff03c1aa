"""A collection that lives through rounds of changes, watched and not, and what must be stored after each of its runs."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from changing_source import Change, Shelf
from sync_bench import DAY, Stored, SyncBench, document

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.errors import SourceError, StoreError
from ingest.records import Document, Rejected
from ingest.reindex.reindex import reindex
from ingest.schedule.watching import Watches
from ingest.source import open_source
from ingest.source.files import FolderSource
from ingest.source.pieces import PiecesSource
from ingest.store.contract import Store
from ingest.store.schema import with_soft_delete, without_soft_delete
from ingest.sync.deletion import delete_documents
from ingest.sync.plan import DeleteMode
from ingest.sync.versions import Check
from ingest.testing import Crash, FakeChanges, FakeClock, FlakyStore, HashEncoder, Moment, VersionedSource

BM25 = ModelManager(EnsembleConfig(ensemble_models=["bm25"])).members[0]


def ensemble(revision: int) -> list[Model]:
    return [HashEncoder("first", 4, record=True), HashEncoder("second", 3, revision=str(revision), record=True), BM25]


class LostError(StoreError):
    """A write, or its acknowledgement."""


# --- what happens


@dataclass(frozen=True, slots=True)
class Step:
    """A change while the source is watched, and what the system reports after it.

    `noticed`: which of the documents changed so far, so that some are reported late, twice or never. None: anything may have
    changed.
    """

    change: Change
    noticed: Sequence[int] | None


@dataclass(frozen=True, slots=True)
class Round:
    """Changes, days that pass, another model, what an app does, and a run that crashes at these effects before one that does not.

    `swap`: by a reindex, or in place, where a manifest and its points disagree. `crashes`: number of the effect, and the moment.
    `breaks_off`: documents after which the source fails once. `pushes`, `removals`: documents that an app writes, and that it
    deletes, before the run. `steps`: changes that are watched, after those; the runs that they cause crash at the same effects.
    """

    changes: Sequence[Change]
    delete: DeleteMode = DeleteMode.FULL
    grace: float | None = None
    days: int = 0
    swap: Literal["reindex", "in place"] | None = None
    crashes: Sequence[tuple[int, Moment]] = ()
    breaks_off: int | None = None
    pushes: int = 0
    removals: int = 0
    steps: Sequence[Step] = ()

    @property
    def check(self) -> Check:
        """Only by reading everything can a run find an edit that left the version as it was."""
        changes = [*self.changes, *(step.change for step in self.steps)]
        return Check.CONTENT if any(change.kind == "edit unseen" for change in changes) else Check.VERSION


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


def of(stored: Stored, ids: Collection[str]) -> Stored:
    return {point: each for point, each in stored.items() if each[0]["doc_id"] in ids}


def without(stored: Stored, ids: Collection[str]) -> Stored:
    return {point: each for point, each in stored.items() if each[0]["doc_id"] not in ids}


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


class PartOfShelf(VersionedSource):
    """Some documents of a shelf, as a run of changed files has them."""

    is_part: ClassVar[bool] = True


def id_of(record: Document | Rejected) -> str:
    return str(record.id if isinstance(record, Document) else record.doc_id)


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
        self.write_as_app(round_)
        if round_.steps:
            self.watch(round_)
        self.sync(round_)
        self.shelf.unseen.clear()

    def write_as_app(self, round_: Round) -> None:
        """Documents that an app has just saved are as in a fresh ingestion, those it deleted are gone, and all others stay."""
        before = self.bench.stored()
        gone = sorted({payload["doc_id"] for payload, _ in before.values()})[: round_.removals]
        assert delete_documents(self.bench.store, self.bench.collection, gone) == len(gone)
        documents = [each for each in self.shelf.usable() if each.id not in gone][: round_.pushes]
        written = {document.id for document in documents}
        if documents:
            assert self.bench.run(documents, pushed=True, models=ensemble(self.revision), check=round_.check).balanced
        pushed = of(self.ingested_afresh(), written) if written else {}
        assert self.bench.stored() == without(before, {*gone, *written}) | pushed

    def watch(self, round_: Round) -> None:
        """Changes of which some are noticed, late, twice or in another order, and the runs that they cause."""
        root = self.bench.folder / self.bench.collection
        root.mkdir(exist_ok=True)
        folder = open_source(root)
        assert isinstance(folder, FolderSource)
        clock, crashes = FakeClock(), iter(round_.crashes)
        changes = FakeChanges(self._script(round_, root), clock)
        watches = Watches({"docs": ([folder], round_.delete is DeleteMode.FULL)}, changes, clock=clock)
        while not changes():
            if watches.due() is None:
                watches.wait(60)
                continue
            crash = next(crashes, None)
            store = self.bench.store if crash is None else crashing(self.bench.store, *crash)
            with watches.batch("docs") as batch:
                try:
                    if not batch.is_empty:
                        self._run_noticed(round_, store, batch.parts)
                except LostError:
                    batch.failed = True

    def sync(self, round_: Round) -> int:
        """The job of a round, its crashes first, and how many there were; then everything must be as it should."""
        before = self.bench.stored()
        if round_.breaks_off is not None:
            with pytest.raises(SourceError):
                self._run(round_, [*self.shelf.records()[: round_.breaks_off], Crash()])
        crashed = with_crashes(lambda store: self._run(round_, self.shelf.records(), store), self.bench.store, round_.crashes)
        models = ensemble(self.revision)
        self._run(round_, self.shelf.records(), models=models)
        for model in models:
            if isinstance(model, HashEncoder):
                assert known_texts(before, model).isdisjoint(model.encoded), "a text with a stored vector is never encoded"
        assert self.bench.stored() == expected(before, self.ingested_afresh(), self.shelf, round_, self.bench.clock)
        return crashed

    def _run(self, round_: Round, items: Sequence[Any], store: Store | None = None, **changes: Any) -> None:
        """Run the job of a round."""
        options: dict[str, Any] = {"delete": round_.delete, "delete_after": round_.grace, "max_delete": 1.0}
        options |= {"models": ensemble(self.revision), "check": round_.check}
        receipt = self.bench.run(items, store=store, **{**options, **changes})
        assert receipt.balanced, receipt.errors

    def _run_noticed(self, round_: Round, store: Store, parts: Sequence[PiecesSource] | None) -> None:
        """A run of documents that have changed, or of all, after which everything is as it should."""
        before = self.bench.stored()
        if parts is None:
            self._run(round_, self.shelf.records(), store)
            wanted = expected(before, self.ingested_afresh(), self.shelf, round_, self.bench.clock)
        else:
            ids = {piece.doc_id.removesuffix(".md") for part in parts for piece in part.pieces}
            records = [each for each in self.shelf.records() if id_of(each) in ids]
            delete = DeleteMode.INCREMENTAL if round_.delete is DeleteMode.FULL else round_.delete
            self._run(round_, [PartOfShelf(records)], store, delete=delete)
            changed = expected(of(before, ids), of(self.ingested_afresh(), ids), self.shelf, replace(round_, delete=delete), 0.0)
            wanted = without(before, ids) | changed
        assert self.bench.stored() == wanted

    def _script(self, round_: Round, folder: Path) -> Iterator[list[str] | None]:
        """Change the shelf and a folder with a file for each of its documents, and say what is noticed."""
        changed: list[str] = []
        for step in round_.steps:
            before = {id_of(each): each for each in self.shelf.records()}
            self.shelf.apply(step.change)
            after = {id_of(each): each for each in self.shelf.records()}
            changed += sorted(id_ for id_ in {*before, *after} if before.get(id_) != after.get(id_))
            for path in folder.iterdir():
                path.unlink()
            for id_ in after:
                (folder / f"{id_}.md").touch()
            noticed = None if step.noticed is None else [changed[which % len(changed)] for which in step.noticed if changed]
            yield noticed and [str(folder / f"{id_}.md") for id_ in noticed]
        yield from [[]] * (1 + len(round_.crashes))  # the time to take up what has failed

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


def crashing(store: Store, at: int, moment: Moment) -> FlakyStore:
    """The store, which crashes at that effect, if there are so many."""
    effects = count(1)
    return FlakyStore(store, lambda _name, _call: (moment, LostError("crash")) if next(effects) == at else None)


def with_crashes(work: Callable[[Store], object], store: Store, crashes: Sequence[tuple[int, Moment]]) -> int:
    """Does it once for each crash, at that effect, if it has so many. Gives how many crashed."""
    crashed = 0
    for at, moment in crashes:
        try:
            work(crashing(store, at, moment))
        except LostError:
            crashed += 1
    return crashed

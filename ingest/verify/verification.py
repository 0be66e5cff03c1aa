"""Whether what is stored is what a run would have stored, and, if asked for, making it so again.

    1  every stored point of the sources is read, with its payload and vectors: what is damaged in itself is noted
    2  a sample of what seems sound is encoded again and compared: what differs is noted, too
    3  the sources are read and planned as in a run, with stored fingerprints that lack the damaged parts

What the plan then asks for is what is wrong, and doing it is the repair: nothing else is written.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from ingest.encode.contract import Model
from ingest.encode.runner import BatchRunner
from ingest.parameters import checked, parse_integer, parse_number
from ingest.records import Fingerprint, ModelReport, Rejected, Source
from ingest.source.chunking import Chunker
from ingest.store.contract import Condition, Store
from ingest.store.schema import DOC_KEY_FIELD
from ingest.store.writer import Effects, Writer
from ingest.sync.deletion import Ended, check_brake, deletes_held_back, find_gone, nothing_read, payloads_to_mark
from ingest.sync.effects import collect_effects, wanted_texts
from ingest.sync.job import Job
from ingest.sync.manifest import check_manifest
from ingest.sync.pipeline import count_points, model_fingerprints, token_limits
from ingest.sync.plan import DeleteMode, Fate
from ingest.sync.reading import PlannedDocument, Reader, Window
from ingest.sync.run_state import DamagedPoints, PendingDeletes, SeenDocuments
from ingest.sync.sizing import vector_bytes
from ingest.sync.sources import check_sources
from ingest.verify.damage import ELSEWHERE, UNSIGNED, Damage, Kind, apparent
from ingest.verify.inspection import Finding, Findings, Inspector, Sampler

EXAMPLES = 20
"""Of each kind of finding that are kept; the rest are counted."""

MIN_COSINE = 0.999
"""From which a dense vector passes for what its model makes: other batches and processors round differently."""


@dataclass(frozen=True, slots=True)
class Repairs:
    """What was written: whole points, single vectors, payloads alone; and points deleted, or hidden until they are due."""

    points: int = 0
    vectors: int = 0
    payloads: int = 0
    deleted: int = 0
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found, before any repair.

    Attributes:
        read: documents of the sources; `rejected` of them could not be used and what is stored of them was not compared.
        points: stored points of the sources that were inspected; `sampled` of them were encoded again.
        others: points of the collection that this package did not write. They are left alone.
        tombstoned: documents that are gone from their source and wait, hidden, to be deleted. They are as they should be.
        findings: by kind, only those there are.
        clean: nothing was found, and the points did not change meanwhile.
        repaired: something was found, and all of it has been repaired. `repairs` says what that took.
        errors: what could not be told or repaired, and why.
    """

    collection: str
    read: int
    rejected: int
    points: int
    sampled: int
    others: int
    tombstoned: int
    findings: Mapping[Kind, Finding]
    clean: bool
    repaired: bool
    repairs: Repairs
    seconds: float
    models: tuple[ModelReport, ...] = ()
    errors: tuple[str, ...] = ()


def verify_job(
    job: Job,
    sources: Sequence[Source],
    *,
    store: Store,
    models: Sequence[Model],
    runner: BatchRunner,
    repair: bool = False,
    sample: int | Literal["all"] = 0,
    min_cosine: float = MIN_COSINE,
    examples: int = EXAMPLES,
    rng: random.Random | None = None,
    now: Callable[[], float] = time.time,
) -> Verification:
    """Compares the sources, the plan and the collection; changes nothing without `repair`. In bounded memory.

    Documents that are gone count as orphans and are repaired as `DeleteMode.FULL` would delete them, whatever the job's own mode.

    Args:
        sample: points whose vectors are encoded again and compared, drawn by `rng`: nothing else finds a vector that is sound
            and yet not its text's.
        min_cosine: from which a dense vector is the same (see `damage.difference`).
        examples: of each kind of finding, to keep.
        now: seconds since 1970, for tombstones.

    Raises what `run_job` does before it encodes, and `CollectionNotFoundError`; with `repair`, also what it does later:
    `DeletionBrakeError` comes when all is repaired but the documents that are gone. An interrupted repair is continued by the
    next.
    """
    sources = check_sources(sources, deletes_gone=True)
    if sample != "all":
        checked("sample", parse_integer, sample, least=0)
    checked("min_cosine", parse_number, min_cosine, most=1.0)
    checked("examples", parse_integer, examples, least=0)
    runner.monitor.start()
    wanted = job.manifest(models)
    stored = store.manifest(wanted.collection)
    check_manifest(wanted, stored)
    with ExitStack() as spools:
        findings = Findings(examples, spools.enter_context(DamagedPoints()))
        verifier = _Verifier(job, stored.collection, store, models, runner, repair, findings)
        checks = [
            _SourceCheck(source, spools.enter_context(SeenDocuments()), spools.enter_context(PendingDeletes()))
            for source in sources
        ]
        held = [verifier.count(check) for check in checks]
        inspector = Inspector(
            store,
            stored.collection,
            models,
            runner=runner,
            findings=findings,
            sampler=Sampler(sum(held) if sample == "all" else sample, sum(held), rng or random.Random()),  # noqa: S311  no secret
            min_cosine=min_cosine,
            bounds=job.bounds,
        )
        for check in checks:
            inspector.inspect(check.source.name, check.deletes)
        with Writer(store, stored.collection) as writer:
            for check, points in zip(checks, held, strict=True):
                verifier.compare(check, writer, known_empty=points == 0)
        verifier.settle(checks, now())
        settled = verifier.is_settled(checks, sum(held))
        found = findings.by_kind()
        return Verification(
            collection=wanted.collection,
            read=verifier.read,
            rejected=verifier.rejected,
            points=inspector.points,
            sampled=inspector.sampled,
            others=verifier.count_others(),
            tombstoned=sum(check.deletes.count_gone_documents(Fate.WAIT) for check in checks),
            findings=found,
            clean=not found and settled,
            repaired=repair and bool(found) and settled and not verifier.failed,
            repairs=verifier.repairs,
            seconds=round(runner.monitor.elapsed(), 3),
            models=runner.monitor.model_reports(),
            errors=runner.monitor.errors,
        )


@dataclass(slots=True)
class _SourceCheck:
    """One source of a verification."""

    source: Source
    seen: SeenDocuments
    deletes: PendingDeletes
    read: int = 0
    unidentified: int = 0


@dataclass(slots=True)
class _Verifier:
    """Compares what is stored with the sources, once the damages are known, and repairs it. One thread.

    `added`: points that repair brought under the sources' names; `failed`: documents that it could not encode.
    """

    job: Job
    collection: str
    store: Store
    models: Sequence[Model]
    runner: BatchRunner
    repair: bool
    findings: Findings
    repairs: Repairs = field(default_factory=Repairs)
    read: int = 0
    rejected: int = 0
    added: int = 0
    failed: int = 0

    def count(self, check: _SourceCheck) -> int:
        """Points stored of the source."""
        return count_points(self.store, self.collection, check.source)

    def count_others(self) -> int:
        """Points of the collection that this package did not write."""
        unsigned = [Condition(DOC_KEY_FIELD, "exists", value=False)]
        return self.store.count(self.collection, unsigned)

    def compare(self, check: _SourceCheck, writer: Writer, *, known_empty: bool) -> None:
        """Reads a source to its end and plans it; with `repair`, does what the plan asks for, but for the deletes."""
        reader = Reader(
            check.source,
            look_up=partial(self._look_up, check),
            chunker=Chunker(token_limits(self.models), self.job.chunking),
            models=model_fingerprints(self.models),
            delete=DeleteMode.FULL,
            seen=check.seen,
            reject=self._reject,
            bounds=lambda: self.job.bounds,
            vector_bytes=vector_bytes(self.models),
            known_empty=known_empty,
        )
        for window in reader.windows():
            self.read += window.read
            check.read += window.read
            self.rejected += window.rejected
            check.unidentified += window.unidentified
            if window.documents:
                self._judge(window, check, writer)
            self.runner.monitor.log_documents(self.read, self.read)

    def settle(self, checks: Sequence[_SourceCheck], now: float) -> None:
        """Names the orphans; with `repair`, deletes or hides them as `full` would. Raises `DeletionBrakeError` before it
        touches a document that is gone.
        """
        for check in checks:
            if check.read == 0:
                self.runner.monitor.log_error(check.source.name, nothing_read())
            if check.unidentified:
                self.runner.monitor.log_error(check.source.name, deletes_held_back(check.unidentified))
            else:
                find_gone(check.deletes, check.seen, now=now, delete_after=self.job.delete_after)
            for points in (check.deletes.points_of_gone(Fate.DELETE), check.deletes.points_to_mark()):
                for point in self._unwanted(points):
                    self.findings.add(Kind.ORPHANS, f"its document is not in {check.source.name} (point {point})")
        if self.repair:
            with Writer(self.store, self.collection) as writer:
                for check in checks:
                    self._delete(check.deletes.stale_points(), writer)
            check_brake([Ended(check.source.name, check.read, check.deletes) for check in checks], self.job.max_delete)
            with Writer(self.store, self.collection) as writer:
                for check in checks:
                    self._soft_delete(check.deletes.points_to_mark(), writer, now)
                    self._delete(check.deletes.points_of_gone(Fate.DELETE), writer)
            self.store.finalize(self.collection)

    def is_settled(self, checks: Sequence[_SourceCheck], held: int) -> bool:
        """Whether the store holds the points it should, having `held` so many before: if not, somebody else is writing."""
        holds, expected = sum(map(self.count, checks)), held + self.added - self.repairs.deleted
        if holds != expected:
            self.runner.monitor.log_error(
                self.job.collection,
                f"holds {holds} points of these sources where there should be {expected}: if another job is writing"
                " them, verify again when it is done",
            )
        return holds == expected

    def _reject(self, source: str, rejected: Rejected) -> None:
        self.runner.monitor.log_error(source, f"{rejected.position} was rejected and not compared: {rejected.reason}")

    def _look_up(self, check: _SourceCheck, doc_keys: Sequence[str]) -> list[Fingerprint]:
        """What planning is to take for stored: all but what is damaged."""
        stored = self.store.fingerprints(self.collection, doc_keys)
        for made in stored:
            if not check.deletes.was_stored(made.doc_key, made.id):
                fault = f"is not stored under the name of its source {check.source.name}"
                self.findings.add_damage(made.id, f"point {made.id}", Damage(Kind.DAMAGED_PAYLOADS, ELSEWHERE, fault))
        damaged = self.findings.damaged.parts_of(made.id for made in stored)
        return [apparent(made, damaged[made.id]) if made.id in damaged else made for made in stored]

    def _judge(self, window: Window, check: _SourceCheck, writer: Writer) -> None:
        ids = [action.id for planned in window.documents for action in planned.plan.actions if action.write != "nothing"]
        damaged = self.findings.damaged.parts_of(ids)
        self.findings.damaged.want(ids)
        for planned in window.documents:
            check.deletes.add_stale(planned.plan.stale)
            self._name(planned, damaged)
        if self.repair:
            self._mend(window, damaged, writer)

    def _name(self, planned: PlannedDocument, damaged: Mapping[str, set[str]]) -> None:
        """What is wrong with a document, beyond the damages that are known already."""
        doc_id, plan = planned.document.id, planned.plan
        missing: list[str] = []
        differs = False
        for action, chunk in zip(plan.actions, planned.chunks, strict=True):
            place = f"{doc_id} chunk {chunk.index} (point {action.id})"
            parts = damaged.get(action.id, set())
            if UNSIGNED in parts:
                self.findings.add(Kind.DAMAGED_PAYLOADS, f"{place}: its fingerprint is gone")
            elif not parts and action.new:
                missing.append(place)
            elif not parts:
                differs |= action.write != "nothing"
        if differs or (missing and plan.stale):
            self.findings.add(Kind.CHANGED_DOCUMENTS, doc_id)
            return
        for place in missing:
            self.findings.add(Kind.MISSING_POINTS, place)
        for point in self.findings.damaged.unwanted(plan.stale):
            self.findings.add(Kind.ORPHANS, f"{doc_id} has no such chunk (point {point})")

    def _mend(self, window: Window, damaged: Mapping[str, set[str]], writer: Writer) -> None:
        encoded = self.runner.run(wanted_texts(window.documents, [model.key for model in self.models]))
        result = collect_effects(window.documents, encoded)
        for failure in result.failures:
            self.failed += 1
            place = f"{failure.document.document.id} chunk {failure.chunk}"
            self.runner.monitor.log_error(place, f"cannot be repaired: {failure.reason}")
        writer.submit(result.effects)
        new = {action.id for planned in window.documents for action in planned.plan.actions if action.new}
        for point in (*(point.id for point in result.upserts), *result.payloads):
            # These come to be points of this source: what was nowhere, and what hid under another's name.
            self.added += ELSEWHERE in damaged[point] if point in damaged else point in new
        self.repairs = replace(
            self.repairs,
            points=self.repairs.points + len(result.upserts),
            vectors=self.repairs.vectors + sum(map(len, result.columns.values())),
            payloads=self.repairs.payloads + len(result.payloads) - len(result.columns),
        )

    def _soft_delete(self, groups: Iterable[list[str]], writer: Writer, now: float) -> None:
        for ids in self._unwanted_groups(groups):
            marked = payloads_to_mark(self.store, self.collection, ids, now=now)
            writer.submit(Effects(payloads=marked))
            self.repairs = replace(self.repairs, hidden=self.repairs.hidden + len(marked))

    def _delete(self, groups: Iterable[list[str]], writer: Writer) -> None:
        for ids in self._unwanted_groups(groups):
            writer.submit(Effects(deletes=ids))
            self.repairs = replace(self.repairs, deleted=self.repairs.deleted + len(ids))

    def _unwanted_groups(self, groups: Iterable[list[str]]) -> Iterator[list[str]]:
        """Without the points that the source has after all, whatever their damaged payloads said."""
        return filter(None, map(self.findings.damaged.unwanted, groups))

    def _unwanted(self, groups: Iterable[list[str]]) -> Iterator[str]:
        return (point for group in self._unwanted_groups(groups) for point in group)

"""Compare a collection with its sources and, on request, repair it.

    1  Read every stored point of the sources, with payload and vectors, and record its damage.
    2  Encode a sample of the undamaged points again, and record the vectors that differ.
    3  Read and plan the sources like a run, with stored fingerprints that lack the damaged parts.

The actions of that plan are the findings, and carrying them out is the repair. Nothing else is written.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

from ingest.encode.ensemble import Ensemble
from ingest.parameters import checked, parse_boolean, parse_integer, parse_number
from ingest.receipt import ModelReport
from ingest.records import Fingerprint, Rejected, Source
from ingest.store.contract import Condition, Store
from ingest.store.schema import DOC_KEY_FIELD
from ingest.store.writer import Effects, Writer
from ingest.sync.deletion import Ended, check_brake, deletes_held_back, find_missing, nothing_read, payloads_to_soft_delete
from ingest.sync.effects import collect_effects, wanted_texts
from ingest.sync.job import Job
from ingest.sync.manifest import check_manifest
from ingest.sync.pipeline import count_points
from ingest.sync.plan import DeleteMode, MissingAction
from ingest.sync.reading import PlannedDocument, Reader, Window
from ingest.sync.run_state import DamagedPoints, PendingDeletes, SeenDocuments
from ingest.sync.sources import check_sources
from ingest.verify.damage import NO_FINGERPRINT, WRONG_SOURCE, Damage, FindingKind, without_damage
from ingest.verify.inspection import Finding, Findings, Inspector, Sampler

MAX_EXAMPLES = 20
"""Examples kept of each kind of finding; the rest are only counted."""

MIN_COSINE = 0.99
"""Minimum cosine at which a dense vector counts as its model's: batches, devices and precisions round differently."""


@dataclass(frozen=True, slots=True)
class Repairs:
    """The writes of a repair.

    Attributes:
        points: points written whole.
        vectors: single vectors written.
        payloads: payloads written alone.
        deleted: points deleted.
        soft_deleted: points soft-deleted.
    """

    points: int = 0
    vectors: int = 0
    payloads: int = 0
    deleted: int = 0
    soft_deleted: int = 0


@dataclass(frozen=True, slots=True)
class Verification:
    """The report of a verification. It describes the collection before any repair.

    Attributes:
        read: documents read from the sources.
        rejected: documents that could not be used; their stored versions were not compared.
        points: stored points of the sources that were inspected.
        sampled: points that were encoded again.
        others: points of the collection that this package did not write; they are left alone.
        soft_deleted: documents that were soft-deleted before and are still in their grace period; not a finding.
        findings: findings by kind; kinds without findings are absent.
        clean: whether there are no findings and the number of points did not change meanwhile.
        repaired: whether there were findings and all of them have been repaired; see `repairs`.
        errors: what could not be compared or repaired, with the reason.
    """

    collection: str
    read: int
    rejected: int
    points: int
    sampled: int
    others: int
    soft_deleted: int
    findings: Mapping[FindingKind, Finding]
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
    ensemble: Ensemble,
    repair: bool = False,
    sample: int | Literal["all"] = 0,
    min_cosine: float = MIN_COSINE,
    max_examples: int = MAX_EXAMPLES,
    rng: random.Random | None = None,
    now: Callable[[], float] = time.time,
) -> Verification:
    """Compare the sources with the collection, and return a report. Changes nothing without `repair`; uses bounded memory.

    Documents missing from their source count as orphans. A repair deletes them like a run with `DeleteMode.FULL`, whatever
    the delete mode of the job.

    Args:
        sample: number of points, drawn by `rng`, whose vectors are encoded again and compared. Only a sample finds valid vectors
            that do not belong to their text.
        min_cosine: minimum cosine at which dense vectors are equivalent; see `vector_difference`.
        max_examples: examples kept of each kind of finding.
        now: returns seconds since 1970, for soft-deletes.

    Raises what `run_job` raises before it encodes, and `CollectionNotFoundError`; with `repair`, also what it raises later. A
    `DeletionBrakeError` is raised when everything but the documents missing from their source is repaired. Repeat an interrupted
    repair to continue it.
    """
    sources = check_sources(sources, deletes_missing=True)
    checked("repair", parse_boolean, repair)
    if sample != "all":
        checked("sample", parse_integer, sample, least=0)
    checked("min_cosine", parse_number, min_cosine, most=1.0)
    checked("max_examples", parse_integer, max_examples, least=0)
    monitor = ensemble.monitor
    monitor.start()
    wanted = job.manifest(ensemble.models)
    stored = store.manifest(wanted.collection)
    check_manifest(wanted, stored)
    with ExitStack() as run_state:
        findings = Findings(max_examples, run_state.enter_context(DamagedPoints()))
        verifier = _Verifier(job, stored.collection, store, ensemble, repair, findings)
        checks = [
            _SourceCheck(source, run_state.enter_context(SeenDocuments()), run_state.enter_context(PendingDeletes()))
            for source in sources
        ]
        points_before = [verifier.count_points(check) for check in checks]
        total_before = sum(points_before)
        inspector = Inspector(
            store,
            stored.collection,
            ensemble,
            findings=findings,
            sampler=Sampler(total_before if sample == "all" else sample, total_before, rng or random.Random()),  # noqa: S311  no secret
            min_cosine=min_cosine,
            bounds=job.bounds,
        )
        for check in checks:
            inspector.inspect(check.source.name, check.deletes)
        with Writer(store, stored.collection) as writer:
            for check, before in zip(checks, points_before, strict=True):
                verifier.compare(check, writer, known_empty=before == 0)
        verifier.finish(checks, now())
        consistent = verifier.is_consistent(checks, total_before)
        by_kind = findings.by_kind()
        return Verification(
            collection=wanted.collection,
            read=verifier.read,
            rejected=verifier.rejected,
            points=inspector.points,
            sampled=inspector.sampled,
            others=verifier.count_others(),
            soft_deleted=sum(check.deletes.count_missing_documents(MissingAction.KEEP) for check in checks),
            findings=by_kind,
            clean=not by_kind and consistent,
            repaired=repair and bool(by_kind) and consistent and not verifier.failed,
            repairs=verifier.repairs,
            seconds=round(monitor.elapsed(), 3),
            models=monitor.model_reports(),
            errors=monitor.errors,
        )


@dataclass(slots=True)
class _SourceCheck:
    """The state of one source in a verification."""

    source: Source
    seen: SeenDocuments
    deletes: PendingDeletes
    read: int = 0
    unidentified: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Verifier:
    """The comparison of a collection with its sources, once its damage is known, and the repair. Not thread-safe.

    Attributes:
        added: points that the repair added to the sources.
        failed: documents that the repair could not encode.
    """

    job: Job
    collection: str
    store: Store
    ensemble: Ensemble
    repair: bool
    findings: Findings
    repairs: Repairs = field(default_factory=Repairs)
    read: int = 0
    rejected: int = 0
    added: int = 0
    failed: int = 0

    def count_points(self, check: _SourceCheck) -> int:
        """Return the number of stored points of the source."""
        return count_points(self.store, self.collection, check.source)

    def count_others(self) -> int:
        """Return the number of points of the collection that this package did not write."""
        unsigned = [Condition(DOC_KEY_FIELD, "exists", value=False)]
        return self.store.count(self.collection, unsigned)

    def compare(self, check: _SourceCheck, writer: Writer, *, known_empty: bool) -> None:
        """Read a source to its end and plan it; with `repair`, carry out the plan except for its deletes."""
        reader = Reader(
            check.source,
            look_up=partial(self._look_up, check),
            models=self.ensemble.models,
            chunking=self.job.chunking,
            delete=DeleteMode.FULL,
            seen=check.seen,
            reject=self._reject,
            bounds=lambda: self.job.bounds,
            known_empty=known_empty,
        )
        for window in reader.windows():
            self.read += window.read
            check.read += window.read
            self.rejected += window.rejected
            check.unidentified += window.unidentified
            if window.documents:
                self._compare_window(window, check, writer)
            self.ensemble.monitor.log_documents(self.read, self.read)

    def finish(self, checks: Sequence[_SourceCheck], now: float) -> None:
        """Record the orphans; with `repair`, delete or soft-delete them like a run with `DeleteMode.FULL`.

        Raises `DeletionBrakeError` before it touches a document that is missing from its source.
        """
        for check in checks:
            if check.read == 0:
                self.ensemble.monitor.log_error(check.source.name, nothing_read())
            if check.unidentified:
                self.ensemble.monitor.log_error(check.source.name, deletes_held_back(check.unidentified))
            find_missing(check.deletes, check.seen, check.unidentified, now=now, delete_after=self.job.delete_after)
            for points in (check.deletes.points_of_missing(MissingAction.PURGE), check.deletes.points_to_soft_delete()):
                for point in self._unwanted(points):
                    self.findings.add(FindingKind.ORPHANS, f"its document is not in {check.source.name} (point {point})")
        if self.repair:
            with Writer(self.store, self.collection) as writer:
                for check in checks:
                    self._delete(check.deletes.stale_points(), writer)
            check_brake([Ended(check.source.name, check.read, check.deletes) for check in checks], self.job.max_delete)
            with Writer(self.store, self.collection) as writer:
                for check in checks:
                    self._soft_delete(check.deletes.points_to_soft_delete(), writer, now)
                    self._delete(check.deletes.points_of_missing(MissingAction.PURGE), writer)
            self.store.finalize(self.collection)

    def is_consistent(self, checks: Sequence[_SourceCheck], points_before: int) -> bool:
        """Return whether the store has as many points as expected; if not, another process is writing to it."""
        points_after = sum(map(self.count_points, checks))
        expected = points_before + self.added - self.repairs.deleted
        if points_after != expected:
            self.ensemble.monitor.log_error(
                self.job.collection,
                f"expected {expected} points of these sources but found {points_after}: if another job is writing them, verify"
                " again when it is done",
            )
        return points_after == expected

    def _reject(self, source: str, rejected: Rejected) -> None:
        self.ensemble.monitor.log_error(source, f"{rejected.position} was rejected, so it was not compared: {rejected.reason}")

    def _look_up(self, check: _SourceCheck, doc_keys: Sequence[str]) -> list[Fingerprint]:
        """Return the stored fingerprints without their damaged parts, for planning."""
        stored = self.store.fingerprints(self.collection, doc_keys)
        for fingerprint in stored:
            point = fingerprint.id
            if not check.deletes.was_stored(fingerprint.doc_key, point):
                fault = f"is not stored under its source {check.source.name}"
                self.findings.add_damage(point, f"point {point}", Damage(FindingKind.DAMAGED_PAYLOADS, WRONG_SOURCE, fault))
        damaged = self.findings.damaged.parts_of(each.id for each in stored)
        return [without_damage(each, damaged[each.id]) if each.id in damaged else each for each in stored]

    def _compare_window(self, window: Window, check: _SourceCheck, writer: Writer) -> None:
        ids = [action.id for planned in window.documents for action in planned.plan.actions if action.write != "nothing"]
        damaged = self.findings.damaged.parts_of(ids)
        self.findings.damaged.want(ids)
        for planned in window.documents:
            check.deletes.add_stale(planned.plan.stale)
            self._compare_document(planned, damaged)
        if self.repair:
            self._repair(window, damaged, writer)

    def _compare_document(self, planned: PlannedDocument, damaged: Mapping[str, set[str]]) -> None:
        """Record the findings of a document that are not among its known damage."""
        doc_id, plan = planned.document.id, planned.plan
        missing: list[str] = []
        differs = False
        for action, chunk in zip(plan.actions, planned.chunks, strict=True):
            location = f"{doc_id} chunk {chunk.index} (point {action.id})"
            parts = damaged.get(action.id, set())
            if NO_FINGERPRINT in parts:
                self.findings.add(FindingKind.DAMAGED_PAYLOADS, f"{location}: its fingerprint is missing")
            elif not parts and action.new:
                missing.append(location)
            elif not parts:
                differs |= action.write != "nothing"
        if differs or (missing and plan.stale):
            self.findings.add(FindingKind.CHANGED_DOCUMENTS, doc_id)
            return
        for location in missing:
            self.findings.add(FindingKind.MISSING_POINTS, location)
        for point in self.findings.damaged.unwanted(plan.stale):
            self.findings.add(FindingKind.ORPHANS, f"{doc_id} has no such chunk (point {point})")

    def _repair(self, window: Window, damaged: Mapping[str, set[str]], writer: Writer) -> None:
        encoded = self.ensemble.runner.run(wanted_texts(window.documents, [model.key for model in self.ensemble.models]))
        result = collect_effects(window.documents, encoded)
        for failure in result.failures:
            self.failed += 1
            location = f"{failure.document.document.id} chunk {failure.chunk}"
            self.ensemble.monitor.log_error(location, f"cannot be repaired: {failure.reason}")
        writer.submit(result.effects)
        new = {action.id for planned in window.documents for action in planned.plan.actions if action.new}
        for point in (*(point.id for point in result.upserts), *result.payloads):
            # New points of this source: those that were not stored, and those stored under another source.
            self.added += WRONG_SOURCE in damaged[point] if point in damaged else point in new
        self.repairs = replace(
            self.repairs,
            points=self.repairs.points + len(result.upserts),
            vectors=self.repairs.vectors + sum(map(len, result.vectors.values())),
            payloads=self.repairs.payloads + len(result.payloads) - len(result.vectors),
        )

    def _soft_delete(self, groups: Iterable[list[str]], writer: Writer, now: float) -> None:
        for ids in self._unwanted_groups(groups):
            payloads = payloads_to_soft_delete(self.store, self.collection, ids, now=now)
            writer.submit(Effects(payloads=payloads))
            self.repairs = replace(self.repairs, soft_deleted=self.repairs.soft_deleted + len(payloads))

    def _delete(self, groups: Iterable[list[str]], writer: Writer) -> None:
        for ids in self._unwanted_groups(groups):
            writer.submit(Effects(deletes=ids))
            self.repairs = replace(self.repairs, deleted=self.repairs.deleted + len(ids))

    def _unwanted_groups(self, groups: Iterable[list[str]]) -> Iterator[list[str]]:
        """Yield the points that the source really lacks: a damaged payload may have named the wrong document."""
        return filter(None, map(self.findings.damaged.unwanted, groups))

    def _unwanted(self, groups: Iterable[list[str]]) -> Iterator[str]:
        return (point for group in self._unwanted_groups(groups) for point in group)

"""Inspect every stored point of a source, and encode a sample of the valid ones again."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.encode.ensemble import Ensemble
from ingest.identity import is_uuid
from ingest.records import StoredPoint, Vector
from ingest.store.contract import Condition, Store
from ingest.store.schema import encoded_text, fingerprint_of
from ingest.sync.deletion import is_signed, note_point
from ingest.sync.reading import WindowBounds
from ingest.sync.run_state import DamagedPoints, PendingDeletes
from ingest.verify.damage import NO_FINGERPRINT, Damage, FindingKind, inspect_payload, inspect_vectors, vector_difference

PAGE_BYTES = 16 * 2**20
"""Memory for the vectors of one page while they are Python numbers."""

_BOXED_RATIO = 8
"""Size of a number in a Python list, in sizes of a float32."""

MAX_PAGE_POINTS = 1000
"""Maximum number of points read at a time."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All findings of one kind: their number, and descriptions of the first few."""

    count: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class Findings:
    """The findings so far.

    Attributes:
        max_examples: examples kept of each kind.
        damaged: damaged parts of points, which planning treats as missing.
    """

    max_examples: int
    damaged: DamagedPoints
    _counts: dict[FindingKind, int] = field(default_factory=dict)
    _examples: dict[FindingKind, list[str]] = field(default_factory=dict)

    def add(self, kind: FindingKind, example: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        examples = self._examples.setdefault(kind, [])
        if len(examples) < self.max_examples:
            examples.append(example)

    def add_damage(self, point: str, location: str, damage: Damage) -> None:
        """Record that a part of a stored point is damaged. `location` names the point for people."""
        self.damaged.add(point, damage.part)
        vector = "" if damage.part.startswith("/") else f"{damage.part} "
        self.add(damage.kind, f"{location}: {vector}{damage.fault}")

    def by_kind(self) -> dict[FindingKind, Finding]:
        """Return the findings of each kind that occurred, in the order of `FindingKind`."""
        return {kind: Finding(self._counts[kind], tuple(self._examples[kind])) for kind in FindingKind if kind in self._counts}


@dataclass(slots=True)
class Sampler:
    """A uniform sample of a stream: draws `wanted` of the `remaining` points as they pass."""

    wanted: int
    remaining: int
    rng: random.Random

    def draw(self) -> bool:
        drawn = self.wanted > 0 and self.rng.random() * self.remaining < self.wanted
        self.remaining -= 1
        self.wanted -= drawn
        return drawn


@dataclass(frozen=True, slots=True)
class _SampledPoint:
    """A point to encode again. `vectors` are the ones that are not damaged."""

    id: str
    location: str
    text: str
    vectors: Mapping[str, Vector]


class Inspector:
    """An inspection of the stored points of one collection. Not thread-safe.

    Args:
        sampler: selects the points to encode again.
        min_cosine: see `vector_difference`.
        bounds: maximum size of a batch of points to encode again.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        ensemble: Ensemble,
        *,
        findings: Findings,
        sampler: Sampler,
        min_cosine: float,
        bounds: WindowBounds,
    ) -> None:
        self._store = store
        self._collection = collection
        self._fingerprints = ensemble.fingerprints
        self._shapes = {model.key: model for model in ensemble.models}
        self._ensemble = ensemble
        self._findings = findings
        self._sampler = sampler
        self._min_cosine = min_cosine
        self._page = max(1, min(MAX_PAGE_POINTS, PAGE_BYTES // (_BOXED_RATIO * ensemble.vector_bytes)))
        self._batch_points = max(1, min(bounds.chunks, bounds.bytes // ensemble.vector_bytes))
        self.points = 0
        self.sampled = 0

    def inspect(self, source: str, stored: PendingDeletes) -> None:
        """Find the damage of a source's points, and record each of its points in `stored`."""
        sample: list[_SampledPoint] = []
        for page in self._pages(source):
            self.points += len(page)
            for point in page:
                note_point(point, source, stored)
            damaged = self._inspect_page(page, source)
            drawn = [point for point in page if self._sampler.draw()]
            sample.extend(filter(None, (self._sampled_point(point, damaged.get(point.id, ())) for point in drawn)))
            if len(sample) >= self._batch_points:
                self._compare(sample)
                sample = []
        self._compare(sample)

    def _pages(self, source: str) -> Iterator[list[StoredPoint]]:
        page: list[StoredPoint] = []
        of_source = [Condition("source", "eq", source)]
        for point in self._store.scroll(self._collection, of_source, vectors=True, page=self._page):
            if is_signed(point):
                page.append(point)
            elif is_uuid(point.id):
                self._findings.damaged.add(point.id, NO_FINGERPRINT)
            if len(page) == self._page:
                yield page
                page = []
        if page:
            yield page

    def _inspect_page(self, page: Sequence[StoredPoint], source: str) -> dict[str, set[str]]:
        """Return the damaged parts of each damaged point, by its id."""
        damages = list(inspect_vectors(page, self._shapes))
        damages.extend((point, damage) for point in page for damage in inspect_payload(point, source, self._fingerprints))
        damaged: dict[str, set[str]] = {}
        for point, damage in damages:
            parts = damaged.setdefault(point.id, set())
            if damage.part not in parts:  # a missing or damaged vector is not reported as foreign too
                self._findings.add_damage(point.id, _location(point), damage)
            parts.add(damage.part)
        return damaged

    def _sampled_point(self, point: StoredPoint, damaged: Collection[str]) -> _SampledPoint | None:
        """Return the point with its undamaged vectors, or None if its text is not the text that was encoded.

        In that case the vectors cannot be compared: they count as damaged, and a repair encodes them again.
        """
        vectors = {name: vector for name, vector in point.vectors.items() if name not in damaged}
        fingerprint = fingerprint_of(point.id, point.payload)
        text = encoded_text(point.payload, fingerprint) if fingerprint is not None else None
        if text is not None:
            return _SampledPoint(point.id, _location(point), text, vectors)
        for name in vectors:
            self._findings.damaged.add(point.id, name)
        return None

    def _compare(self, sample: Sequence[_SampledPoint]) -> None:
        self.sampled += len(sample)
        by_vector = {name: [point for point in sample if name in point.vectors] for name in self._shapes}
        texts = {name: [point.text for point in points] for name, points in by_vector.items() if points}
        for name, encoded in self._ensemble.runner.run(texts).items():
            for row, point in enumerate(by_vector[name]):
                if row in encoded.failed:
                    self._ensemble.monitor.log_error(
                        point.location, f"cannot be encoded again, so it was not compared: {encoded.failed[row]}"
                    )
                elif fault := vector_difference(point.vectors[name], encoded.vectors[row], self._min_cosine):
                    self._findings.add_damage(point.id, point.location, Damage(FindingKind.WRONG_VECTORS, name, fault))


def _location(point: StoredPoint) -> str:
    return f"{point.payload.get('doc_id')} chunk {point.payload.get('chunk')} (point {point.id})"

"""Every stored point of a source, looked at for itself; and a sample of what seems sound, encoded again."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.encode.contract import Model
from ingest.encode.runner import BatchRunner
from ingest.records import StoredPoint, Vector, is_uuid
from ingest.store.contract import Condition, Store
from ingest.store.schema import encoded_text, fingerprint_of
from ingest.sync.deletion import is_signed, note_point
from ingest.sync.pipeline import model_fingerprints
from ingest.sync.reading import WindowBounds
from ingest.sync.run_state import DamagedPoints, PendingDeletes
from ingest.sync.sizing import vector_bytes
from ingest.verify.damage import UNSIGNED, Damage, Kind, difference, inspect_payload, inspect_vectors

PAGE_BYTES = 16 * 2**20
"""Of the vectors that are read at a time, as Python's numbers."""

_BOXED = 8
"""Times what a float32 takes that a number in a Python list takes."""

MAX_PAGE = 1000
"""Points that are read at a time at most."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`count` things of one kind are wrong; `examples` says which, of the first of them."""

    count: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class Findings:
    """What has been found so far. `examples`: of each kind, that are kept.

    `damaged` holds what planning is to take for missing.
    """

    examples: int
    damaged: DamagedPoints
    _counts: dict[Kind, int] = field(default_factory=dict)
    _listed: dict[Kind, list[str]] = field(default_factory=dict)

    def add(self, kind: Kind, example: str) -> None:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        listed = self._listed.setdefault(kind, [])
        if len(listed) < self.examples:
            listed.append(example)

    def add_damage(self, point: str, place: str, damage: Damage) -> None:
        """A part of a stored point is damaged. `to_device`: where it is, for people."""
        self.damaged.add(point, damage.part)
        column = "" if damage.part.startswith("/") else f"{damage.part} "
        self.add(damage.kind, f"{place}: {column}{damage.fault}")

    def by_kind(self) -> dict[Kind, Finding]:
        """Those there are, in the order of the kinds."""
        return {kind: Finding(self._counts[kind], tuple(self._listed[kind])) for kind in Kind if kind in self._counts}


@dataclass(slots=True)
class Sampler:
    """Draws `wanted` of the `remaining` points as they come by, each as likely as the others."""

    wanted: int
    remaining: int
    rng: random.Random

    def draw(self) -> bool:
        drawn = self.wanted > 0 and self.rng.random() * self.remaining < self.wanted
        self.remaining -= 1
        self.wanted -= drawn
        return drawn


@dataclass(frozen=True, slots=True)
class _Sampled:
    """A point that is encoded again. `vectors`: those that seem sound."""

    point: str
    place: str
    text: str
    vectors: Mapping[str, Vector]


class Inspector:
    """Reads the stored points of one collection. One thread.

    Args:
        sampler: says which points are encoded again.
        min_cosine: see `difference`.
        bounds: of what is encoded together.
    """

    def __init__(
        self,
        store: Store,
        collection: str,
        models: Sequence[Model],
        *,
        runner: BatchRunner,
        findings: Findings,
        sampler: Sampler,
        min_cosine: float,
        bounds: WindowBounds,
    ) -> None:
        self._store = store
        self._collection = collection
        self._fingerprints = model_fingerprints(models)
        self._columns = {model.key: model.dim for model in models}
        self._runner = runner
        self._findings = findings
        self._sampler = sampler
        self._min_cosine = min_cosine
        self._page = max(1, min(MAX_PAGE, PAGE_BYTES // (_BOXED * vector_bytes(models))))
        self._together = max(1, min(bounds.chunks, bounds.bytes // vector_bytes(models)))
        self.points = 0
        self.sampled = 0

    def inspect(self, source: str, stored: PendingDeletes) -> None:
        """Finds the damages of a source's points, and notes each of its points in `stored`."""
        sampled: list[_Sampled] = []
        for page in self._pages(source):
            self.points += len(page)
            for point in page:
                note_point(point, source, stored)
            unsound = self._inspect_page(page, source)
            drawn = (point for point in page if self._sampler.draw())
            sampled.extend(again for point in drawn if (again := self._to_encode(point, unsound.get(point.id, ()))) is not None)
            if len(sampled) >= self._together:
                self._compare(sampled)
                sampled = []
        self._compare(sampled)

    def _pages(self, source: str) -> Iterator[list[StoredPoint]]:
        page: list[StoredPoint] = []
        of_source = [Condition("source", "eq", source)]
        for point in self._store.scroll(self._collection, of_source, vectors=True, page=self._page):
            if is_signed(point):
                page.append(point)
            elif is_uuid(point.id):
                self._findings.damaged.add(point.id, UNSIGNED)
            if len(page) == self._page:
                yield page
                page = []
        if page:
            yield page

    def _inspect_page(self, page: Sequence[StoredPoint], source: str) -> dict[str, set[str]]:
        """Point → its damaged parts."""
        damages = list(inspect_vectors(page, self._columns))
        damages.extend((point, damage) for point in page for damage in inspect_payload(point, source, self._fingerprints))
        unsound: dict[str, set[str]] = {}
        for point, damage in damages:
            parts = unsound.setdefault(point.id, set())
            if damage.part not in parts:  # a vector that is missing or damaged need not be foreign, too
                self._findings.add_damage(point.id, _place(point), damage)
            parts.add(damage.part)
        return unsound

    def _to_encode(self, point: StoredPoint, unsound: Collection[str]) -> _Sampled | None:
        """The point with those of its vectors that seem sound.

        Where its text is not the one that was encoded, they cannot be compared: a repair makes them anew.
        """
        vectors = {name: vector for name, vector in point.vectors.items() if name not in unsound}
        made = fingerprint_of(point.id, point.payload)
        text = encoded_text(point.payload, made) if made is not None else None
        if text is not None:
            return _Sampled(point.id, _place(point), text, vectors)
        for name in vectors:
            self._findings.damaged.add(point.id, name)
        return None

    def _compare(self, sampled: Sequence[_Sampled]) -> None:
        self.sampled += len(sampled)
        of_model = {name: [each for each in sampled if name in each.vectors] for name in self._columns}
        encoded = self._runner.run({name: [each.text for each in those] for name, those in of_model.items() if those})
        for name, made in encoded.items():
            for row, each in enumerate(of_model[name]):
                if row in made.failed:
                    self._runner.monitor.log_error(
                        each.place, f"cannot be encoded again, and so not compared: {made.failed[row]}"
                    )
                elif fault := difference(each.vectors[name], made.vectors[row], self._min_cosine):
                    self._findings.add_damage(each.point, each.place, Damage(Kind.WRONG_VECTORS, name, fault))


def _place(point: StoredPoint) -> str:
    return f"{point.payload.get('doc_id')} chunk {point.payload.get('chunk')} (point {point.id})"

"""Make the points of one collection again in another: copy the vectors that are still valid, encode the rest."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble, token_limits
from ingest.errors import ConfigurationError, ModelError, StoreError
from ingest.records import Fingerprint, Payload, Point, SparseVector, StoredPoint, Vector
from ingest.store.contract import Filter, Manifest, Store, VectorSpec
from ingest.store.request_sizes import batches
from ingest.store.schema import INGEST_FIELD, encoded_text, fingerprint_of, with_fingerprint
from ingest.store.vector_faults import has_shape
from ingest.store.writer import Effects, Writer
from ingest.sync.plan import ChunkAction, DeleteMode, plan_document
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import WindowBounds

logger = logging.getLogger(__name__)

PAGE_POINTS = 256
"""Points read at a time with payload and vectors."""

COUNT_CHARACTERS = 2**20
"""Characters of text tokenized at a time to count their tokens."""

SAMPLED_POINTS = 50
"""Points whose texts tell the language of a collection."""


def check_texts(store: Store, collection: str, models: Sequence[Model], conditions: Sequence[Filter] = ()) -> None:
    """Raise `ConfigurationError` if one of these models cannot encode a stored chunk that meets all conditions. Reads only.

    Raises `StoreError` for a point that this package did not write: it cannot be rebuilt, and a swap would lose it.
    """
    fields = ["text", "title", "source", "doc_id", "chunk", INGEST_FIELD]
    limits = token_limits(models)
    stored = store.scroll(collection, conditions, payload=fields)
    for points in batches(stored, lambda point: len(str(point.payload.get("text"))), 1000, COUNT_CHARACTERS):
        fingerprints = [_fingerprint(point, collection) for point in points]
        texts = [encoded_text_of(*each) for each in zip(points, fingerprints, strict=True)] if models else []
        for limit in limits:
            for point, tokens in zip(points, limit.count(texts), strict=True):
                if tokens > limit.max_tokens:
                    raise ConfigurationError(
                        f"{location_of(point)} is {tokens} tokens long for {limit.model}, which takes {limit.max_tokens}: smaller"
                        " chunks require the source, so nothing was changed; use ingest run SOURCE with these models and a"
                        " new collection"
                    )


def some_texts(store: Store, collection: str) -> list[str]:
    """Return the texts of up to `SAMPLED_POINTS` points; whose they are is random, because ids are."""
    points = islice(store.scroll(collection, payload=["text"], page=SAMPLED_POINTS), SAMPLED_POINTS)
    return [str(point.payload.get("text", "")) for point in points]


@dataclass(slots=True)
class _PointRebuild:
    """The plan for one point of the new collection.

    Attributes:
        point: the live point.
        fingerprint: fingerprint of the new point.
        copied: vectors to copy.
        encoded: names of the vectors to encode.
        text: text to encode; "" if nothing is encoded.
    """

    point: StoredPoint
    fingerprint: Fingerprint
    action: ChunkAction
    copied: dict[str, Vector]
    encoded: tuple[str, ...]
    text: str


@dataclass(slots=True)
class _Window:
    """The points that are made and deleted together."""

    rebuilds: list[_PointRebuild] = field(default_factory=list)
    deletes: list[str] = field(default_factory=list)
    bytes: int = 0

    def add(self, rebuild: _PointRebuild, vector_bytes: int) -> None:
        self.rebuilds.append(rebuild)
        self.bytes += 2 * len(str(rebuild.point.payload.get("text", ""))) + vector_bytes


class Rebuild:
    """A copy of the points of `live` in `target`, with the vectors of `manifest`. Not thread-safe.

    Args:
        live: collection to read; it is never written.
        target: collection created for `manifest`; points that it already has are kept if they are right.
        copied: names of the vectors that need not be encoded because both collections have the same.
        ensemble: all models of `manifest`.
        bounds: maximum size of a window.

    Attributes:
        copied: vector name → number of points it was copied to.
        encoded: vector name → number of points it was encoded for.
    """

    def __init__(
        self,
        store: Store,
        live: str,
        target: str,
        *,
        manifest: Manifest,
        copied: Collection[str],
        ensemble: Ensemble,
        bounds: WindowBounds,
    ) -> None:
        self._store = store
        self.live = live
        self.target = target
        self._specs = {spec.name: spec for spec in manifest.vectors}
        self._models = {spec.name: spec.fingerprint for spec in manifest.vectors}
        self._copied_vectors = list(copied)
        self._ensemble = ensemble
        self._bounds = bounds
        self.copied: Counter[str] = Counter()
        self.encoded: Counter[str] = Counter()

    def catch_up(self) -> int:
        """Compare both collections once, and write and delete the points that differ. Return their number.

        Raises `ModelError` if a chunk cannot be encoded, and what the store raises. Acknowledged points stay.
        """
        differing = 0
        with Writer(self._store, self.target) as writer, Prefetch(self._windows()) as windows:
            for window in windows:
                writer.submit(self._effects(window))
                differing += len(window.rebuilds) + len(window.deletes)
                if window.rebuilds:
                    logger.info("made %d points of %s from %s", differing, self.target, self.live)
        return differing

    @property
    def is_complete(self) -> bool:
        """Whether both collections have as many points."""
        return self._store.count(self.live) == self._store.count(self.target)

    def verify(self) -> None:
        """Raise `StoreError` if a vector of the new collection is missing, has a wrong dimension or is not finite.

        The faulty points are deleted, so that the next reindex makes them again.
        """
        stored = self._store.scroll(self.target, payload=[INGEST_FIELD], vectors=True, page=PAGE_POINTS)
        faulty = {point.id: fault for point in stored if (fault := self._fault(point)) is not None}
        if faulty:
            with Writer(self._store, self.target) as writer:
                writer.submit(Effects(deletes=list(faulty)))
            first, fault = next(iter(faulty.items()))
            raise StoreError(
                f"{len(faulty)} points of the new collection {self.target} were wrong, the first is {first} ({fault}): they were"
                " deleted from it, and the collections were not swapped; run reindex again to make them again"
            )

    def _fault(self, point: StoredPoint) -> str | None:
        fingerprint = fingerprint_of(point.id, point.payload)
        if fingerprint is None or fingerprint.vectors != self._models:
            return "made by other models"
        for name, spec in self._specs.items():
            if name not in point.vectors:
                return f"has no vector {name}"
            if not is_sound(point.vectors[name], spec):
                return f"its vector {name} has another dimension or is not finite"
        return None

    def _windows(self) -> Iterator[_Window]:
        live = self._store.scroll(self.live, payload=[INGEST_FIELD])
        target = self._store.scroll(self.target, payload=[INGEST_FIELD])
        differing = ((wanted, stored) for wanted, stored in pair_by_id(live, target) if self._differ(wanted, stored))
        window = _Window()
        vector_bytes = self._ensemble.vector_bytes
        page = min(PAGE_POINTS, self._bounds.chunks)
        for pairs in batches(differing, lambda _: 1, page, page):
            window.deletes.extend(stored.id for wanted, stored in pairs if wanted is None and stored is not None)
            stored_by_id = {wanted.id: stored for wanted, stored in pairs if wanted is not None}
            if stored_by_id:
                for point in self._store.retrieve(self.live, list(stored_by_id), vectors=self._copied_vectors or False):
                    window.add(self._plan(point, stored_by_id[point.id]), vector_bytes)
            if len(window.rebuilds) >= self._bounds.chunks or window.bytes >= self._bounds.bytes:
                yield window
                window = _Window()
        yield window

    def _differ(self, wanted: StoredPoint | None, stored: StoredPoint | None) -> bool:
        if wanted is None or stored is None:
            return True
        return self._wanted_fingerprint(wanted) != fingerprint_of(stored.id, stored.payload)

    def _wanted_fingerprint(self, live: StoredPoint) -> Fingerprint:
        """Return the fingerprint that a live point must have in the new collection."""
        return replace(_fingerprint(live, self.live), vectors=self._models)

    def _plan(self, point: StoredPoint, stored: StoredPoint | None) -> _PointRebuild:
        """Return what it takes to make a point. `point` was just read: it may have changed since the comparison."""
        live = _fingerprint(point, self.live)
        wanted = self._wanted_fingerprint(point)
        before = fingerprint_of(stored.id, stored.payload) if stored is not None else None
        [action] = plan_document([wanted], [before] if before is not None else [], DeleteMode.NONE).actions
        copied = {
            name: point.vectors[name]
            for name in action.vectors
            if live.vectors.get(name) == self._models[name]
            and name in point.vectors
            and is_sound(point.vectors[name], self._specs[name])
        }
        encoded = tuple(name for name in action.vectors if name not in copied)
        return _PointRebuild(point, wanted, action, copied, encoded, encoded_text_of(point, live) if encoded else "")

    def _effects(self, window: _Window) -> Effects:
        upserts: list[Point] = []
        vector_updates: dict[str, Mapping[str, Vector]] = {}
        payloads: dict[str, Payload] = {}
        for rebuild, encoded in zip(window.rebuilds, self._encode(window.rebuilds), strict=True):
            id_, vectors = rebuild.point.id, {**rebuild.copied, **encoded}
            visible = {name: value for name, value in rebuild.point.payload.items() if name != INGEST_FIELD}
            payload = with_fingerprint(visible, rebuild.fingerprint)
            if rebuild.action.write == "point":
                upserts.append(Point(id_, vectors, payload))
                continue
            payloads[id_] = payload
            if vectors:
                vector_updates[id_] = vectors
        return Effects(upserts=upserts, vector_updates=vector_updates, payloads=payloads, deletes=window.deletes)

    def _encode(self, rebuilds: Sequence[_PointRebuild]) -> list[dict[str, Vector]]:
        """Return the encoded vectors of each point, by name."""
        texts = {name: [each.text for each in rebuilds if name in each.encoded] for name in self._models}
        encoded = self._ensemble.runner.run({name: texts_of_model for name, texts_of_model in texts.items() if texts_of_model})
        next_rows = dict.fromkeys(encoded, 0)
        vectors: list[dict[str, Vector]] = []
        for rebuild in rebuilds:
            of_point: dict[str, Vector] = {}
            for name in rebuild.encoded:
                row = next_rows[name]
                next_rows[name] += 1
                if row in encoded[name].failed:
                    raise ModelError(
                        f"{name} cannot encode {location_of(rebuild.point)} ({encoded[name].failed[row]}), so the collections"
                        " were not swapped: reindex with another model, or correct that document in its source and run ingest"
                        " run first"
                    )
                of_point[name] = encoded[name].vectors[row]
            vectors.append(of_point)
            self.copied.update(rebuild.copied.keys())
            self.encoded.update(rebuild.encoded)
        return vectors


def pair_by_id(
    left: Iterable[StoredPoint], right: Iterable[StoredPoint]
) -> Iterator[tuple[StoredPoint | None, StoredPoint | None]]:
    """Yield the points of two collections, both ordered by id, in pairs of one id; None stands for a point that one lacks."""
    lefts, rights = iter(left), iter(right)
    one, other = next(lefts, None), next(rights, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.id < other.id):
            yield one, None
            one = next(lefts, None)
        elif one is None or other.id < one.id:
            yield None, other
            other = next(rights, None)
        else:
            yield one, other
            one, other = next(lefts, None), next(rights, None)


def is_sound(vector: Vector, spec: VectorSpec) -> bool:
    numbers = vector.values if isinstance(vector, SparseVector) else vector
    return has_shape(vector, spec) and bool(np.isfinite(numbers).all())


def _fingerprint(point: StoredPoint, collection: str) -> Fingerprint:
    """Return the fingerprint of a stored point. Raise `StoreError` if it has none."""
    fingerprint = fingerprint_of(point.id, point.payload)
    if fingerprint is None:
        raise StoreError(
            f"the point {point.id} of {collection} was not written by this version of ingest, so it cannot be copied to a new"
            " collection: delete it, or move it to a collection of its own, and run reindex again"
        )
    return fingerprint


def encoded_text_of(point: StoredPoint, fingerprint: Fingerprint) -> str:
    """Return the text that was encoded for a stored point. Raise `StoreError` if the payload no longer has it."""
    text = encoded_text(point.payload, fingerprint)
    if text is None:
        raise StoreError(
            f"the text or title of {location_of(point)} was changed after it was encoded: repair it with ingest verify SOURCE"
            " --repair, or use ingest run SOURCE and a new collection"
        )
    return text


def location_of(point: StoredPoint) -> str:
    """Return a description of the chunk for people."""
    return f"chunk {point.payload.get('chunk')} of {point.payload.get('doc_id')!r} ({point.payload.get('source')})"

"""One collection's points made anew in another: what is still good is copied with its vectors, the rest is encoded."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ingest.encode.contract import Model
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, ModelError, StoreError
from ingest.records import Fingerprint, Payload, Point, SparseVector, StoredPoint, Vector
from ingest.store.contract import Manifest, Store
from ingest.store.request_sizes import batches
from ingest.store.schema import INGEST_FIELD, encoded_text, fingerprint_of, with_fingerprint
from ingest.store.writer import Effects, Writer
from ingest.sync.plan import ChunkAction, DeleteMode, plan_document
from ingest.sync.prefetch import Prefetch
from ingest.sync.reading import WindowBounds
from ingest.sync.sizing import SPARSE_VECTOR_BYTES

logger = logging.getLogger(__name__)

FETCHED_POINTS = 256
"""Points read whole, with their vectors, at a time."""

COUNTED_CHARACTERS = 2**20
"""Text whose tokens are counted at a time."""


def check_texts(store: Store, collection: str, models: Sequence[Model]) -> None:
    """Raises `ConfigurationError` unless these models can encode every chunk as it is stored. Reads only.

    Raises `StoreError` at a point that this package did not write: nothing could be made of it, and a swap would lose it.
    """
    fields = ["text", "title", "source", "doc_id", "chunk", INGEST_FIELD]
    limits = [limit for model in models if (limit := model.token_limit) is not None]
    stored = store.scroll(collection, payload=fields)
    for points in batches(stored, lambda point: len(str(point.payload.get("text"))), 1000, COUNTED_CHARACTERS):
        made = [_made_from(point, collection) for point in points]
        texts = [_text_of(point, each) for point, each in zip(points, made, strict=True)] if models else []
        for limit in limits:
            for point, cost in zip(points, limit.count(texts), strict=True):
                if cost > limit.max_tokens:
                    raise ConfigurationError(
                        f"{_place(point)} costs {limit.model} {cost} tokens, and it takes {limit.max_tokens}: smaller chunks need"
                        " their source, so nothing was made; use ingest run SOURCE with these models and a new collection"
                    )


@dataclass(slots=True)
class _Work:
    """What one point of the new collection needs. `fingerprint`: what it will be made from; `text`: "" if nothing is encoded."""

    point: StoredPoint
    fingerprint: Fingerprint
    action: ChunkAction
    copied: dict[str, Vector]
    encoded: tuple[str, ...]
    text: str


@dataclass(slots=True)
class _Window:
    work: list[_Work] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    bytes: int = 0

    def add(self, work: _Work, vector_bytes: int) -> None:
        self.work.append(work)
        self.bytes += 2 * len(str(work.point.payload.get("text", ""))) + vector_bytes


class Rebuild:
    """Makes `target` hold exactly the points of `live`, with the vectors of `manifest`. One thread at a time.

    Args:
        live: the collection to read; it is never written.
        target: made for `manifest`; what it holds already is kept where it is right.
        copied: vectors that both have alike, and that need not be encoded.
        runner: of all the models of `manifest`.
    """

    def __init__(
        self,
        store: Store,
        live: str,
        target: str,
        *,
        manifest: Manifest,
        copied: Collection[str],
        runner: BatchRunner,
        bounds: WindowBounds,
    ) -> None:
        self._store = store
        self._live = live
        self._target = target
        self._dimensions = {spec.name: spec.dim for spec in manifest.vectors}
        self._models = {spec.name: spec.fingerprint for spec in manifest.vectors}
        self._copied = list(copied)
        self._runner = runner
        self._bounds = bounds
        self.copied: Counter[str] = Counter()
        """Vector → points that it was copied to."""
        self.encoded: Counter[str] = Counter()
        """Vector → points that it was encoded for."""

    def catch_up(self) -> int:
        """One pass over both collections: points that are missing, differ, or should not be there. Gives how many there were.

        Raises `ModelError` where a chunk cannot be encoded, and what the store raises. What was acknowledged stays.
        """
        differed = 0
        with Writer(self._store, self._target) as writer, Prefetch(self._windows()) as windows:
            for window in windows:
                writer.submit(self._effects(window))
                differed += len(window.work) + len(window.gone)
                if window.work:
                    logger.info("%d points of %s are made from %s", differed, self._target, self._live)
        return differed

    def verify(self) -> None:
        """Reads all of the new collection. Raises `StoreError` if a vector is missing, has a wrong dimension or is not finite.

        Points at fault are deleted from it, so that the next reindex makes them anew.
        """
        stored = self._store.scroll(self._target, payload=[INGEST_FIELD], vectors=True, page=FETCHED_POINTS)
        faulty = {point.id: fault for point in stored if (fault := self._fault_of(point)) is not None}
        if faulty:
            with Writer(self._store, self._target) as writer:
                writer.submit(Effects(deletes=list(faulty)))
            first, fault = next(iter(faulty.items()))
            raise StoreError(
                f"{len(faulty)} points of the new collection {self._target} are wrong, the first is {first} ({fault}): they were"
                " removed from it, and nothing was swapped; run reindex again to make them anew"
            )

    def _fault_of(self, point: StoredPoint) -> str | None:
        made = fingerprint_of(point.id, point.payload)
        if made is None or made.vectors != self._models:
            return "made by other models"
        for name, dim in self._dimensions.items():
            if name not in point.vectors:
                return f"no vector {name}"
            if not _is_sound(point.vectors[name], dim):
                return f"its vector {name} has another dimension or is not finite"
        return None

    def _windows(self) -> Iterator[_Window]:
        live = self._store.scroll(self._live, payload=[INGEST_FIELD])
        made = self._store.scroll(self._target, payload=[INGEST_FIELD])
        differing = ((wanted, there) for wanted, there in paired(live, made) if self._differ(wanted, there))
        window = _Window()
        size = sum(SPARSE_VECTOR_BYTES if dim is None else 4 * dim for dim in self._dimensions.values())
        together = min(FETCHED_POINTS, self._bounds.chunks)
        for pairs in batches(differing, lambda _: 1, together, together):
            window.gone.extend(there.id for wanted, there in pairs if wanted is None and there is not None)
            stored = {wanted.id: there for wanted, there in pairs if wanted is not None}
            if stored:
                for point in self._store.retrieve(self._live, list(stored), vectors=self._copied or False):
                    window.add(self._work(point, stored[point.id]), size)
            if len(window.work) >= self._bounds.chunks or window.bytes >= self._bounds.bytes:
                yield window
                window = _Window()
        yield window

    def _differ(self, wanted: StoredPoint | None, there: StoredPoint | None) -> bool:
        if wanted is None or there is None:
            return True
        return self._remade(wanted) != fingerprint_of(there.id, there.payload)

    def _remade(self, live: StoredPoint) -> Fingerprint:
        """What a point of the live collection will be made from in the new one."""
        return replace(_made_from(live, self._live), vectors=self._models)

    def _work(self, point: StoredPoint, there: StoredPoint | None) -> _Work:
        """Decided from the point as it is now: it may have changed since both were compared."""
        live = _made_from(point, self._live)
        wanted = self._remade(point)
        stored = fingerprint_of(there.id, there.payload) if there is not None else None
        [action] = plan_document([wanted], [stored] if stored is not None else [], DeleteMode.NONE).actions
        copied = {
            name: point.vectors[name]
            for name in action.columns
            if live.vectors.get(name) == self._models[name]
            and name in point.vectors
            and _is_sound(point.vectors[name], self._dimensions[name])
        }
        encoded = tuple(name for name in action.columns if name not in copied)
        return _Work(point, wanted, action, copied, encoded, _text_of(point, live) if encoded else "")

    def _effects(self, window: _Window) -> Effects:
        made = self._encode(window.work)
        upserts: list[Point] = []
        columns: dict[str, Mapping[str, Vector]] = {}
        payloads: dict[str, Payload] = {}
        for work, fresh in zip(window.work, made, strict=True):
            id_, vectors = work.point.id, {**work.copied, **fresh}
            visible = {name: value for name, value in work.point.payload.items() if name != INGEST_FIELD}
            payload = with_fingerprint(visible, work.fingerprint)
            if work.action.write == "point":
                upserts.append(Point(id_, vectors, payload))
                continue
            payloads[id_] = payload
            if vectors:
                columns[id_] = vectors
        return Effects(upserts=upserts, vector_updates=columns, payloads=payloads, deletes=window.gone)

    def _encode(self, window: Sequence[_Work]) -> list[dict[str, Vector]]:
        """The vectors of each that could not be copied."""
        texts = {name: [work.text for work in window if name in work.encoded] for name in self._models}
        encoded = self._runner.run({name: wanted for name, wanted in texts.items() if wanted})
        cursors = dict.fromkeys(encoded, 0)
        rows: list[dict[str, Vector]] = []
        for work in window:
            row: dict[str, Vector] = {}
            for name in work.encoded:
                at = cursors[name]
                cursors[name] = at + 1
                if at in encoded[name].failed:
                    raise ModelError(
                        f"{name} cannot encode {_place(work.point)} ({encoded[name].failed[at]}), so nothing was swapped:"
                        " reindex with another model, or mend that document in its source and run ingest run first"
                    )
                row[name] = encoded[name].vectors[at]
            rows.append(row)
            self.copied.update(work.copied.keys())
            self.encoded.update(work.encoded)
        return rows


def paired(left: Iterable[StoredPoint], right: Iterable[StoredPoint]) -> Iterator[tuple[StoredPoint | None, StoredPoint | None]]:
    """The points of two collections, both by id: those of one id together, None beside one that the other does not have."""
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


def _is_sound(vector: Vector, dim: int | None) -> bool:
    if isinstance(vector, SparseVector):
        return dim is None and bool(np.isfinite(vector.values).all())
    return vector.shape == (dim,) and bool(np.isfinite(vector).all())


def _made_from(point: StoredPoint, collection: str) -> Fingerprint:
    made = fingerprint_of(point.id, point.payload)
    if made is None:
        raise StoreError(
            f"the point {point.id} of {collection} was not written by this version of ingest, and a new collection"
            " cannot take it over: delete it, or move it to a collection of its own, and run reindex again"
        )
    return made


def _text_of(point: StoredPoint, made: Fingerprint) -> str:
    text = encoded_text(point.payload, made)
    if text is None:
        raise StoreError(
            f"the text or title of {_place(point)} was changed after it was encoded: mend it with ingest verify SOURCE --repair,"
            " or use ingest run SOURCE and a new collection"
        )
    return text


def _place(point: StoredPoint) -> str:
    """Which chunk it is, for people."""
    return f"chunk {point.payload.get('chunk')} of {point.payload.get('doc_id')!r} ({point.payload.get('source')})"

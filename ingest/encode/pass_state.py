"""The state of one pass of a model over a window."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.batching import BatchQueue, Indices, RequestQueue
from ingest.encode.contract import Encoded, FallbackModel, Model, Vectors, as_remote
from ingest.encode.devices import is_accelerator
from ingest.encode.vectors import finite_rows, not_finite
from ingest.errors import DeviceMemoryError
from ingest.records import SparseVector

UNCOUNTED_COST = 2
"""Assumed tokens of a text for a model that does not count them: a thousand texts per batch on the CPU."""

_EMPTY = SparseVector(np.empty(0, np.uint32), np.empty(0, np.float32))


@dataclass(slots=True)
class PassState:
    """The state of one pass: its distinct texts, their lengths and their vectors.

    Attributes:
        texts: distinct texts.
        rows: index in `texts` of each text of the pass; None if all differ.
        lengths: tokens of each distinct text.
        sizes: by which texts are compared: tokens, or characters if the model counts none.
        counted: whether the model counts tokens.
        matrix: vectors of a dense model, `vectors` those of another; a row per distinct text.
        failed: index of a distinct text → reason.
        may_overflow: whether the model computes in float16 and can compute in float32 instead.
        overflowed: whether it made a vector that is not finite: the pass continues in float32.
        no_room: index of a distinct text → device whose memory did not suffice for it alone.
        longest: size of the longest text that has a vector.
        encoded: number of distinct texts that have a vector.
        seconds: time under leases; in `swap_seconds` of it the model moved, in `compute_seconds` a device computed (on average).
    """

    model: Model
    texts: list[str]
    rows: Indices | None
    lengths: NDArray[np.int64]
    sizes: NDArray[np.int64]
    counted: bool
    queue: BatchQueue
    matrix: NDArray[np.float32] | None
    vectors: list[Any]
    failed: dict[int, str]
    may_overflow: bool
    overflowed: bool = False
    no_room: dict[int, str] = field(default_factory=dict)
    longest: int = 0
    encoded: int = 0
    tokens: int = 0
    padded_tokens: int = 0
    seconds: float = 0.0
    swap_seconds: float = 0.0
    compute_seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, model: Model, texts: Sequence[str]) -> PassState:
        row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(row_of)
        limit = model.token_limit
        is_matrix = model.dim is not None and model.kind != "multivector"
        failed: dict[int, str] = {}
        if limit is None or not distinct:
            lengths = np.full(len(distinct), UNCOUNTED_COST, np.int64)
            possible = np.arange(len(distinct))
        else:
            lengths = np.asarray(limit.count(distinct), np.int64)
            possible = np.flatnonzero(lengths <= limit.max_tokens)
            for index in np.flatnonzero(lengths > limit.max_tokens):
                failed[int(index)] = f"{lengths[index]} tokens, more than the {limit.max_tokens} of {model.key}"
        return cls(
            model=model,
            texts=distinct,
            rows=None if len(distinct) == len(texts) else np.fromiter(map(row_of.__getitem__, texts), np.intp, len(texts)),
            lengths=lengths,
            sizes=np.fromiter(map(len, distinct), np.int64, len(distinct)) if limit is None else lengths,
            counted=limit is not None,
            queue=_queue(model, lengths, possible),
            matrix=np.zeros((len(distinct), model.dim or 0), np.float32) if is_matrix else None,
            vectors=[] if is_matrix else [_EMPTY] * len(distinct),
            failed=failed,
            may_overflow=model.dtype == "float16" and isinstance(model, FallbackModel),
        )

    @property
    def chunks(self) -> int:
        """The number of texts that have a vector, duplicates included."""
        if self.rows is None:
            return self.encoded
        return len(self.rows) - int(np.isin(self.rows, list(self.failed)).sum())

    @property
    def remaining(self) -> int:
        """The number of distinct texts that are not encoded yet."""
        return len(self.texts) - len(self.failed) - self.encoded

    def encodable(self) -> list[str]:
        """Return the texts within the model's token limit."""
        return [text for index, text in enumerate(self.texts) if index not in self.failed]

    def take(self, budget: int) -> Indices:
        """Return the next batch, empty at the end or once the model has overflowed."""
        return np.empty(0, np.intp) if self.overflowed else self.queue.take(budget)

    def store(self, batch: Indices, vectors: Vectors, cost: int) -> int:
        """Store the vectors of a batch. Returns the number of its texts that are done.

        A text whose vector is not finite returns to the queue if the model `may_overflow`, else it is rejected. Raises
        `ModelError` for vectors of a wrong shape.
        """
        finite = finite_rows(self.model, vectors, len(batch))
        if self.matrix is not None and isinstance(vectors, np.ndarray):
            self.matrix[batch] = vectors if finite.all() else np.where(finite[:, np.newaxis], vectors, 0)
        else:
            for index in np.flatnonzero(finite):
                self.vectors[batch[index]] = vectors[index]
        with self._lock:
            self.longest = max(self.longest, int(self.sizes[batch].max()))
            self.encoded += int(finite.sum())
            if self.counted:
                self.tokens += int(self.lengths[batch].sum())
                self.padded_tokens += cost
            if finite.all():
                return len(batch)
            if self.may_overflow:
                self.overflowed = True
                self.queue.put_back(batch[~finite])
                return int(finite.sum())
            self.failed.update(dict.fromkeys(batch[~finite].tolist(), not_finite(self.model)))
            return len(batch)

    def confine(self, batch: Indices, reason: str, full: str | None) -> None:
        """Return both halves of a failed batch to the queue, or reject its only text. `full`: the device, if it lacked memory."""
        if len(batch) == 1:
            with self._lock:
                self.failed[int(batch[0])] = reason
                if full is not None:
                    self.no_room[int(batch[0])] = full
            return
        for half in np.array_split(batch, 2):
            self.queue.put_back(half)

    def check_room(self) -> None:
        """Raise `DeviceMemoryError` if a device, and no text, is to blame for a text that did not fit alone.

        That is so if a text of at least that size has a vector, or none has one. Otherwise a GPU that another program fills would
        have every document rejected.
        """
        for index, device in self.no_room.items():
            if self.encoded == 0 or self.sizes[index] <= self.longest:
                instead = ", or use device cpu" if is_accelerator(device) else ""
                raise DeviceMemoryError(
                    f"{device} has no memory for even one text of {self.model.key}: stop other programs that use it{instead}",
                    device=device,
                )

    def result(self) -> Encoded:
        """Return the vectors and failures in the order of the texts of the pass."""
        if self.rows is None:
            return Encoded(self.vectors if self.matrix is None else self.matrix, dict(sorted(self.failed.items())))
        failed = (
            {index: self.failed[row] for index, row in enumerate(self.rows.tolist()) if row in self.failed} if self.failed else {}
        )
        if self.matrix is None:
            return Encoded([self.vectors[row] for row in self.rows], failed)
        return Encoded(self.matrix[self.rows], failed)


def _queue(model: Model, lengths: NDArray[np.int64], possible: Indices) -> BatchQueue:
    if remote := as_remote(model):
        return RequestQueue(lengths, possible, lambda: remote.batch_texts)
    return BatchQueue(lengths, possible)

"""Models that write down what is done to them, for tests of leases and passes."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import ModelKind, RunsOn
from ingest.encode.devices import GIBIBYTE
from ingest.records import DenseMatrix, TokenLimit
from ingest.telemetry import PassReport, ThroughputMonitor
from ingest.testing import FakeAccelerator

DIM = 4


@dataclass
class Journal:
    """What happened, in order, and whether two models were ever at work on one device."""

    events: list[tuple[str, str]] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    at_work: dict[str, str] = field(default_factory=dict)
    collisions: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, what: str, model: str) -> None:
        with self.lock:
            self.events.append((what, model))

    @contextmanager
    def working(self, model: str, device: str) -> Iterator[None]:
        with self.lock:
            if device in self.at_work:
                self.collisions.append(f"{model} while {self.at_work[device]} on {device}")
            self.at_work[device] = model
        yield
        with self.lock:
            del self.at_work[device]


def vector_of(text: str) -> NDArray[np.float32]:
    """A unit vector that depends on the text alone."""
    raw = np.frombuffer(hashlib.sha256(text.encode()).digest()[:DIM], np.uint8).astype(np.float32) + 1
    return raw / np.linalg.norm(raw)


class RecordingModel:
    """A dense model of 4 dimensions.

    Args:
        before_batch: called with the texts of each batch before it is encoded; raises what should go wrong.
        max_tokens: with it, a word is a token; without, nothing is counted.
        gpus: with it, the model fills `nbytes` of the memory of each of these GPUs that it is on.
    """

    kind: ModelKind = "dense"
    dim = DIM
    dtype = "float32"
    backend = "recording"
    uses_idf = False

    def __init__(
        self,
        key: str,
        journal: Journal | None = None,
        *,
        before_batch: Callable[[Sequence[str]], None] = lambda _: None,
        max_tokens: int | None = None,
        runs_on: RunsOn = "accelerator",
        gpus: FakeAccelerator | None = None,
        nbytes: int = 0,
    ) -> None:
        self.key = key
        self.space = self.fingerprint = f"fingerprint of {key}"
        self.journal = journal or Journal()
        self.runs_on = runs_on
        self.before_batch = before_batch
        self.gpus = gpus
        self.nbytes = nbytes
        self.on: set[str] = set()
        self.token_limit = (
            TokenLimit(key, max_tokens, lambda texts: [len(text.split()) for text in texts]) if max_tokens else None
        )

    def load(self) -> None:
        pass

    def to_device(self, device: str) -> RecordingEncoder:
        self.journal.note("to_device", self.key)
        self.journal.places.append(device)
        if self.gpus is not None and device not in self.on:
            self.gpus.allocate(device, self.nbytes)
            self.on.add(device)
        return RecordingEncoder(self, device)

    def offload(self) -> None:
        self.journal.note("offload", self.key)
        for device in self.on:
            assert self.gpus is not None
            self.gpus.free(device, self.nbytes)
        self.on.clear()


def large(key: str, journal: Journal, gpus: FakeAccelerator) -> RecordingModel:
    """A model that shares no GPU with another."""
    return RecordingModel(key, journal, gpus=gpus if gpus.gpus() else None, nbytes=60 * GIBIBYTE)


class RecordingEncoder:
    def __init__(self, model: RecordingModel, device: str) -> None:
        self.model = model
        self.device = device

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        with self.model.journal.working(self.model.key, self.device):
            self.model.journal.batches.append(list(texts))
            self.model.before_batch(texts)
            return np.stack([vector_of(text) for text in texts])

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self.encode_documents(texts)


class Passes(ThroughputMonitor):
    """Keeps every pass report."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.passes: list[PassReport] = []

    def log_pass(self, report: PassReport) -> None:
        self.passes.append(report)
        super().log_pass(report)

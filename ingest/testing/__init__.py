"""Public fakes with real behavior, without models, networks or randomness, for your tests and those of this project."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isfunction
from itertools import islice
from typing import Any, Literal

import numpy as np

from ingest.encode.accelerator import use_accelerator
from ingest.encode.contract import ModelKind, RunsOn
from ingest.errors import SourceError
from ingest.identity import digest
from ingest.records import DenseMatrix, Document, Rejected, TokenLimit, Unchanged, Unread, Versioned
from ingest.store.contract import Store
from ingest.testing.accelerator import FakeAccelerator

__all__ = [
    "Crash",
    "FakeAccelerator",
    "FakeChanges",
    "FakeClock",
    "FlakyStore",
    "HashEncoder",
    "ListSource",
    "VersionedSource",
    "generated_documents",
    "use_accelerator",
]


@dataclass(frozen=True, slots=True)
class Crash:
    """A position in a `ListSource` where reading raises `error`."""

    error: BaseException = field(default_factory=lambda: SourceError("the source crashed on cue"))


@dataclass(slots=True)
class ListSource:
    """A source from a list of documents, rejects and crashes. `reads` counts how often it was read."""

    items: Sequence[Document | Rejected | Crash]
    name: str = "list"
    reads: int = 0

    def read(self) -> Iterator[Document | Rejected]:
        self.reads += 1
        for item in self.items:
            if isinstance(item, Crash):
                raise item.error
            yield item


@dataclass(slots=True)
class VersionedSource(ListSource):
    """A `ListSource` that leaves documents unread whose version has not changed.

    `documents_read` has the ids of the documents that it yielded when it was read last.
    """

    documents_read: list[str] = field(default_factory=list)

    def read(self) -> Iterator[Document | Rejected]:
        return (item for item in self.read_changed(lambda _: ()) if not isinstance(item, Unread))

    def read_changed(self, unchanged: Unchanged) -> Iterator[Document | Rejected | Unread]:
        self.reads += 1
        self.documents_read.clear()
        for item in self.items:
            if isinstance(item, Crash):
                raise item.error
            if isinstance(item, Document):
                if item.version is not None and unchanged([Versioned(item.id, item.version)]):
                    yield Unread(item.id, item.position)
                    continue
                self.documents_read.append(item.id)
            yield item


class HashEncoder:
    """A dense model and its encoder in one: each text's vector is a hash of it, `(n, dim) float32`, unit norm.

    Equal texts have equal vectors, to the bit and in any batch; different ones are nearly orthogonal. It moves
    between devices like a real model; `runs_on` is where it claims to run. With `record`, `encoded` lists every text it encoded.
    """

    def __init__(
        self,
        key: str = "hash",
        dim: int = 384,
        *,
        revision: str = "1",
        record: bool = False,
        runs_on: RunsOn = "accelerator",
    ) -> None:
        self._key = key
        self._runs_on = runs_on
        self._dim = dim
        self._revision = revision
        self._record = record
        self._salt = revision.encode() + b"\0"
        self.encoded: list[str] = []

    @property
    def key(self) -> str:
        return self._key

    @property
    def kind(self) -> ModelKind:
        return "dense"

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def dtype(self) -> str:
        return "float32"

    @property
    def backend(self) -> str:
        return "hash"

    @property
    def runs_on(self) -> RunsOn:
        return self._runs_on

    @property
    def uses_idf(self) -> bool:
        return False

    @property
    def fingerprint(self) -> str:
        return digest(["hash", self._key, self._dim, self._revision])

    @property
    def space(self) -> str:
        return self.fingerprint

    @property
    def token_limit(self) -> TokenLimit | None:
        return None

    def load(self) -> None:
        pass

    def to_device(self, device: str) -> HashEncoder:  # noqa: ARG002  any device will do
        return self

    def offload(self) -> None:
        pass

    def encode_documents(self, texts: Sequence[str]) -> DenseMatrix:
        if self._record:
            self.encoded.extend(texts)
        return self._hash(texts)

    def encode_queries(self, texts: Sequence[str]) -> DenseMatrix:
        return self._hash(texts)

    def _hash(self, texts: Sequence[str]) -> DenseMatrix:
        digests = b"".join([hashlib.shake_128(self._salt + text.encode()).digest(self._dim) for text in texts])
        # Odd, so that none is zero; and so small that up to 1,040 squares add up exactly, in whatever order.
        matrix: DenseMatrix = (np.frombuffer(digests, np.int8) | 1).reshape(len(texts), self._dim).astype(np.float32)
        matrix /= np.sqrt(np.einsum("ij,ij->i", matrix, matrix))[:, np.newaxis]
        return matrix


Moment = Literal["before", "halfway", "after"]


class FlakyStore:
    """A store that fails on cue and otherwise is the store it wraps.

    Args:
        store: the real one.
        cue: called with the method's name and the number of that call (from 1) before each call of one of `methods`; the
            exception it returns is raised `before` the call, `halfway` (after the first half of the points), or `after` it took
            effect, like a lost response.
        methods: names of the methods that may fail. None: `EFFECTS`, those that write points. `REQUESTS` are all of them.
    """

    EFFECTS = frozenset({"upsert", "update_vectors", "set_payload", "set_versions", "delete"})
    REQUESTS = frozenset(name for name, member in vars(Store).items() if isfunction(member) and name[0] != "_") - {"close"}

    def __init__(
        self,
        store: Store,
        cue: Callable[[str, int], tuple[Moment, BaseException] | None],
        *,
        methods: frozenset[str] | None = None,
    ) -> None:
        self._store = store
        self._cue = cue
        self._methods = self.EFFECTS if methods is None else methods
        self.calls: dict[str, int] = {}

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if name not in self._methods:
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            failure = self._cue(name, self.calls[name])
            if failure is None:
                return attribute(*arguments, **options)
            moment, error = failure
            if moment == "after":
                attribute(*arguments, **options)
            elif moment == "halfway":
                collection, points = arguments
                attribute(collection, _first(len(points) // 2, points))
            raise error

        return call


def _first(count: int, points: Any) -> Any:
    """Return the first `count` items of a list or a mapping."""
    return dict(islice(points.items(), count)) if isinstance(points, Mapping) else points[:count]


@dataclass(slots=True)
class FakeClock:
    """A monotonic clock in seconds that moves only by `clock.sleep(s)`, which also records it; `clock()` reads it."""

    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class FakeChanges:
    """A stream of changes from a script, for watches, and the request to stop at its end: it is True once the script has ended.

    Args:
        script: what each wait reports: paths of files and folders, none, or None for changes that were missed. A generator may
            change the files in between.
        clock: a wait that reports no paths lets all its time pass.
    """

    def __init__(self, script: Iterable[Iterable[str] | None], clock: FakeClock) -> None:
        self._script = iter(script)
        self._clock = clock
        self._ended = False

    def __call__(self) -> bool:
        return self._ended

    def wait(self, seconds: float) -> frozenset[str] | None:
        try:
            step = next(self._script)
        except StopIteration:
            self._ended = True
            return frozenset()
        changed = None if step is None else frozenset(step)
        if changed == frozenset():
            self._clock.sleep(seconds)
        return changed


def generated_documents(count: int, *, words: int = 60, seed: int = 0) -> Iterable[Document]:
    """Yield `count` documents of `words` random words each, the same for the same seed."""
    vocabulary = np.array([hashlib.sha256(str(n).encode()).hexdigest()[: 3 + n % 6] for n in range(5000)])
    random = np.random.default_rng(seed)
    for start in range(0, count, 1000):
        for offset, row in enumerate(random.integers(0, len(vocabulary), size=(min(1000, count - start), words))):
            number = start + offset
            yield Document(id=f"doc-{number}", text=" ".join(vocabulary[row]), metadata={"number": number})

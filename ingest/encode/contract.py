"""The two halves of a model: `Model`, which waits in host memory, and `Encoder`, which only a lease provides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from ingest.records import DenseMatrix, SparseVector, TokenLimit

ModelKind = Literal["dense", "sparse", "multivector", "reranker"]

MEMBER_KINDS: tuple[ModelKind, ...] = ("dense", "sparse", "multivector")
"""The kinds of an ensemble's members, each of which has a named vector."""

RunsOn = Literal["accelerator", "cpu", "anywhere", "remote"]
"""Where a model computes: on an accelerator (the CPU if the machine has none), always on the CPU, on the CPU beside whatever else
computes there (by default it leases nothing), or on another machine."""

Vectors = DenseMatrix | list[SparseVector] | list[DenseMatrix]
"""`(n, dim) float32`, n sparse vectors, or n multivectors, each `(tokens, dim) float32`; the i-th belongs to text i. Dense rows
have unit norm."""


class Encoder(Protocol):
    """A model on its device. Only a lease provides one, and it stops working when the lease ends.

    Callers pass texts without the model's prompts; the encoder adds them. Not safe for several threads at once. The caller
    rejects document vectors that are not finite (`finite_rows`); the lease rejects such query vectors with `ModelError`.

    Raises:
        torch.OutOfMemoryError: a batch does not fit. The runner halves it.
        ModelUnavailableError: the model does not respond, whatever the texts: its server is down, overloaded or too slow. The
            runner retries the same texts under its retry policy, then ends the run. `ConnectionError` and `TimeoutError` count as
            this error.
        ModelError: a text cannot be encoded. The runner halves the batch until that text is alone, and rejects it.
    """

    def encode_documents(self, texts: Sequence[str]) -> Vectors: ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...


class Model(Protocol):
    """A model of the ensemble, in host memory or not loaded yet. It cannot encode: `lease_gpus` provides its encoder.

    Only `load`, `to_device` and `offload` need the weights, and only the lease calls those three.
    """

    @property
    def key(self) -> str:
        """The registry key, which is also the name of the model's named vector."""
        ...

    @property
    def kind(self) -> ModelKind: ...

    @property
    def dim(self) -> int | None:
        """The dimension of a dense model or of the rows of a multivector, None for a sparse one."""
        ...

    @property
    def dtype(self) -> str:
        """The type it computes in: `float32`, `bfloat16`, `float16`, `int8`."""
        ...

    @property
    def backend(self) -> str:
        """The library that computes it: `torch`, `openvino`, `onnx`, `qdrant` (BM25), `hash` (tests)."""
        ...

    @property
    def runs_on(self) -> RunsOn:
        """Where the model computes, for documents and queries alike.

        `accelerator` and `cpu` lease their devices; only `accelerator` moves the resident model off them. `remote` leases nothing
        and never waits; its device is called `remote`.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """A digest of everything that shapes its vectors: revision or weights, prompts, pooling, truncation, and int8 or float.

        All floats share one: `float32`, `bfloat16` and `float16` vectors of a model differ less than its neighbors do.
        """
        ...

    @property
    def space(self) -> str:
        """A digest of what defines its vector space: the fingerprint without the precision."""
        ...

    @property
    def uses_idf(self) -> bool:
        """Whether the sparse vector requires Qdrant's IDF modifier."""
        ...

    @property
    def token_limit(self) -> TokenLimit | None:
        """The limit on a chunk, or None if there is none. May load the tokenizer, never the weights."""
        ...

    def load(self) -> None:
        """Read the weights into host memory, once. Runs before the lease, so no process leases a device while reading."""
        ...

    def to_device(self, device: str) -> Encoder:
        """Move to `device` (`cuda:0`, `cpu`, `remote`) and return the encoder there."""
        ...

    def offload(self) -> None:
        """Free the memory of the devices. The weights stay in host memory."""
        ...


@runtime_checkable
class CalibratedModel(Protocol):
    """A `Model` that must see some texts before it can encode documents."""

    def calibrate(self, texts: Sequence[str]) -> None:
        """Calibrate the model on all texts of a pass, each within its token limit, before it encodes any of them.

        Called without a lease. May take a minute the first time. Raises `PrecisionError` if the model cannot encode the texts in
        the precision of its fingerprint.
        """
        ...


@runtime_checkable
class ConfiguredModel(Protocol):
    """A `Model` with options of its own, which its collection keeps."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The options by name, as JSON."""
        ...


@runtime_checkable
class RemoteModel(Protocol):
    """A `Model` that computes on another machine, which answers several requests at a time."""

    @property
    def concurrency(self) -> int:
        """Maximum number of encoders that work at a time, each in a thread of its own."""
        ...

    @property
    def batch_texts(self) -> int:
        """Maximum number of texts in a batch. It may change between batches."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Maximum number of tokens in a batch, all texts together."""
        ...

    def take_usage(self) -> int:
        """Return the tokens that the other machine has counted since the last call, 0 if it counts none."""
        ...

    def interrupt(self) -> None:
        """Let encoders that wait until they may ask the other machine raise `ModelUnavailableError`: the run is stopping."""
        ...


def as_remote(model: Model) -> RemoteModel | None:
    """Return a remote model as one, and None for any other model, at once: `isinstance` alone reads all of its attributes."""
    return model if model.runs_on == "remote" and isinstance(model, RemoteModel) else None


@runtime_checkable
class AsyncEncoder(Encoder, Protocol):
    """An `Encoder` that returns while its device still computes, so that the caller can prepare the next batch."""

    def start_documents(self, texts: Sequence[str]) -> Callable[[], Vectors]:
        """Start to encode a batch. Returns a function that waits for its vectors. At most two batches may be under way."""
        ...


@runtime_checkable
class FallbackModel(Protocol):
    """A `Model` that can compute in float32 instead of float16, whose largest number is 65,504."""

    def use_float32(self) -> None:
        """Compute in float32 from now on. Called without a lease; the next `load` reads the weights again."""
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """The result of one model's pass.

    Attributes:
        vectors: one row per text, in the order of the texts. The row of a failed text is zeros or empty and has no meaning.
        failed: index of a text that could not be encoded → reason.
    """

    vectors: Vectors
    failed: Mapping[int, str]

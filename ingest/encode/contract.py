"""What the rest of the package knows of a model: the part that waits on the host, and the part a lease hands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ingest.records import DenseMatrix, SparseVector, TokenLimit

Kind = Literal["dense", "sparse", "reranker"]

RunsOn = Literal["accelerator", "cpu", "remote"]
"""Where a model computes: on an accelerator if this machine has one, otherwise on its CPU; always on the CPU; or not on this
machine at all, such as behind an API."""

Vectors = DenseMatrix | list[SparseVector]
"""`(n, dim) float32, unit norm`, or n sparse vectors; row i belongs to text i."""


class Encoder(Protocol):
    """A model on its device. Only a lease hands one out; it is dead once the lease ends.

    Texts are given without the model's prompts; the encoder adds them. One thread at a time. A document's vector that is not
    finite is for the caller to refuse (`finite_rows`); a query's is refused by the lease, with `ModelError`.
    Raises:
        torch.OutOfMemoryError: a batch does not fit. The runner makes it smaller.
        ModelUnavailableError: the model cannot answer now, whatever the texts: its server is down, overloaded or too slow. The
            runner sends the same texts again under its retry policy, then ends the run. `ConnectionError` and `TimeoutError`
            count as this.
        ModelError: a text cannot be encoded. The runner halves the batch until that text is alone, and rejects it.
    """

    def encode_documents(self, texts: Sequence[str]) -> Vectors: ...

    def encode_queries(self, texts: Sequence[str]) -> Vectors: ...


class Model(Protocol):
    """A member of the ensemble, waiting in host memory or not even loaded yet. It cannot encode: see `lease_gpus`.

    Everything but `load`, `to_device` and `offload` is known without the weights, and those three are called by the lease alone.
    """

    @property
    def key(self) -> str:
        """Registry key, and the name of its vector."""
        ...

    @property
    def kind(self) -> Kind: ...

    @property
    def dim(self) -> int | None:
        """Dimension of a dense model, None for a sparse one."""
        ...

    @property
    def dtype(self) -> str:
        """What it computes in: `float32`, `bfloat16`, `float16`, `int8`."""
        ...

    @property
    def backend(self) -> str:
        """`torch`, `openvino`, `onnx`, `qdrant` (BM25), `hash` (tests)."""
        ...

    @property
    def runs_on(self) -> RunsOn:
        """Where it computes, for documents and queries alike.

        `accelerator` and `cpu` lease the devices they compute on; only `accelerator` moves the resident model off them. `remote`
        leases nothing and waits for nobody: it is placed once, on the device `remote`.
        """
        ...

    @property
    def fingerprint(self) -> str:
        """Digest of everything that shapes its vectors: revision or weights, prompts, pooling, dtype, truncation."""
        ...

    @property
    def space(self) -> str:
        """Digest of what defines its vector space: the same, without dtype and precision. A GPU and a CPU share a space."""
        ...

    @property
    def uses_idf(self) -> bool:
        """True where the sparse vector needs Qdrant's IDF modifier."""
        ...

    @property
    def token_limit(self) -> TokenLimit | None:
        """The bound on a chunk, or None where there is none. May load the tokenizer, never the weights."""
        ...

    def load(self) -> None:
        """Reads the weights into host memory, once. Needs no device, so that nobody waits for a disk while holding one."""
        ...

    def to_device(self, device: str) -> Encoder:
        """Move to `device` (`cuda:0`, `cpu`, `remote`) and return the encoder there."""
        ...

    def offload(self) -> None:
        """Moves off the device into host memory."""
        ...


@runtime_checkable
class CalibratedModel(Protocol):
    """A `Model` that must have seen some texts before it can encode documents."""

    def calibrate(self, texts: Sequence[str]) -> None:
        """Called without a lease, with all texts of a pass, each within the limit, before the model encodes any of them.

        May take a minute the first time. Raises `PrecisionError` where it cannot encode them in the precision that its
        fingerprint says.
        """
        ...


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a pass made of one model's texts.

    Attributes:
        vectors: one row per text, in the order asked; the row of a failed text is zeros or empty and means nothing.
        failed: index of a text that could not be encoded → why.
    """

    vectors: Vectors
    failed: Mapping[int, str]

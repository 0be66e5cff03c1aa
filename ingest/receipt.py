"""The account of a run: frozen records, with units. Times are seconds.

It is printed as JSON with the names of the fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ModelReport:
    """The work of one model in a run.

    `seconds` is the time under leases; `tokens` excludes padding; the shares are 0 to 1; `vram_gb` is the most GiB of one GPU's
    memory that it used, its batches included, 0 without a GPU; `identical` of the `chunks` got the vector of an equal text.
    """

    key: str
    kind: str
    vector: str
    dim: int | None
    dtype: str
    device: str
    backend: str
    chunks: int
    tokens: int
    seconds: float
    tokens_per_second: float = 0.0
    padding_share: float = 0.0
    computing_share: float = 0.0
    waiting_share: float = 0.0
    moving_share: float = 0.0
    vram_gb: float = 0.0
    identical: int = 0


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """One acquire or release. `at` is seconds since the run began; `vram` is device → bytes used, empty without a GPU."""

    event: str
    model: str
    devices: tuple[str, ...]
    at: float
    vram: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChunkCounts:
    """The number of chunks written, reused and deleted in a run.

    `copied` of those written have a vector that was not encoded, but copied from a stored point of the same text.
    """

    written: int
    reused: int
    deleted: int
    copied: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """The account of a run, counted in documents unless said otherwise.

    It balances if `read == written + updated + unchanged + rejected` and the store has exactly the planned number of points of
    these sources.

    Attributes:
        soft_deleted: documents missing from the source that search no longer finds; a later run purges them.
        window: maximum chunks of the last window.
        swap_share: share of the run (0 to 1) spent moving models on and off devices.
        stopped: the run was stopped before its sources ended; what it read is stored, and nothing was deleted.
        moved: points moved from the source's former name.
        skipped_unread: unchanged documents that were not read, because their version is the stored one.
        skipped: suffix → number of files that were not read, because their format is unknown.
        types: column of the CSV files → its type: text, integer, number, boolean or date.
        notes: what reading guessed or left out, in sentences.
    """

    collection: str
    read: int
    written: int
    updated: int
    unchanged: int
    deleted: int
    rejected: int
    chunks: ChunkCounts
    balanced: bool
    seconds: float
    models: tuple[ModelReport, ...] = ()
    lease_events: tuple[LeaseEvent, ...] = ()
    errors: tuple[str, ...] = ()
    window: int = 0
    swap_share: float = 0.0
    soft_deleted: int = 0
    stopped: bool = False
    moved: int = 0
    skipped_unread: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

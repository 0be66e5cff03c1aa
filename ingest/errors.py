"""The error tree. Everything the package raises on purpose is an `IngestError`.

    IngestError                    exit 1   what happened, to what, and what to do
    ├── ConfigurationError         exit 2   the request itself is wrong; nothing was touched
    │   ├── UnknownModelError      exit 2   a model key that is in no registry
    │   ├── ManifestMismatchError  exit 2   the collection was made with something else
    │   └── MissingExtraError      exit 2   an optional dependency is not installed
    ├── SourceError                exit 1   the source as a whole cannot be read (a bad record is `Rejected`, not this)
    ├── ModelError                 exit 1   a model cannot be found, verified, loaded or run
    │   ├── ModelUnavailableError  exit 1   the model's backend is down or overloaded, whatever the text: worth retrying
    │   └── PrecisionError         exit 1   a model cannot run in the precision asked for
    ├── LeaseError                 exit 1   the right to use a device could not be had
    │   └── LeaseTimeoutError      exit 1   … in time; names the holder
    ├── StoreError                 exit 1   Qdrant said no, or broke; asking again will not help
    │   ├── StoreUnavailableError  exit 1   not reachable, overloaded or timed out: worth asking again
    │   ├── RequestTooLargeError   exit 1   more than the server, or a proxy in front of it, takes in one request
    │   ├── StoreLockedError       exit 1   another process holds the embedded store
    │   ├── CollectionNotFoundError exit 1  no such collection
    │   └── ForeignCollectionError exit 1   a collection that another tool made
    ├── ForkError                  exit 1   an object was used in a forked child of the process that opened it
    ├── JobRunningError            exit 1   another process runs this job
    └── DeletionBrakeError         exit 4   the run would delete more than it is allowed to

Vendors' exceptions are translated where the vendor is called (`store/server/`, `store/edge/`, `encode/`, `source/`), once,
with `raise … from exc`. No other module catches a vendor's exception.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class IngestError(Exception):
    """Anything this package raises on purpose. The message is one line, fit for a terminal."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(IngestError):
    """What was asked for cannot be done as asked: wrong usage, wrong settings. Nothing was touched."""

    exit_code: ClassVar[int] = 2


class UnknownModelError(ConfigurationError):
    """A model key that no registry knows."""


class ManifestMismatchError(ConfigurationError):
    """The collection was made with other models, prompts, dimensions or distances than were asked for."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is needed for this and is not installed; the message says which extra brings it."""


class SourceError(IngestError):
    """The source as a whole cannot be read. A single bad record is a `Rejected`, never this."""


class ModelError(IngestError):
    """A model could not be found, verified, loaded or run."""


class ModelUnavailableError(ModelError):
    """The backend of a model is down, overloaded or timed out. The error concerns the model, not the texts it was given.

    An encoder that computes elsewhere raises this. The request is retried as it is, under the retry policy of the run, and is
    never split to find a text at fault. If the model stays unavailable, the run ends: no document is rejected or lost.

    Attributes:
        retry_after: seconds that the backend asked to wait before the next attempt, or None.
        gave_up: True once a retry policy has given up: no other policy retries it again.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, gave_up: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.gave_up = gave_up


class PrecisionError(ModelError):
    """A model cannot be computed in the precision asked for, or is too coarse in it. It has encoded nothing."""


class LeaseError(IngestError):
    """The exclusive right to use a device could not be had, or was asked for twice."""


class LeaseTimeoutError(LeaseError):
    """The lease was not free in time; the message names who holds it."""


class StoreError(IngestError):
    """Qdrant refused, or broke, and asking again will not help."""


class StoreUnavailableError(StoreError):
    """Qdrant is not reachable, overloaded or timed out: asking again may help.

    Attributes:
        retry_after: seconds that the server asked to wait before the next attempt, or None.
        gave_up: True once a retry policy has given up: no other policy retries it again.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, gave_up: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.gave_up = gave_up


class RequestTooLargeError(StoreError):
    """A request holds more than the server, or a proxy in front of it, takes. Smaller ones may pass.

    Attributes:
        most: how many points, ids or results a request may hold or ask for, if that was the reason; None if its bytes were.
    """

    def __init__(self, message: str, *, most: int | None = None) -> None:
        super().__init__(message)
        self.most = most


class StoreLockedError(StoreError):
    """Another process holds the embedded store: it serves one process at a time, a server serves many."""


class CollectionNotFoundError(StoreError):
    """The collection does not exist in this store."""


class ForeignCollectionError(StoreError):
    """The collection has no manifest: another tool made it, and this package neither writes to it nor drops it."""


class ForkError(IngestError):
    """An object was used in a forked child of the process that opened it; the child has to open its own."""


class JobRunningError(IngestError):
    """Another process runs this job; the message says which and since when."""


class DeletionBrakeError(IngestError):
    """The run would delete more of the source's documents than allowed, so nothing more was changed.

    Attributes:
        doc_ids: the documents that would have been deleted (at most the first 1,000).
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, doc_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.doc_ids = tuple(doc_ids)

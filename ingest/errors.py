"""The error tree. Everything the package raises on purpose is an `IngestError`.

    IngestError                    exit 1   every error that the package raises on purpose
    ├── ConfigurationError         exit 2   the request itself is wrong; nothing was changed
    │   ├── UnknownModelError      exit 2   a model key is not in the registry
    │   ├── ConflictError          exit 2   the collection has no such vector or document, or not only one
    │   ├── ManifestMismatchError  exit 2   the collection was made with other models or settings
    │   └── MissingExtraError      exit 2   an optional dependency is not installed
    ├── SourceError                exit 1   the source as a whole cannot be read (a bad record is `Rejected`, not this)
    ├── ModelError                 exit 1   a model cannot be found, verified, loaded or run
    │   ├── ModelUnavailableError  exit 1   the model's backend is down or overloaded, whatever the text: worth retrying
    │   └── PrecisionError         exit 1   a model cannot run in the requested precision
    ├── DeviceError                exit 1   a GPU failed, or the installed torch or driver cannot use it
    │   └── DeviceMemoryError      exit 1   a batch or a model does not fit the memory of a device
    ├── LeaseError                 exit 1   a device cannot be leased
    │   └── LeaseTimeoutError      exit 1   a lease was not free in time; names the holder
    ├── StoreError                 exit 1   Qdrant refused a request or failed; a retry will not help
    │   ├── StoreUnavailableError  exit 1   not reachable, overloaded or timed out: worth retrying
    │   ├── RequestTooLargeError   exit 1   a request too large for the server or a proxy in front of it
    │   ├── StoreLockedError       exit 1   another process has locked the embedded store
    │   ├── CollectionNotFoundError exit 1  no such collection
    │   └── ForeignCollectionError exit 1   another tool made the collection
    ├── PluginError                exit 1   a plugin cannot be loaded, or does not do what its protocol says
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
    """Any error that this package raises on purpose. The message is one line, fit for a terminal."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(IngestError):
    """The request itself is wrong: usage, arguments or settings. Nothing was changed."""

    exit_code: ClassVar[int] = 2


class UnknownModelError(ConfigurationError):
    """A model key is not in the registry."""


class ConflictError(ConfigurationError):
    """The request does not fit the collection: it has no vector or document of this name, or several documents."""


class ManifestMismatchError(ConfigurationError):
    """The collection was made with other models, prompts, dimensions or distances than requested."""


class MissingExtraError(ConfigurationError):
    """An optional dependency is needed for this and is not installed; the message names the extra to install."""


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
    """A model cannot run in the requested precision, or is too inaccurate in it. It has encoded nothing."""


class DeviceError(IngestError):
    """A GPU failed, is gone, or cannot be used by the installed torch or driver. Its models work on other devices.

    Attributes:
        device: name of the GPU, such as `cuda:0`, or None if it is not known.
    """

    def __init__(self, message: str, *, device: str | None = None) -> None:
        super().__init__(message)
        self.device = device


class DeviceMemoryError(DeviceError):
    """A batch or a model does not fit the free memory of a device. A smaller batch may fit."""


class LeaseError(IngestError):
    """A device cannot be leased, or was leased twice."""


class LeaseTimeoutError(LeaseError):
    """The lease was not free in time; the message names its holder."""


class StoreError(IngestError):
    """Qdrant refused a request or failed, and a retry will not help."""


class StoreUnavailableError(StoreError):
    """Qdrant is not reachable, overloaded or timed out; a retry may help.

    Attributes:
        retry_after: seconds that the server asked to wait before the next attempt, or None.
        gave_up: True once a retry policy has given up: no other policy retries it again.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, gave_up: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.gave_up = gave_up


class RequestTooLargeError(StoreError):
    """A request is too large for the server or a proxy in front of it. Smaller ones may succeed.

    Attributes:
        most: maximum number of points, ids or results in a request, or None if the limit is on its bytes.
    """

    def __init__(self, message: str, *, most: int | None = None) -> None:
        super().__init__(message)
        self.most = most


class StoreLockedError(StoreError):
    """Another process has locked the embedded store, which serves one process at a time; a server serves many."""


class CollectionNotFoundError(StoreError):
    """The collection does not exist in this store."""


class ForeignCollectionError(StoreError):
    """The collection has no manifest, so another tool made it. This package neither writes to it nor drops it."""


class PluginError(IngestError):
    """A plugin cannot be loaded, or does not do what its protocol says. The message names it and its package."""


class ForkError(IngestError):
    """An object was used in a forked child of the process that opened it; the child must open its own."""


class JobRunningError(IngestError):
    """Another process runs this job; the message says which and since when."""


class DeletionBrakeError(IngestError):
    """The run would delete more of the source's documents than allowed, so it deleted none.

    Attributes:
        doc_ids: the documents that would have been deleted (at most the first 1,000).
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, *, doc_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.doc_ids = tuple(doc_ids)

"""Encode the batches of one device in turn. A GPU computes one batch while the CPU prepares the next."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from ingest.encode.batching import Indices
from ingest.encode.contract import AsyncEncoder, Encoder, Vectors
from ingest.encode.devices import is_accelerator, is_out_of_memory
from ingest.encode.feeding import IN_FLIGHT
from ingest.errors import ModelError, ModelUnavailableError
from ingest.retry import RetryPolicy, call_with_retries

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a batch was not encoded."""

    reason: str
    out_of_memory: bool = False


class BatchStream:
    """An iterator over batches, each with its vectors or its `Failure`. Any other error ends it.

    Args:
        encoder: encodes the batches.
        device: where it computes.
        texts: all texts.
        take: returns the indices of the next batch, none at the end. Called again at the end, for batches that were put back.
        retry: limits on the retries of a batch while its model is unavailable.
        sleep: waits between two attempts; what it raises ends the iterator.
    """

    def __init__(
        self,
        encoder: Encoder,
        device: str,
        texts: Sequence[str],
        take: Callable[[], Indices],
        retry: RetryPolicy,
        *,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._encoder = encoder
        self._device = device
        self._texts = texts
        self._take = take
        self._retry = retry
        self._sleep = sleep
        self._ahead = IN_FLIGHT - 1 if is_accelerator(device) and isinstance(encoder, AsyncEncoder) else 0
        self.computed_seconds = 0.0
        """Time in which the device had a batch."""

    def __iter__(self) -> Iterator[tuple[Indices, Vectors | Failure]]:
        started: deque[tuple[Indices, Callable[[], Vectors | Failure]]] = deque()
        busy_since = 0.0
        while True:
            batch = self._take()
            if len(batch):
                busy_since = busy_since if started else time.monotonic()
                started.append((batch, self._start([self._texts[index] for index in batch])))
            elif not started:
                return
            if len(started) > self._ahead or not len(batch):
                done, result = _result(*started.popleft())
                if not started:
                    self.computed_seconds += time.monotonic() - busy_since
                yield done, result

    def _start(self, texts: Sequence[str]) -> Callable[[], Vectors | Failure]:
        """Start a batch, or encode it if that is the same here. Returns a function that waits for its vectors."""
        if self._ahead and isinstance(self._encoder, AsyncEncoder):
            started = self._caught(partial(self._encoder.start_documents, texts))
            return partial(_identity, started) if isinstance(started, Failure) else partial(self._caught, started)
        encode = partial(self._caught, partial(self._encoder.encode_documents, texts))
        return partial(_identity, call_with_retries(encode, self._retry, sleep=self._sleep))

    def _caught(self, call: Callable[[], T]) -> T | Failure:
        """Return the result of a call, or why it failed. Keeps no reference to the error, so that its tensors are free."""
        try:
            return call()
        except ModelUnavailableError:  # no text is the cause
            raise
        except ModelError as exc:
            return Failure(str(exc))
        except Exception as exc:
            if not is_out_of_memory(exc):
                raise
            return Failure(f"does not fit the memory of {self._device} on its own", out_of_memory=True)


def _identity(value: T) -> T:
    return value


def _result(batch: Indices, wait: Callable[[], T]) -> tuple[Indices, T]:
    """Wait for a batch. Nothing refers to its tensors afterwards."""
    return batch, wait()

"""Encode the queries of several threads in one call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from ingest.encode.contract import Vectors
from ingest.errors import IngestError

MAX_TOGETHER = 32
"""Most queries that are encoded for other threads in one call. More take longer than they save."""


@dataclass(slots=True, eq=False)
class _Request:
    """The queries of one thread, and what became of them."""

    queries: Sequence[str]
    vectors: Vectors | None = None
    error: IngestError | None = None

    @property
    def done(self) -> bool:
        return self.vectors is not None or self.error is not None


class CombinedEncoding:
    """An encoder for one thread at a time, which takes the queries of all threads that wait for it. Safe from several threads.

    A thread that finds it free encodes at once and never waits for more queries. While it computes, others queue; the first of
    them then encodes for all.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Request] = deque()
        self._encoder = threading.Lock()

    def encode(self, queries: Sequence[str], encode: Callable[[Sequence[str]], Vectors]) -> Vectors:
        """Return the vectors of the queries, in their order. Raises what `encode` raises for them alone.

        Args:
            encode: encodes queries of this thread and of others; one call of any thread runs at a time.
        """
        own = _Request(queries)
        self._waiting.append(own)
        with self._encoder:
            while not own.done:
                self._serve_next(own, encode)
        if own.error is not None:
            raise own.error
        assert own.vectors is not None  # noqa: S101  for the type checker: it is done
        return own.vectors

    def _serve_next(self, own: _Request, encode: Callable[[Sequence[str]], Vectors]) -> None:
        """Encode for those that have waited longest. An exception that ends this thread leaves the others in the queue."""
        requests = self._next()
        try:
            _serve(requests, encode)
        except BaseException:
            self._waiting.extendleft(each for each in reversed(requests) if each is not own and not each.done)
            raise

    def _next(self) -> list[_Request]:
        """Return the requests that have waited longest, and take them from the queue. The caller has the encoder."""
        taken = [self._waiting.popleft()]
        count = len(taken[0].queries)
        while self._waiting and (count := count + len(self._waiting[0].queries)) <= MAX_TOGETHER:
            taken.append(self._waiting.popleft())
        return taken


def _serve(requests: Sequence[_Request], encode: Callable[[Sequence[str]], Vectors]) -> None:
    """Encode requests together, and one by one if that fails: the fault may be with one of them."""
    try:
        vectors = encode([query for request in requests for query in request.queries])
    except IngestError as exc:
        if len(requests) == 1:
            requests[0].error = exc
            return
        for request in requests:
            _serve([request], encode)
        return
    borders = accumulate((len(request.queries) for request in requests), initial=0)
    for request, (start, end) in zip(requests, pairwise(borders), strict=True):
        request.vectors = vectors[start:end]

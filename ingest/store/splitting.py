"""Requests of a size that the store accepts, learned from its refusals."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from ingest.errors import RequestTooLargeError
from ingest.records import ScoredPoint
from ingest.store.contract import VectorQuery
from ingest.store.request_sizes import batches

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
RequestKind = tuple[str, str]
"""A collection and the name of an operation."""


class RequestLimits:
    """The size of requests that a store, or a proxy in front of it, accepts.

    Nothing is measured or split before the first refusal. Safe from several threads.
    """

    def __init__(self) -> None:
        self._bytes = sys.maxsize
        self._counts: dict[RequestKind, int] = {}

    def most(self, kind: RequestKind) -> int:
        """Return the known maximum number of points, ids or results in a request."""
        return self._counts.get(kind, sys.maxsize)

    def learn(self, kind: RequestKind, number: int, error: RequestTooLargeError) -> bool:
        """Remember the maximum that an error states, and return whether it is below `number`."""
        if not error.most or number <= error.most:
            return False
        self._counts[kind] = error.most
        logger.info("%s: from now on, requests have at most %d", error, error.most)
        return True

    def send(
        self,
        kind: RequestKind,
        items: Sequence[Item],
        size: Callable[[Item], int],
        request: Callable[[Sequence[Item]], Result],
        name: Callable[[Item], str],
    ) -> list[Result]:
        """Make the request for all items, split if necessary, and return the results in order.

        Args:
            size: returns the estimated bytes of an item.
            name: returns how an error calls an item that is too large even alone.

        Raises `RequestTooLargeError` for such an item, and what `request` raises.
        """
        results: list[Result] = []
        pending = deque([items])
        while pending:
            batch = pending.popleft()
            parts = self._split(batch, size, self.most(kind))
            if len(parts) > 1:
                pending.extendleft(reversed(parts))
                continue
            try:
                results.append(request(batch))
            except RequestTooLargeError as exc:
                if not self.learn(kind, len(batch), exc):
                    self._learn_bytes(batch, size, name, exc)
                pending.appendleft(batch)
        return results

    def _split(self, batch: Sequence[Item], size: Callable[[Item], int], most: int) -> list[Sequence[Item]]:
        if len(batch) <= most and self._bytes == sys.maxsize:
            return [batch]
        return list(batches(batch, size, most, self._bytes))

    def _learn_bytes(
        self, batch: Sequence[Item], size: Callable[[Item], int], name: Callable[[Item], str], error: RequestTooLargeError
    ) -> None:
        """Halve the maximum bytes of a request. Raises the error if no smaller request is possible."""
        total = sum(map(size, batch))
        if error.most is not None or not batch:
            raise error
        if len(batch) == 1:
            raise RequestTooLargeError(
                f"{error}, even with {name(batch[0])} alone (about {total:,} bytes): make it smaller, or raise the limit (nginx:"
                " client_max_body_size)"
            ) from error
        self._bytes = min(self._bytes, total // 2)
        logger.info("%s: from now on, requests are smaller", error)


def pages_of(query: VectorQuery, most: int) -> list[VectorQuery]:
    """Return the query in pages of at most `most` results."""
    if query.limit <= most:
        return [query]
    starts = range(0, query.limit, most)
    return [replace(query, offset=query.offset + start, limit=min(most, query.limit - start)) for start in starts]


def joined(pages: Sequence[Sequence[ScoredPoint]]) -> list[ScoredPoint]:
    """Return the distinct results of all pages, best first; an approximate search may find a point on two pages."""
    if len(pages) == 1:
        return list(pages[0])
    found: dict[str, ScoredPoint] = {}
    for point in (point for page in pages for point in page):
        found.setdefault(point.id, point)
    return list(found.values())

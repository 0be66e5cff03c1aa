"""Requests in the size that a store accepts: learned from what it refuses, and kept to from then on."""

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
Answer = TypeVar("Answer")
Kind = tuple[str, str]
"""A collection, and what is done in it."""


class RequestLimits:
    """What a store, or a proxy in front of it, accepts in one request.

    Nothing is measured or split before the first refusal. Safe from several threads.
    """

    def __init__(self) -> None:
        self._bytes = sys.maxsize
        self._counts: dict[Kind, int] = {}

    def most(self, kind: Kind) -> int:
        """Return how many points, ids or results a request may hold or ask for, as far as that is known."""
        return self._counts.get(kind, sys.maxsize)

    def learn(self, kind: Kind, asked: int, error: RequestTooLargeError) -> bool:
        """Return whether the store said that it takes fewer than `asked`, which holds from now on."""
        if not error.most or asked <= error.most:
            return False
        self._counts[kind] = error.most
        logger.info("%s: from now on, requests hold at most %d", error, error.most)
        return True

    def send(
        self,
        kind: Kind,
        items: Sequence[Item],
        size: Callable[[Item], int],
        request: Callable[[Sequence[Item]], Answer],
        name: Callable[[Item], str],
    ) -> list[Answer]:
        """Make the request for all items, or for some at a time, and return the answers in order.

        Args:
            size: bytes of an item, estimated.
            name: what to call an item that is too large even alone.

        Raises `RequestTooLargeError` for such an item, and what `request` raises.
        """
        answers: list[Answer] = []
        waiting = deque([items])
        while waiting:
            batch = waiting.popleft()
            parts = self._split(batch, size, self.most(kind))
            if len(parts) > 1:
                waiting.extendleft(reversed(parts))
                continue
            try:
                answers.append(request(batch))
            except RequestTooLargeError as exc:
                if not self.learn(kind, len(batch), exc):
                    self._learn_bytes(batch, size, name, exc)
                waiting.appendleft(batch)
        return answers

    def _split(self, batch: Sequence[Item], size: Callable[[Item], int], most: int) -> list[Sequence[Item]]:
        if len(batch) <= most and self._bytes == sys.maxsize:
            return [batch]
        return list(batches(batch, size, most, self._bytes))

    def _learn_bytes(
        self, batch: Sequence[Item], size: Callable[[Item], int], name: Callable[[Item], str], error: RequestTooLargeError
    ) -> None:
        """Halve the bytes of a request, unless nothing smaller can be sent."""
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
    """Return the query in pages of at most so many results."""
    if query.limit <= most:
        return [query]
    starts = range(0, query.limit, most)
    return [replace(query, offset=query.offset + start, limit=min(most, query.limit - start)) for start in starts]


def joined(pages: Sequence[Sequence[ScoredPoint]]) -> list[ScoredPoint]:
    """Return the results of all pages, best first; an approximate search may find one of them twice."""
    found: dict[str, ScoredPoint] = {}
    for point in (point for page in pages for point in page):
        found.setdefault(point.id, point)
    return list(found.values())

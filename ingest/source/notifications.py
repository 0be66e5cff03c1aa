"""Changes that a PostgreSQL database tells: notifications, which a trigger of its tables sends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeGuard

from ingest.errors import SourceError
from ingest.source.database import open_engine, parse_url, shown_url, translated
from ingest.source.sql import SqlSource
from ingest.source.watching import NOTHING, Changed

logger = logging.getLogger(__name__)

CHANNEL = "ingest"
"""The channel of the notifications. What they say does not matter."""

_RETRY_SECONDS = 5.0
"""Seconds from an attempt to open a lost connection to the next. The first one comes at once."""

_CONNECT_SECONDS = 3
"""Most seconds for such an attempt: other streams of changes wait meanwhile."""


def sends_notifications(source: object) -> TypeGuard[SqlSource]:
    """Return whether the source is a PostgreSQL database that is read with psycopg."""
    return isinstance(source, SqlSource) and parse_url(source.location).drivername == "postgresql+psycopg"


class Notifications:
    """The notifications for one source, collected from its creation on, as changes of the path `source.name`. For one thread.

    After a lost connection, one may have been missed, so the source counts as changed once the connection is open again.

    Args:
        pause: waits this many seconds, or until it is to stop.
        clock: returns monotonic seconds.

    Raises `SourceError` if the database cannot be reached.
    """

    def __init__(
        self,
        source: SqlSource,
        *,
        pause: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._pause = pause
        self._clock = clock
        self._retry_at = 0.0
        self._shown = shown_url(parse_url(source.location))
        self._connection: Any = self._listen()

    def wait(self, seconds: float) -> Changed:
        """See `Changes`. Without a connection, waits no longer either, and tries to open one every few seconds."""
        if self._connection is None and (left := self._retry_at - self._clock()) > 0:
            self._pause(min(seconds, left))
            return NOTHING
        try:
            if self._connection is None:
                self._connection = self._listen()
                return frozenset([self._source.name])
            with translated(f"wait for notifications of {self._shown}"):
                found = list(self._connection.notifies(timeout=seconds, stop_after=1))
        except SourceError as exc:
            logger.warning("changes may be missed: %s", exc)
            if self._connection is None:
                self._retry_at = self._clock() + _RETRY_SECONDS
            else:
                self._connection.close()
                self._connection = None
            return NOTHING
        return frozenset([self._source.name]) if found else NOTHING

    def _listen(self) -> Any:
        """Return a connection of psycopg that receives the notifications."""
        with translated(f"wait for notifications of {self._shown}"):
            url = parse_url(self._source.location)
            limited = url.update_query_dict({"connect_timeout": str(_CONNECT_SECONDS), **url.query})
            raw = open_engine(limited).raw_connection()
            connection: Any = raw.driver_connection
            raw.detach()
            connection.autocommit = True  # within a transaction, none would arrive
            connection.execute(f"LISTEN {CHANNEL}")
        return connection

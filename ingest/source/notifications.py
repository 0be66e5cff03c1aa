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
"""Seconds after which a lost connection is opened again."""


def sends_notifications(source: object) -> TypeGuard[SqlSource]:
    """Return whether the source is a PostgreSQL database that is read with psycopg."""
    return isinstance(source, SqlSource) and parse_url(source.location).drivername == "postgresql+psycopg"


class Notifications:
    """The notifications for one source, collected from its creation on, as changes of the path `source.name`. For one thread.

    After a lost connection, one may have been missed, so the source counts as changed once the connection is open again.

    Args:
        pause: waits this many seconds, or until it is to stop.

    Raises `SourceError` if the database cannot be reached.
    """

    def __init__(self, source: SqlSource, *, pause: Callable[[float], object] = time.sleep) -> None:
        self._source = source
        self._pause = pause
        self._shown = shown_url(parse_url(source.location))
        self._connection: Any = self._listen()

    def wait(self, seconds: float) -> Changed:
        """See `Changes`."""
        try:
            if self._connection is None:
                self._connection = self._listen()
                return frozenset([self._source.name])
            with translated(f"wait for notifications of {self._shown}"):
                found = list(self._connection.notifies(timeout=seconds, stop_after=1))
        except SourceError as exc:
            logger.warning("changes may be missed: %s", exc)
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._pause(_RETRY_SECONDS)
            return NOTHING
        return frozenset([self._source.name]) if found else NOTHING

    def _listen(self) -> Any:
        """Return a connection of psycopg that receives the notifications."""
        with translated(f"wait for notifications of {self._shown}"):
            raw = open_engine(parse_url(self._source.location)).raw_connection()
            connection: Any = raw.driver_connection
            raw.detach()
            connection.autocommit = True  # within a transaction, none would arrive
            connection.execute(f"LISTEN {CHANNEL}")
        return connection

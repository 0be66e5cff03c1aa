"""Objects that belong to one process.

A fork copies an object without the threads that serve it, and with locks that nobody will ever release, file locks that are the
parent's, and connections that the parent goes on using. Such an object works in the process that made it and nowhere else; a
child opens its own.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import NoReturn

from ingest.errors import ForkError


class HomeProcess:
    """The process an object was made in.

    Args:
        what: the object, for the message: `this Searcher`.
    """

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._what = what
        self._pid = os.getpid()

    @property
    def is_current(self) -> bool:
        """False in a forked child."""
        return self._pid == os.getpid()

    def check(self) -> None:
        """Raise `ForkError` in a forked child, at once and without taking a lock."""
        if not self.is_current:
            raise ForkError(
                f"{self._what} was opened in process {self._pid} and cannot be used in its forked child {os.getpid()}:"
                " open it in the child, after the fork"
            )


class HomeLock:
    """A reentrant thread lock that raises `ForkError` in a forked child, where it could be held for ever.

    Args:
        home: of the object that it guards.
    """

    __slots__ = ("_home", "_lock")

    def __init__(self, home: HomeProcess) -> None:
        self._home = home
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._home.check()
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()


class NotCopied:
    """A base for objects that can be neither pickled nor copied. `what_instead` completes the message."""

    what_instead = "make another one"

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"a {kind} cannot be pickled or copied, because it holds locks and connections: {self.what_instead}")

"""Processes, and objects that belong to one of them.

A fork copies an object without its threads, with locks that no thread will ever release, with the parent's file locks, and with
connections that the parent still uses. Such an object works only in the process that created it; a child opens its own.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import NoReturn, Protocol

from ingest.errors import ForkError


def is_running(pid: int) -> bool:
    """Return whether a process of this host runs, also one of another user. Windows cannot be asked: True."""
    if os.name == "nt":
        return True  # there, os.kill would interrupt it
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class HomeProcess:
    """The process that created an object.

    Args:
        what: the object, for the message: `this Searcher`.
        instead: what to do, for the message.
    """

    __slots__ = ("_instead", "_pid", "_what")

    def __init__(self, what: str, *, instead: str = "open it in the child, after the fork") -> None:
        self._what = what
        self._instead = instead
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
                f" {self._instead}"
            )


class ForkUnsafe:
    """A library that works in the first process that uses it, but not in its forked children.

    Args:
        what, instead: as of `HomeProcess`.
    """

    def __init__(self, what: str, *, instead: str) -> None:
        self._what = what
        self._instead = instead
        self._home: HomeProcess | None = None

    @property
    def is_usable(self) -> bool:
        return self._home is None or self._home.is_current

    def use(self) -> None:
        """Note that this process uses it."""
        self.check()
        self._home = self._home or HomeProcess(self._what, instead=self._instead)

    def check(self) -> None:
        """Raise `ForkError` in a forked child of the process that used it."""
        if self._home is not None:
            self._home.check()


class HomeLock:
    """A reentrant thread lock that raises `ForkError` in a forked child, where it might never be released.

    Args:
        home: the process of the object that it guards.
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


class Inherited(Protocol):
    """An object with parts that a forked child must never finalize."""

    def held_by_parent(self) -> Iterable[object]:
        """Return the objects that write to files, release file locks, or end connections when they are finalized."""
        ...


_kept_for_parent: weakref.WeakSet[Inherited] = weakref.WeakSet()


def keep_for_parent(holder: Inherited) -> None:
    """Never finalize the parts of `holder` in a forked child: they belong to the parent, which still uses them."""
    _kept_for_parent.add(holder)


def _leak_parts_of_parent() -> None:
    for holder in _kept_for_parent:
        for part in holder.held_by_parent():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(part))


def _tokenize_with_one_thread() -> None:
    """Make tokenizers use one thread in a child, where they would wait forever for the parent's threads."""
    if "tokenizers" in sys.modules:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


def call_after_fork(function: Callable[[], object]) -> None:
    """Call a function in each forked child from now on. Does nothing on a system that cannot fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


call_after_fork(_leak_parts_of_parent)
call_after_fork(_tokenize_with_one_thread)


def user_name() -> str:
    """Return a name of the user of this process that no other user of the machine has: the number, or the name on Windows."""
    return str(os.getuid()) if hasattr(os, "getuid") else getpass.getuser()


def usable_cores() -> int:
    """Return the cores that this process may use, or all of them where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class NotCopied:
    """A base for objects that can be neither pickled nor copied. `what_instead` completes the message."""

    what_instead = "make another one"

    def __reduce__(self) -> NoReturn:
        kind = type(self).__name__
        raise TypeError(f"a {kind} cannot be pickled or copied, because it has locks and connections: {self.what_instead}")

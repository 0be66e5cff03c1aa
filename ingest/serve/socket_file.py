"""The socket file beside an embedded store, by which commands ask the process that holds the store.

Only the owner of the store's folder can connect to it, so requests that arrive there need no token.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.atomic_files import make_private_folder
from ingest.errors import StoreError

SOCKET = ".serve.sock"

_OPEN_FILES = Path("/proc/self/fd")


def is_embedded(location: str) -> bool:
    """Return whether a store is a folder of the embedded engine."""
    return "://" not in location


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """Yield a path of the socket file for this process alone: the system allows no more than 107 bytes. Raises `OSError`.

    Without /proc, as on macOS, it is the whole path, which may be too long.
    """
    if not _OPEN_FILES.exists():
        yield str(folder.absolute() / SOCKET)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"{_OPEN_FILES}/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


@contextmanager
def listening_socket(folder: Path) -> Iterator[list[socket.socket]]:
    """Listen at the socket file of a store during the context.

    Yields no socket if another process serves the store, and on Windows, where Python has no such sockets.
    Raises `StoreError` if the file cannot be made.
    """
    try:
        made = _listen(folder) if hasattr(socket, "AF_UNIX") else None
    except OSError as exc:
        raise StoreError(f"the socket file {folder / SOCKET} cannot be made: {exc.strerror or exc}") from exc
    if made is None:
        yield []
        return
    with made:
        try:
            yield [made]
        finally:
            (folder / SOCKET).unlink(missing_ok=True)


def _listen(folder: Path) -> socket.socket | None:
    make_private_folder(folder)
    with short_path(folder) as path, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        if trial.connect_ex(path) == 0:
            return None
        (folder / SOCKET).unlink(missing_ok=True)  # of a process that was killed
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.bind(path)
            (folder / SOCKET).chmod(0o600)
            made.listen()
        except OSError:
            made.close()
            raise
    return made

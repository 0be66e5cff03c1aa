"""Files and folders for their owner alone, whatever the umask: they contain the texts of documents, or their locations."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TextIO

NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Flag by which a file is not opened through a link. Windows has none; making a link there takes a privilege."""


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents (mode 0700). An existing one stays as it is. Raises `OSError`."""
    if not path.parent.exists():
        make_private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def replace_private(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file (mode 0600) atomically: a reader sees the old or the new content, never half. Raises `OSError`.

    Args:
        durable: return only once the content is on the disk, so that a power failure does not lose it.
    """
    make_private_folder(path.parent)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Return once the entries of a folder are on the disk; on Windows, which opens no folders, at once. Raises `OSError`."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_private(path: Path) -> TextIO:
    """Open a text file for appending, creating it if necessary (mode 0600). Raises `OSError`."""
    make_private_folder(path.parent)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")

"""Files and folders for their owner alone, whatever the umask says: they hold documents' texts, or where they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TextIO


def make_private_folder(path: Path) -> None:
    """Makes a folder, and those above it that are missing (0700). One that is there stays as it is. Raises `OSError`."""
    if not path.parent.exists():
        make_private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def replace_private(path: Path, content: bytes) -> None:
    """Writes a file (0600); whoever reads it sees the old or the new, never half. Raises `OSError`."""
    make_private_folder(path.parent)
    descriptor, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(fresh).replace(path)
    except OSError:
        Path(fresh).unlink(missing_ok=True)
        raise


def append_private(path: Path) -> TextIO:
    """A text file to append to, made if need be (0600). Raises `OSError`."""
    make_private_folder(path.parent)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8")

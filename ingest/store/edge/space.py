"""Free space on the disk, checked before the engine writes.

The engine writes to memory-mapped files. If the disk is full, the kernel kills the process in the middle of a write (SIGBUS),
which cannot be caught, so a write that may not fit is not started.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ingest.errors import StoreError
from ingest.store.edge.directory import translated

RESERVE = 64 * 2**20
"""Bytes of the disk that stay free: more than a request and a new segment of the engine's log (32 MiB) need."""

_BLOCK = 512
"""The unit of `st_blocks` in bytes, whatever the block size of the file system."""


def free_bytes(directory: Path) -> int:
    """Return the bytes available to this user on the disk of an existing directory. Raises `StoreError`."""
    with translated(directory):
        return shutil.disk_usage(directory).free


def check_room(directory: Path, reserve: int) -> None:
    """Raise `StoreError` if the disk of an existing directory has fewer than `reserve` bytes free."""
    if (free := free_bytes(directory)) < reserve:
        raise StoreError(
            f"the disk of {directory} is full: it has {mebibytes(free)} free and at least {mebibytes(reserve)} must remain;"
            " nothing more was written, make room and run it again"
        )


def used_bytes(directory: Path) -> int:
    """Return the bytes on the disk of all files below a directory, without holes. Raises `StoreError`."""
    with translated(directory):
        return sum(path.stat().st_blocks for path in directory.rglob("*") if path.is_file()) * _BLOCK


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"

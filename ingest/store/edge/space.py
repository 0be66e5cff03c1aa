"""Room on the disk, looked at before the engine writes.

The engine writes through files mapped into memory: where the disk is full, the kernel ends the whole process (SIGBUS) in the
middle of a write. Nobody can catch that, so a write for which there may be no room is not begun.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ingest.errors import StoreError
from ingest.store.edge.directory import translated

RESERVE = 64 * 2**20
"""Bytes of the disk that stay free: more than a request takes, with a new segment of the engine's log (32 MiB)."""

_BLOCK = 512
"""What `st_blocks` counts in, whatever the file system's own blocks are."""


def free_bytes(directory: Path) -> int:
    """Of the disk that an existing directory is on, for this user. Raises `StoreError`."""
    with translated(directory):
        return shutil.disk_usage(directory).free


def check_room(directory: Path, reserve: int) -> None:
    """Raises `StoreError` if the disk that an existing directory is on has less than `reserve` bytes free."""
    if (free := free_bytes(directory)) < reserve:
        raise StoreError(
            f"the disk of {directory} is full: it has {mebibytes(free)} free and at least {mebibytes(reserve)} must remain;"
            " nothing more was written, make room and run it again"
        )


def used_bytes(directory: Path) -> int:
    """What the files below a directory take of the disk, holes not counted. Raises `StoreError`."""
    with translated(directory):
        return sum(path.stat().st_blocks for path in directory.rglob("*") if path.is_file()) * _BLOCK


def mebibytes(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"

"""Keeps a long load into the embedded engine within bounded memory.

The engine writes through files mapped into memory, and every page it ever touched counts as resident until the shard is closed.
The kernel can take such pages back at any time; asked to, it does so at once, and the next access maps them again.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

_MADV_PAGEOUT = 21
"""Linux 5.4: reclaim now what memory pressure would. Unlike MADV_DONTNEED it loses nothing whatever lies there, so a mapping
that the engine replaces while we look costs a page fault, not data."""

_libc = ctypes.CDLL(None)


def release_pages(directory: Path) -> None:
    """Takes the pages of all files mapped from `directory` out of this process's resident memory. Linux; elsewhere nothing."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    prefix = f"{directory.resolve()}/"
    for line in maps.read_text().splitlines():
        area, mode, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0].startswith(prefix) and mode.endswith("s"):
            start, end = (int(border, 16) for border in area.split("-"))
            _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_PAGEOUT)  # a refusal costs memory only

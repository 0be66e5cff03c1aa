"""Bound the resident memory of a long load into the embedded engine.

The engine writes to memory-mapped files, and every page it has touched stays resident until the shard is closed. The kernel
reclaims such pages at once when asked to; the next access maps them again.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_MADV_PAGEOUT = 21
"""Since Linux 5.4: reclaim pages now. Unlike MADV_DONTNEED it never loses data: if the engine replaces a mapping meanwhile, the
cost is a page fault."""


def release_pages(directory: Path) -> None:
    """Release the resident pages of all files mapped from `directory`. Does nothing outside Linux."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return
    libc = ctypes.CDLL(None)
    prefix = os.fsencode(directory.resolve()) + b"/"
    for line in maps.read_bytes().splitlines():
        if prefix not in line:
            continue
        area, mode, _, _, _, path = line.split(maxsplit=5)
        if path.startswith(prefix) and mode.endswith(b"s"):
            start, end = (int(border, 16) for border in area.split(b"-"))
            libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_PAGEOUT)  # failure costs only memory

"""A folder of files that have not changed for years, and which of them this process opens, as the interpreter says."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OLD = 1_500_000_000
NAMES = ["a.md", "b.txt", "c.html", "d/e.eml"]

_opened: list[str] | None = None


def _note_open(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | os.PathLike):
        _opened.append(os.fspath(arguments[0]))


sys.addaudithook(_note_open)


@contextmanager
def opened_below(folder: Path) -> Iterator[Callable[[], list[str]]]:
    """Yield a function that returns which files of a folder this process has opened, ignore files aside."""
    global _opened  # noqa: PLW0603  a hook cannot be removed
    everything: list[str] = []
    _opened = everything
    try:
        yield lambda: sorted(
            Path(path).relative_to(folder).as_posix()
            for path in everything
            if Path(path).is_relative_to(folder) and Path(path).is_file()
        )
    finally:
        _opened = None


def write_tree(tree: Path) -> Path:
    """Write four documents, `NAMES`, of different formats."""
    (tree / "d").mkdir(parents=True)
    (tree / "a.md").write_text("# Tea\n\nGreen tea.")
    (tree / "b.txt").write_text("Black coffee.")
    (tree / "c.html").write_text("<html><body><p>Cold water.</p></body></html>")
    (tree / "d" / "e.eml").write_text("Subject: Milk\nFrom: a@example.org\n\nWarm milk.\n")
    for path in tree.rglob("*"):
        os.utime(path, (OLD, OLD))
    return tree

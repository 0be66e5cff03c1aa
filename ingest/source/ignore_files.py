"""Files that `.gitignore` and `.ingestignore` leave out, in the folder and in its subfolders, by the rules of Git."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

NAMES = (".gitignore", ".ingestignore")
"""The later one takes precedence."""


@dataclass(slots=True)
class IgnoreFiles:
    """The ignore files below a local folder, each read when a path below its folder is first asked for."""

    folder: Path
    _specs: dict[str, list[GitIgnoreSpec]] = field(default_factory=dict)

    def ignores(self, path: str) -> bool:
        """Return whether to leave out the file at a path from the folder. The deepest file that decides, decides."""
        parts = path.split("/")
        ignored = False
        for depth in range(len(parts)):
            below = "/".join(parts[depth:])
            for spec in self._of("/".join(parts[:depth])):
                decision = spec.check_file(below).include
                ignored = ignored if decision is None else decision
        return ignored

    def _of(self, relative: str) -> list[GitIgnoreSpec]:
        if relative not in self._specs:
            self._specs[relative] = [spec for name in NAMES if (spec := _read(self.folder / relative / name)) is not None]
        return self._specs[relative]


def _read(path: Path) -> GitIgnoreSpec | None:
    try:
        return GitIgnoreSpec.from_lines(path.read_text("utf-8", errors="surrogateescape").splitlines())
    except (OSError, ValueError):  # there is none, it cannot be read, or it has a pattern that is none
        return None

"""A folder of files of records that change, each change with another time, and none of them recent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from open_files import OLD
from sync_bench import text_of

from ingest.source import open_source
from ingest.source.files import FolderSource

Records = list[tuple[str, str]]
"""Id and the letters of the paragraphs of each record, in order."""


@dataclass(slots=True)
class RecordFolder:
    """Writes JSON Lines. Letters of which one is `!` make a line that is no record."""

    path: Path
    files: dict[str, Records] = field(default_factory=dict)
    written: int = 0

    def write(self, files: Mapping[str, Records]) -> None:
        """Write files, with a time of their own."""
        self.path.mkdir(exist_ok=True)
        for name, records in files.items():
            self.files[name] = list(records)
            self.written += 1
            lines = [line(id_, letters) for id_, letters in records]
            (self.path / name).write_text("".join(f"{each}\n" for each in lines))
            self.touch(name)

    def touch(self, name: str) -> None:
        """Give a file another time."""
        self.written += 1
        os.utime(self.path / name, (OLD + self.written + 0.5,) * 2)

    def remove(self, name: str) -> None:
        del self.files[name]
        (self.path / name).unlink()

    def rename(self, name: str, new: str) -> None:
        self.files[new] = self.files.pop(name)
        (self.path / name).rename(self.path / new)

    def source(self) -> FolderSource:
        source = open_source(self.path)
        assert isinstance(source, FolderSource)
        return source

    @property
    def name(self) -> str:
        return self.source().name


def line(id_: str, letters: str) -> str:
    return "{" if "!" in letters else json.dumps({"id": id_, "text": text_of(letters)})

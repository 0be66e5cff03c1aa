"""How much there is to read shows where there are files, and nowhere else."""

from __future__ import annotations

import gzip
from pathlib import Path

from ingest.source import open_source
from ingest.source.sizes import hold_bytes
from ingest.testing import ListSource


def test_files_are_added_up_until_there_is_enough(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(3):
        (tmp_path / "docs" / f"{number}.txt").write_text("x" * 100)
    (tmp_path / "docs" / "ignored.bin").write_bytes(b"x" * 1000)
    alone = tmp_path / "alone.jsonl"
    alone.write_text('{"id": "a", "text": "b"}\n')
    sources = [open_source(str(tmp_path / "docs")), open_source(str(alone))]
    assert hold_bytes(sources, 300 + alone.stat().st_size)
    assert not hold_bytes(sources, 301 + alone.stat().st_size)


def test_what_cannot_be_known_counts_for_nothing(tmp_path: Path) -> None:
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"id": "a", "text": "b"}\n'))
    gone = open_source(str(packed))
    packed.unlink()
    assert not hold_bytes([gone, open_source("-"), ListSource([])], 1)

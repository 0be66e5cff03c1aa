"""Files that a reader or a crash never finds half written."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from ingest.atomic_files import replace_private


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole_for_its_owner_alone(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "missing" / "file"
    for content in (b"old", b"new and longer", b""):
        replace_private(path, content, durable=durable)
        assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize("durable", [False, True])
def test_what_cannot_be_replaced_stays_and_leaves_nothing_behind(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_private(path, b"new", durable=durable)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]

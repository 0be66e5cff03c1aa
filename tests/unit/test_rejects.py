"""The rejects file: every reject is kept, and nothing else is overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingest.errors import ConfigurationError
from ingest.records import Rejected
from ingest.sync.rejects import RejectsFile


@pytest.mark.parametrize("content", ["something else", '{"id": 1, "text": "a source"}\n', "[]"])
def test_a_file_that_is_no_rejects_file_is_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious.jsonl"
    path.write_text(content)
    with pytest.raises(ConfigurationError, match="not a rejects file"):
        RejectsFile(path)
    assert path.read_text() == content


def test_a_rejects_file_holds_the_rejects_of_the_last_run(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rejects.jsonl"
    with RejectsFile(path) as rejects:
        rejects.add("s", Rejected("file:1", "bad\nline", "raw \ud800", "d"))
    assert (path.stat().st_mode & 0o777, len(path.read_text().splitlines())) == (0o600, 1)
    with RejectsFile(path) as rejects:
        rejects.add("s", Rejected("file:2", "worse"))
    assert [json.loads(line)["position"] for line in path.read_text().splitlines()] == ["file:2"]
    with RejectsFile(path):
        pass
    assert not path.exists()

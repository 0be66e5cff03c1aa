"""What a command says of files that it does not read, and that --json is UTF-8 JSON whatever the data are."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from command import ingest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.output import print_json

SPARSE_ONLY = {"INGEST_DENSE": "none"}


def test_files_that_are_not_read_are_counted_and_named_only_if_asked(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("A note.")
    (tmp_path / "notes" / "b.bin").write_text("x")
    (tmp_path / "notes" / "package.json").write_text('{"name": "app"}')
    for command in ("plan", "run"):
        quiet = ingest(command, "notes", "-c", "n", "--json", cwd=tmp_path, **SPARSE_ONLY)
        named = ingest(command, "notes", "-c", "n", "--json", "--verbose", cwd=tmp_path, **SPARSE_ONLY)
        assert quiet.json["skipped"] == named.json["skipped"] == {".bin": 1, ".json": 1}
        assert "not read" not in quiet.err
        assert named.err.count("not read: b.bin") == 1
        assert named.err.count("not read: package.json") == 1
    assert "not read" not in ingest("run", "notes", "-c", "n", cwd=tmp_path, **SPARSE_ONLY).err, "it is asked for each time"


texts = st.text(st.characters(codec=None, categories=["L", "N", "Cs", "Cc", "Zs", "So"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(value=st.dictionaries(texts, values, max_size=4))
def test_every_byte_under_json_is_utf8_json(value: dict[str, Any]) -> None:
    raw = io.BytesIO()
    with redirect_stdout(io.TextIOWrapper(raw, encoding="ascii", write_through=True)) as stream:
        print_json(value)
    printed = raw.getvalue()
    stream.detach()

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    read = json.loads(printed.decode("utf-8"), parse_constant=refuse)
    assert printed.count(b"\n") == 1
    assert set(read) == set(value)
    assert {name: each for name, each in read.items() if isinstance(each, str)} == {
        name: each for name, each in value.items() if isinstance(each, str)
    }

"""The line of the file on which a chunk begins, and the place of a hit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import open_source
from ingest.identity import doc_key
from ingest.records import Chunk, Document, Hit
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.source.convert.registry import document_from_file

HIT = Hit("id", 1.0, "text", "a.md", None, "s", 0, 0, 4, {}, {}, 1.0)

lines = st.lists(
    st.sampled_from(["", "# Heading", "## Other", "words in a line", "| a | b |", "|---|---|", "- item"]), max_size=40
)


def chunks_of(document: Document, overlap: float) -> list[Chunk]:
    (found,) = Chunker([], ChunkingOptions(40, overlap)).chunk([document], [doc_key("test", "d")])
    return found if isinstance(found, list) else []


@given(
    lines,
    st.sampled_from(["", "---\ntags: a\n---\n", "---\ntitle: A\n\n# comment\n---\n\n\n", "+++\nn = 1\n+++\n"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["markdown", "text", "code:python"]),
    st.sampled_from([0.0, 0.3]),
)
def test_a_chunk_begins_on_its_line_of_the_file(
    body: list[str], front: str, line_end: str, text_format: str, overlap: float
) -> None:
    whole = front + "\n".join([*body, "The end."])
    document = document_from_file(whole.replace("\n", line_end).encode(), text_format, doc_id="d", position="d")
    chunks = chunks_of(document, overlap)
    assert chunks
    for chunk in chunks:
        assert chunk.line is not None
        below = "\n".join(whole.split("\n")[chunk.line - 1 :])
        assert chunk.text in below[: len(below.split("\n")[0]) + len(chunk.text)]
        assert chunk.text.split("\n")[0] in below.split("\n")[0]


def test_records_and_converted_files_have_no_lines(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<h1>Leave</h1>\n\n<p>Thirty days.</p>")
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "text": "one\\ntwo"}\n')
    found = [each for each in open_source(tmp_path).read() if isinstance(each, Document)]
    assert [document.first_line for document in found] == [None, None]
    assert {chunk.line for document in found for chunk in chunks_of(document, 0.0)} == {None}


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ({}, "a.md"),
        ({"line": 7}, "a.md:7"),
        ({"page": 3}, "a.md, page 3"),
        ({"url": "https://x.test/a"}, "https://x.test/a"),
        ({"url": "https://x.test/a", "anchor": "b", "line": 7}, "https://x.test/a#b"),
        ({"url": "https://x.test/a.pdf", "page": 3}, "https://x.test/a.pdf, page 3"),
    ],
)
def test_a_hit_names_its_place(where: dict[str, object], place: str) -> None:
    assert replace(HIT, **where).place == place  # type: ignore[arg-type]

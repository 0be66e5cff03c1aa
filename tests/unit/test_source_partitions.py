"""Every record of a source is in exactly one of its parts, as the whole yields it, whatever their number."""

from __future__ import annotations

import io
import json
import sqlite3
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, Rejected, Source
from ingest.source import open_source
from ingest.source.lines import read_lines
from ingest.source.partitions import PartSize, line_starts, split
from ingest.source.streams import ByteStream

LINES = st.lists(st.text(alphabet="aé漢\U0001f600\r \ufeff", max_size=9), max_size=30)
TINY = PartSize(4, least_bytes=1, least_rows=1)


def records(source: Source) -> list[Document | Rejected]:
    """Without positions, which a part counts from its own start."""
    return [replace(record, position="") for record in source.read()]


def in_parts(source: Source, size: PartSize = TINY) -> list[list[Document | Rejected]]:
    parts = split(source, size).partitions
    assert {part.source.name for part in parts} == {source.name}
    return [records(part.source) for part in parts]


def joined(parts: list[list[Document | Rejected]]) -> list[Document | Rejected]:
    return [record for part in parts for record in part]


@given(lines=LINES, ended=st.booleans(), step=st.integers(1, 40))
def test_every_line_is_read_once_and_whole(lines: list[str], ended: bool, step: int) -> None:
    data = "\n".join(lines).encode() + (b"\n" if ended else b"")
    starts = line_starts(io.BytesIO(data), len(data), step)
    assert starts[0] == 0
    assert starts[-1] == len(data)
    assert all(data[start - 1 : start] == b"\n" for start in starts[1:-1])
    assert starts == sorted(starts)

    def read(start: int, end: int | None) -> list[bytes]:
        with ByteStream(io.BytesIO(data), "lines") as stream:
            stream.narrow(start, end)
            return [line.data for line in read_lines(stream, 1000)]

    assert [line for start, end in pairwise(starts) for line in read(start, end)] == read(0, None)


@settings(max_examples=25)
@given(texts=st.lists(st.text(alphabet="aé漢\U0001f600\r\u2028 ", max_size=9), min_size=1, max_size=12), parts=st.integers(1, 9))
def test_json_lines_in_parts_are_the_documents_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], parts: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "corpus.jsonl"
    records_of = [{"id": f"d{number}", "text": f"{text}."} for number, text in enumerate(texts)]
    path.write_bytes(b"\r\n".join(json.dumps(record, ensure_ascii=False).encode() for record in records_of))
    whole = open_source(str(path))
    assert joined(in_parts(whole, PartSize(parts, least_bytes=1))) == records(whole)


def test_a_part_says_where_it_begins_and_refuses_a_file_that_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps({"id": f"d{number}", "text": "Text."}) + "\n" for number in range(20)) + "not JSON\n")
    parts = split(open_source(str(path)), TINY).partitions
    assert len(parts) == 4
    assert parts[1].extent.startswith("bytes ")
    rejected = [record for part in parts for record in part.source.read() if isinstance(record, Rejected)]
    assert [f"{path} from byte " in each.position for each in rejected] == [True]
    path.write_text(path.read_text() * 2)
    with pytest.raises(SourceError, match="changed while it was read in parts"):
        list(parts[0].source.read())


def test_a_byte_order_mark_belongs_to_the_first_line_of_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(f'\ufeff{{"id": "d{number}", "text": "Text."}}\n' for number in range(8)))
    whole = open_source(str(path))
    assert joined(in_parts(whole)) == records(whole)
    assert len([record for record in records(whole) if isinstance(record, Document)]) == 1


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_parquet_is_cut_between_row_groups(tmp_path: Path, groups: int) -> None:
    path = tmp_path / "corpus.parquet"
    table = pa.table({"id": [f"d{number}" for number in range(50)], "text": [f"Text {number}." for number in range(50)]})
    pq.write_table(table, path, row_group_size=50 // groups)
    whole = open_source(str(path))
    parts = split(whole, TINY).partitions
    assert len(parts) == min(groups, 3)  # of five, two and two and the last: the parts are as large as a quarter at least
    assert [record for part in parts for record in part.source.read()] == list(whole.read())  # with their positions


def test_a_folder_is_cut_between_and_within_its_files(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.md").write_text(f"# Number {number}\n\nText.")
    lines = "".join(json.dumps({"id": f"d{number}", "text": "Text."}) + "\n" for number in range(60))
    (tmp_path / "large.jsonl").write_text(lines)
    (tmp_path / "twice.jsonl").write_text(lines)
    whole = open_source(str(tmp_path))
    found = split(whole, TINY)
    assert found.ids_may_meet
    assert len(found.partitions) > 2
    assert any("large.jsonl" in part.extent and "bytes" in part.extent for part in found.partitions)
    assert joined(in_parts(whole)) == records(whole)
    (tmp_path / "large.jsonl").unlink()
    (tmp_path / "twice.jsonl").unlink()
    assert not split(whole, TINY).ids_may_meet


@pytest.mark.parametrize("keys", [range(97), [f"k{number:03}" for number in range(97)], [1, 1, 1, 2, 2, 3, None, None]])
@pytest.mark.parametrize("query", [None, "SELECT * FROM docs WHERE text != ':no' -- all;", "SELECT * FROM docs;"])
def test_rows_are_cut_by_the_values_of_their_id(tmp_path: Path, keys: Any, query: str | None) -> None:
    database = sqlite3.connect(tmp_path / "docs.db")
    with database:
        database.execute("CREATE TABLE docs (id, text TEXT)")
        database.executemany("INSERT INTO docs VALUES (?, ?)", [(key, f"Text {n}: 100%.") for n, key in enumerate(keys)])
    database.close()
    whole = open_source(f"sqlite:///{tmp_path}/docs.db", query=query, table=None if query else "docs")
    parts = in_parts(whole)
    assert len(parts) > 1
    assert sorted(map(repr, joined(parts))) == sorted(map(repr, records(whole)))


def test_rows_without_an_id_and_compressed_lines_are_one_part(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "docs.db")
    with database:
        database.execute("CREATE TABLE docs (text TEXT)")
        database.executemany("INSERT INTO docs VALUES (?)", [("One.",), ("Two.",)])
    database.close()
    assert len(in_parts(open_source(f"sqlite:///{tmp_path}/docs.db", table="docs"))) == 1
    pa_stream = pa.CompressedOutputStream(str(tmp_path / "corpus.jsonl.gz"), "gzip")
    with pa_stream as stream:
        stream.write(b'{"id": "a", "text": "One."}\n{"id": "b", "text": "Two."}\n')
    assert [len(part) for part in in_parts(open_source(str(tmp_path / "corpus.jsonl.gz")))] == [2]


def test_standard_input_says_that_it_cannot_be_split() -> None:
    with pytest.raises(ConfigurationError, match="standard input cannot be split"):
        split(open_source("-"), TINY)

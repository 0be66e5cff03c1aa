"""CSV, TSV, Parquet and compression: streams of records."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import ConfigurationError, SourceError
from ingest.records import RAW_LIMIT, Document, Rejected
from ingest.source import FieldMap, open_source
from ingest.source.reading_report import report_of
from ingest.source.streams import ByteStream
from ingest.source.tables import Table

Item = Document | Rejected


def read(path: Path, **options: Any) -> list[Item]:
    return list(open_source(str(path), **options).read())


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def documents(items: list[Item]) -> list[Document]:
    assert not [item for item in items if isinstance(item, Rejected)]
    return [item for item in items if isinstance(item, Document)]


def compress(data: bytes, codec: Literal["gzip", "zstd"]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(data)
    return bytes(sink.getvalue().to_pybytes())


def test_csv_with_quotes_and_lines_within_fields(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\ufeffid,text,year\r\n1,"Said ""so"",\r\ntwice",1999\r\n\r\n2,5" disk,\r\n')
    assert documents(read(path)) == [
        Document("1", 'Said "so",\ntwice', None, {"year": 1999}, "text", f"{path}:2"),
        Document("2", '5" disk', None, {"year": None}, "text", f"{path}:5"),
    ]


def test_tsv_is_cut_at_tabs(tmp_path: Path) -> None:
    (found,) = documents(read(write(tmp_path / "a.tsv", "id\ttext\n1\tone, two\n")))
    assert (found.id, found.text) == ("1", "one, two")


cells = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda cell: bool(cell.strip())
)


@given(rows=st.lists(cells, min_size=1, max_size=10))
def test_csv_gives_back_what_was_written(rows: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("id", "text"), *enumerate(rows)])
    assert [(found.id, found.text) for found in documents(read(path))] == [
        (str(number), text.replace("\r\n", "\n").replace("\r", "\n")) for number, text in enumerate(rows)
    ]


def test_bad_rows_are_rejected_and_the_next_is_read(tmp_path: Path) -> None:
    rows = [
        b"id,text",
        b"1,fine",
        b"2,one,too,many",
        b"3",
        b"4,x\xffy",
        b"5,x\0y",
        b"6,",
        b'7,"x"y',
        b"8," + b"x" * 5_000,
        b'9,"' + b"x" * 900 + b"\n" + b"x" * 900 + b'"',
        b"10,fine",
        b'11,"a',
        b'b" c,12,"d"',
        b"13,fine",
    ]
    path = write(tmp_path / "a.csv", b"\n".join(rows))
    items = read(path, max_record_bytes=1_000)
    found = [(item.position.rpartition(":")[2], item.reason if isinstance(item, Rejected) else item.id) for item in items]
    assert found[:9] == [
        ("2", "1"),
        ("3", "the row has 4 fields and the header has 2"),
        ("4", "the row has 1 fields and the header has 2"),
        ("5", "the text is not valid Unicode: not UTF-8, or a lone surrogate"),
        ("6", "the text contains a NUL character"),
        ("7", "the text is empty"),
        ("8", "the row is not well-formed: ',' expected after '\"'"),
        ("9", "the record is larger than 1,000 bytes: raise max_record_bytes to accept it"),
        ("10", "the record is larger than 1,000 bytes: raise max_record_bytes to accept it"),
    ]
    assert found[9:] == [
        ("12", "10"),
        ("13", "the row (lines 13 to 14) is not well-formed: ',' expected after '\"'"),
        ("15", "13"),
    ]
    assert next(item.raw for item in items if isinstance(item, Rejected)) == "2,one,too,many\n"
    assert max(len(item.raw.encode()) for item in items if isinstance(item, Rejected)) <= RAW_LIMIT


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
@pytest.mark.parametrize("limit", [200, 2**20])
@pytest.mark.parametrize("end", ["", "\n"])
def test_a_quote_that_is_never_closed_breaks_the_source(
    tmp_path: Path, suffix: str, delimiter: str, limit: int, end: str
) -> None:
    rows = [f"{number}{delimiter}text {number}" for number in range(1_000)]
    rows[29] = f'29{delimiter}"unclosed'
    path = write(tmp_path / f"a.{suffix}", "\n".join([f"id{delimiter}text", *rows]) + end)
    found: list[Item] = []
    with pytest.raises(SourceError, match=rf"cannot read .*a\.{suffix}:31: a quote opens in this row and is never closed"):
        found.extend(open_source(str(path), max_record_bytes=limit).read())
    with pytest.raises(SourceError, match=r":1: a quote opens"):
        read(write(path, f'"id{delimiter}text\n1{delimiter}a\n'))


@given(
    rows=st.lists(
        st.lists(st.text(st.sampled_from('x",\n')), min_size=2, max_size=2).filter(lambda row: len("".join(row)) < 40),
        max_size=8,
    ),
    large=st.text(st.sampled_from('x",\n'), min_size=10, max_size=30),
)
def test_a_row_that_is_too_large_hides_no_other(
    rows: list[list[str]], large: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "text"])
        writer.writerow(["large", "\n".join([large] * 50)])
        writer.writerows([[f"{number}{id_}", text + "x"] for number, (id_, text) in enumerate(rows)])
    first, *rest = read(path, max_record_bytes=200)
    assert isinstance(first, Rejected)
    assert first.reason.startswith("the record is larger than 200 bytes")
    assert [(found.id, found.text) for found in documents(rest)] == [
        (f"{number}{id_}", text + "x") for number, (id_, text) in enumerate(rows)
    ]


def test_fields_larger_than_the_csv_modules_own_limit_are_read(tmp_path: Path) -> None:
    (found,) = documents(read(write(tmp_path / "a.csv", "id,text\n1," + "x" * 1_000_000)))
    assert len(found.text) == 1_000_000


@pytest.mark.parametrize(
    ("header", "fields", "message"),
    [
        ("id,words", FieldMap(), r"a\.csv has no column named text, content, body, page_content \(its columns: id, words\)"),
        ("id,text", FieldMap(text="words"), r"a\.csv has no column 'words'"),
        ("id,text", FieldMap(metadata=("year",)), r"a\.csv has no column 'year'"),
        ("id,text,text", FieldMap(), r"a\.csv has several columns named text"),
    ],
)
def test_columns_that_can_be_no_documents_break_the_source(tmp_path: Path, header: str, fields: FieldMap, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read(write(tmp_path / "a.csv", f"{header}\n1,2\n"), fields=fields)


def test_a_broken_header_is_a_broken_source(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="header"):
        read(write(tmp_path / "a.csv", '"id"x,text\n1,2\n'))


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "id": pa.array([1, 2]),
            "text": pa.array(["one", "two"]),
            "at": pa.array([1, 2], pa.timestamp("ns", "UTC")),
            "price": pa.array([Decimal("1.50"), None]),
            "tags": pa.array([["a"], []]),
            "more": pa.array([{"x": 1}, {"x": None}]),
        }
    )
    pq.write_table(table, path)
    first, second = documents(read(path))
    assert first == Document(
        "1",
        "one",
        None,
        {"at": "1970-01-01T00:00:00+00:00", "price": 1.5, "tags": ["a"], "more": {"x": 1}},
        "text",
        f"{path}: row 1",
    )
    assert second.metadata["price"] is None


def test_parquet_reads_only_the_columns_a_document_is_made_of(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["t"], "image": [b"\x89PNG"], "year": [1999]}), path)
    source = open_source(path)
    (whole,) = documents(list(source.read()))
    assert whole.metadata == {"year": 1999}
    assert report_of(source).notes == [f"{path}: the binary columns image are left out"]
    (found,) = documents(read(path, fields=FieldMap(metadata=("year",))))
    assert found.metadata == {"year": 1999}


def test_parquet_rows_that_are_not_utf8_are_rejected_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pa.array([b"fine", b"\xff\xfe", b"too"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"id": [1, 2, 3], "text": texts}), path)
    first, bad, last = read(path)
    assert isinstance(first, Document)
    assert isinstance(bad, Rejected)
    assert bad.position.endswith("row 2")
    assert isinstance(last, Document)


def test_parquet_in_many_row_groups_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": list(range(2_000)), "text": ["t"] * 2_000}), path, row_group_size=300)
    assert [found.id for found in documents(read(path))] == [str(number) for number in range(2_000)]


def test_a_truncated_parquet_is_a_broken_source(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"id": ["a"], "text": ["t"]}), path)
    write(path, path.read_bytes()[:-10])
    with pytest.raises(SourceError, match=r"cannot read .*a\.parquet as Parquet"):
        read(path)


def test_a_parquet_damaged_within_is_a_broken_source(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text number {number}" for number in range(5_000)]
    pq.write_table(pa.table({"id": list(range(5_000)), "text": texts}), path, row_group_size=1_000, compression="zstd")
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(200)
    write(path, bytes(data))
    with pytest.raises(SourceError, match=r"cannot read .*a\.parquet after row \d+"):
        read(path)


def test_a_disk_that_fails_within_a_parquet_file_breaks_the_source_also_in_a_folder(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == 4:  # the first page
                raise OSError("the disk is gone")
            return super().read(size)

    file = io.BytesIO()
    pq.write_table(pa.table({"id": ["a"], "text": ["t"]}), file)
    table = Table(FieldMap(), 2**20)
    with pytest.raises(SourceError, match=r"cannot read a\.parquet after row 0: the disk is gone"):
        list(table.read(ByteStream(Failing(file.getvalue()), "a.parquet"), "parquet"))


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_tables_are_decompressed(tmp_path: Path, suffix: str, codec: Literal["gzip", "zstd"]) -> None:
    parquet = io.BytesIO()
    pq.write_table(pa.table({"id": ["a"], "text": ["t"]}), parquet)
    for name, data in {
        "a.jsonl": b'{"id": "a", "text": "t"}\n',
        "a.csv": b"id,text\na,t\n",
        "a.tsv": b"id\ttext\na\tt\n",
        "a.parquet": parquet.getvalue(),
    }.items():
        (found,) = documents(read(write(tmp_path / f"{name}.{suffix}", compress(data, codec))))
        assert (found.id, found.text) == ("a", "t")


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_members_behind_one_another_are_one_stream(tmp_path: Path, suffix: str, codec: Literal["gzip", "zstd"]) -> None:
    lines = [compress(b'{"id": %d, "text": "t"}\n' % number, codec) for number in range(3)]
    found = documents(read(write(tmp_path / f"a.jsonl.{suffix}", b"".join(lines))))
    assert [each.id for each in found] == ["0", "1", "2"]


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd")])
@pytest.mark.parametrize("damage", ["cut", "cut at the end", "cut at the start", "garbage behind", "no compression"])
def test_a_compressed_stream_that_breaks_is_a_broken_source(
    tmp_path: Path, suffix: str, codec: Literal["gzip", "zstd"], damage: str
) -> None:
    lines = b"".join(b'{"id": %d, "text": "text %d"}\n' % (number, number * 7_919) for number in range(20_000))
    data = compress(lines, codec)
    broken = {
        "cut": data[: len(data) // 2],
        "cut at the end": data[:-2],
        "cut at the start": b"",
        "garbage behind": data + b"junk",
        "no compression": lines,
    }
    path = write(tmp_path / f"a.jsonl.{suffix}", broken[damage])
    with pytest.raises(SourceError, match=rf"cannot read .*a\.jsonl\.{suffix} after [\d,]+ bytes: "):
        read(path)


@pytest.mark.parametrize(("suffix", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_a_table_compressed_from_nothing_has_no_records(tmp_path: Path, suffix: str, codec: Literal["gzip", "zstd"]) -> None:
    assert read(write(tmp_path / f"a.jsonl.{suffix}", compress(b"", codec))) == []


def test_a_name_that_is_twice_in_a_record_is_rejected(tmp_path: Path) -> None:
    lines = [
        '{"id": "a", "text": "x", "text": "y"}',
        '{"id": "b", "text": "x", "m": [{"n": 1, "n": 2}]}',
        '{"id": "c", "text": "{\\"n\\":1}"}',
    ]
    first, second, third = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert isinstance(first, Rejected)
    assert isinstance(second, Rejected)
    assert [first.reason, second.reason] == [
        f"the line is not JSON: the name '{name}' is there twice in one object" for name in ("text", "n")
    ]
    assert isinstance(third, Document)
    assert third.text == '{"n":1}'


def test_the_format_can_be_forced(tmp_path: Path) -> None:
    path = write(tmp_path / "export.dat", b'{"id": "a", "text": "t"}\n')
    with pytest.raises(ConfigurationError, match="name it with --format"):
        open_source(str(path))
    assert documents(read(path, format="jsonl"))[0].id == "a"
    squeezed = write(tmp_path / "export.gz", compress(path.read_bytes(), "gzip"))
    assert documents(read(squeezed, format="jsonl"))[0].id == "a"
    assert documents(read(write(tmp_path / "squeezed", squeezed.read_bytes()), format="jsonl.gz"))[0].id == "a"

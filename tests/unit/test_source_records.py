"""One record into one document: JSON Lines, because every line is a record."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tracemalloc
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ingest.errors import SourceError
from ingest.identity import canonical_json
from ingest.records import RAW_LIMIT, Document, Rejected
from ingest.source import FieldMap, open_source
from ingest.source.encodings import find_encoding
from ingest.source.fields import document_from
from ingest.source.lines import read_lines
from ingest.source.streams import BLOCK, ByteStream
from ingest.source.tables import Table

LIMIT = 2_000


def read(data: bytes, fields: FieldMap | None = None, max_bytes: int = LIMIT) -> list[Document | Rejected]:
    return list(Table(fields or FieldMap(), max_bytes).read(ByteStream(io.BytesIO(data), "corpus.jsonl"), "jsonl"))


def read_one(record: Any, fields: FieldMap | None = None) -> Document | Rejected:
    (item,) = read(json.dumps(record).encode(), fields)
    return item


def document(record: Any, fields: FieldMap | None = None) -> Document:
    item = read_one(record, fields)
    assert isinstance(item, Document), item
    return item


def rejected(record: Any, fields: FieldMap | None = None) -> Rejected:
    item = read_one(record, fields)
    assert isinstance(item, Rejected), item
    return item


@pytest.mark.parametrize("id_field", ["id", "_id", "doc_id"])
@pytest.mark.parametrize("text_field", ["text", "content", "body", "page_content"])
def test_fields_are_guessed(id_field: str, text_field: str) -> None:
    found = document({id_field: "a", text_field: "Some text.", "title": " T ", "year": 1999})
    assert found == Document("a", "Some text.", "T", {"year": 1999}, "text", "corpus.jsonl:1")


def test_fields_can_be_mapped() -> None:
    fields = FieldMap(id="key", text="abstract", title="name")
    found = document({"key": 7, "abstract": "A.", "name": "N", "id": "mine", "text": "other"}, fields)
    assert found == Document("7", "A.", "N", {"id": "mine", "text": "other"}, "text", "corpus.jsonl:1")
    assert document({"key": 7, "abstract": "A."}, fields).title is None
    assert rejected({"id": 7, "abstract": "A."}, fields).reason == "there is no field 'key'"
    assert rejected({"key": 7, "text": "A."}, fields).reason == "there is no field 'abstract'"


def test_metadata_can_be_chosen() -> None:
    record = {"id": "a", "text": "t", "year": 1, "author": "x", "title": "T"}
    assert document(record, FieldMap(metadata=("year", "absent"))).metadata == {"year": 1}
    assert document(record, FieldMap(metadata=())).metadata == {}


def test_beir_metadata_is_merged_and_yields_to_the_records_own_fields() -> None:
    assert document({"_id": "1", "text": "t", "metadata": {"a": 1, "b": 2}, "b": 3}).metadata == {"a": 1, "b": 3}
    assert document({"_id": "1", "text": "t", "metadata": None}).metadata == {}
    assert document({"_id": "1", "text": "t", "metadata": "notes"}).metadata == {"metadata": "notes"}


def test_without_an_id_the_text_is_the_id() -> None:
    assert document({"text": "Some text."}).id == hashlib.sha256(b"Some text.").hexdigest()[:32]


def test_the_first_text_field_counts_even_if_it_is_empty() -> None:
    assert rejected({"id": "a", "text": "", "body": "more"}) == Rejected(
        "corpus.jsonl:1", "the text is empty", '{"id": "a", "text": "", "body": "more"}', "a"
    )


@pytest.mark.parametrize(
    ("record", "reason", "doc_id"),
    [
        ([1], "the record is a list, not an object", None),
        ("text", "the record is a string, not an object", None),
        (None, "the record is null, not an object", None),
        ({"id": "a"}, "there is no text: no field text, content, body, page_content", "a"),
        ({"id": "a", "text": " \n\u2003"}, "the text is empty", "a"),
        ({"id": "a", "text": None}, "the text (text) is null, not a string", "a"),
        ({"id": "a", "text": ["t"]}, "the text (text) is a list, not a string", "a"),
        ({"id": "a", "text": "x\0y"}, "the text contains a NUL character", "a"),
        ({"id": "a", "text": "x\ud800y"}, "the text is not valid Unicode: not UTF-8, or a lone surrogate", "a"),
        ({"id": "a", "text": "t", "title": 5}, "the title (title) is a number, not a string", "a"),
        ({"id": "a", "text": "t", "title": "\0"}, "the title contains a NUL character", "a"),
        ({"id": None, "text": "t"}, "the id (id) is null, not a string or an integer", None),
        ({"id": True, "text": "t"}, "the id (id) is a boolean, not a string or an integer", None),
        ({"id": 1.5, "text": "t"}, "the id (id) is a number, not a string or an integer", None),
        ({"id": "", "text": "t"}, "the id is empty", None),
        ({"id": "\0", "text": "t"}, "the id contains a NUL character", None),
        ({"id": "x" * 1_001, "text": "t"}, "the id has 1,001 characters: at most 1,000 are allowed", None),
        ({"id": "a", "text": "t", "x": 2**63}, "metadata.x is an integer beyond 64 bits: make it a string", "a"),
        ({"id": "a", "text": "t", "x": {"y": "\udfff"}}, "metadata.x is not valid Unicode: not UTF-8, or a lone surrogate", "a"),
        ({"id": "a", "text": "t", "x\0": 1}, "a metadata name contains a NUL character", "a"),
    ],
)
def test_what_cannot_be_used_is_rejected_with_its_reason(record: Any, reason: str, doc_id: str | None) -> None:
    found = rejected(record)
    assert (found.position, found.reason, found.doc_id) == ("corpus.jsonl:1", reason, doc_id)
    assert found.raw == json.dumps(record)


@pytest.mark.parametrize("doc_id", ["\0", "x\0", "\ud800", "x" * 1_001])
def test_a_record_whose_id_no_document_can_have_stands_for_no_stored_document(doc_id: str) -> None:
    found = rejected({"id": doc_id, "text": "t"})
    assert (found.impossible_id, found.unidentified) == (True, False)


@pytest.mark.parametrize("record", [{"id": ""}, {"id": None, "text": "t"}, {"id": 1.5, "text": "t"}, {"text": ""}, [1]])
def test_a_record_without_an_id_may_stand_for_any(record: Any) -> None:
    assert rejected(record).unidentified


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"id": "a", "text": "br', "the line is not JSON: Unterminated string"),
        (b'{"id": "a", "text": "x\xff"}', "the line is not UTF-8 (byte 23)"),
        (b"\xff\xfe{\x00}\x00", "the line is not UTF-8 (byte 1)"),
        (b"\x00\x01\x02", "the line is not JSON"),
        (b'{"id": "a", "text": "t", "x": 1' + b"0" * 1_900 + b"}", "metadata.x is an integer beyond 64 bits"),
        (b"[" * 1_900, "the JSON is nested too deeply" if sys.version_info < (3, 13) else "the line is not JSON"),
        (b'{"id": "a", "text": "t", "x": ' + b"[" * 65 + b"]" * 65 + b"}", "metadata.x is nested deeper than 64 levels"),
        (b'{"id": "a", "text": "' + b"x" * LIMIT + b'"}', "the record is larger than 2,000 bytes"),
    ],
)
def test_bad_lines_are_rejected_and_the_next_is_read(line: bytes, reason: str) -> None:
    good = b'{"id": "good", "text": "fine"}'
    first, bad, last = read(b"\n".join([good, line, good]))
    assert isinstance(first, Document)
    assert isinstance(bad, Rejected)
    assert bad.position == "corpus.jsonl:2"
    assert bad.reason.startswith(reason)
    assert isinstance(last, Document)
    assert last.position == "corpus.jsonl:3"


def test_integers_of_thousands_of_digits_are_rejected() -> None:
    (found,) = read(b'{"id": "a", "text": "t", "x": 1' + b"0" * 5_000 + b"}", max_bytes=10_000)
    assert isinstance(found, Rejected)


def test_blank_lines_line_ends_and_byte_order_mark_are_no_records() -> None:
    items = read(b'\xef\xbb\xbf{"id": "a", "text": "t"}\r\n\r\n   \n{"id": "b", "text": "t"}')
    assert [(item.id, item.position) for item in items if isinstance(item, Document)] == [
        ("a", "corpus.jsonl:1"),
        ("b", "corpus.jsonl:4"),
    ]
    assert len(items) == 2


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [b'{"id": "a", "text": "t"}', b"{}", b"[1]", b"null", b"\r", b" ", b"x" * (LIMIT + 1), b"\xef\xbb\xbf"]
            ),
            st.dictionaries(
                st.sampled_from(["id", "text", "title", "metadata", "x"]),
                st.recursive(
                    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
                ),
            ).map(lambda record: json.dumps(record).encode()),
        ),
        max_size=12,
    )
)
def test_every_line_that_is_not_blank_yields_one_item_and_nothing_raises(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    encoding = find_encoding(data)
    assume(encoding is None or not encoding.name.startswith("utf-16"))  # a line end and a NUL are a line end in UTF-16
    items = read(data)
    physical = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert len(items) == sum(1 for line in physical if line and not line.isspace())
    for item in items:
        if isinstance(item, Rejected):
            assert len(item.raw.encode()) <= RAW_LIMIT
            canonical_json([item.position, item.reason, item.raw, item.doc_id])
        else:
            assert item.text.strip()
            canonical_json([item.id, item.text, item.title, item.metadata])


class _Trickle(io.RawIOBase):
    """Gives a few bytes at a time, however many are asked for."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(self._size, size))


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line)), st.integers(1, 7), st.integers(4, 12))
def test_lines_are_the_same_however_the_stream_is_cut(lines: list[bytes], size: int, limit: int) -> None:
    data = b"\n".join([b"\xef\xbb\xbf-", *lines])
    stream = ByteStream(_Trickle(data, size), "trickle")  # type: ignore[arg-type]
    found = [(line.number, line.data, line.too_long) for line in read_lines(stream, limit)]
    expected = [(number, line, len(line) > limit) for number, line in enumerate([b"-", *lines], 1)]
    assert found == (expected if expected[-1][1] else expected[:-1])


def test_a_line_of_any_length_is_rejected_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b'{"id": "long", "text": "')
        file.seek(100 * 2**20, io.SEEK_CUR)
        file.write(b'"}\n{"id": "good", "text": "fine"}\n')
    source = open_source(str(path), max_record_bytes=2 * BLOCK)
    tracemalloc.start()
    long, good = source.read()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(long, Rejected)
    assert long.raw.startswith('{"id": "long"')
    assert len(long.raw.encode()) == RAW_LIMIT
    assert isinstance(good, Document)
    assert peak < 12 * BLOCK


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), "2020-01-02T03:04:05+00:00"),
        (date(2020, 1, 2), "2020-01-02"),
        (timedelta(minutes=1), 60.0),
        (Decimal("1.5"), 1.5),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        ((1, "a"), [1, "a"]),
        (float("nan"), None),
        (Decimal("NaN"), None),
        (Decimal("sNaN"), None),
        (Decimal("1e999"), "1E+999"),
        (Decimal("0.1"), 0.1),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
    ],
)
def test_values_that_json_does_not_know_become_ones_it_does(value: Any, plain: Any) -> None:
    found = document_from(
        {"id": UUID(int=2), "text": "t", "x": value}, fields=FieldMap(), position="", max_bytes=LIMIT, raw=lambda: ""
    )
    assert isinstance(found, Document)
    assert found.id == str(UUID(int=2))
    assert found.metadata == {"x": plain}
    canonical_json(found.metadata)


@pytest.mark.parametrize("value", [b"x", object(), float("inf"), [float("-inf")]])
def test_values_that_json_cannot_hold_are_rejected(value: Any) -> None:
    found = document_from({"id": 1, "text": "t", "x": value}, fields=FieldMap(), position="", max_bytes=LIMIT, raw=lambda: "")
    assert isinstance(found, Rejected)
    assert found.doc_id == "1"


def test_an_integral_decimal_can_be_an_id() -> None:
    found = document_from({"id": Decimal(12), "text": "t"}, fields=FieldMap(), position="", max_bytes=LIMIT, raw=lambda: "")
    assert isinstance(found, Document)
    assert found.id == "12"


def test_a_stream_that_breaks_is_the_sources_failure() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("the cable is out")

    with pytest.raises(SourceError, match=r"cannot read x\.jsonl after 0 bytes: the cable is out"):
        list(Table(FieldMap(), LIMIT).read(ByteStream(Broken(), "x.jsonl"), "jsonl"))

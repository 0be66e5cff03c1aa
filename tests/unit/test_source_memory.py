"""Records that a program holds, as a source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, DocumentPart, Rejected
from ingest.source.memory import records_source


def test_mappings_become_documents_and_other_fields_metadata() -> None:
    source = records_source([{"id": 7, "text": "seven", "title": " Seven ", "year": 2020, "on": date(2020, 2, 3)}], name="s")
    assert list(source.read()) == [
        Document("7", "seven", "Seven", {"year": 2020, "on": "2020-02-03"}, position="s record 1"),
    ]
    assert len(list(source.read())) == 1, "a list is read as often as asked for"


def test_documents_keep_their_format_position_and_metadata() -> None:
    document = Document("a", "# A\n\ntext", None, {"tags": ["x"]}, format="markdown", position="a.md")
    assert list(records_source([document], name="s").read()) == [document]


def test_documents_keep_their_url_and_what_is_known_of_their_places() -> None:
    document = Document("a", "one\ntwo", url="https://example.org/a", pages=((1, 0), (2, 4)), anchors=(("two", 4),), first_line=3)
    [kept] = records_source([document], name="notes").read()
    assert kept == replace(document, position="notes record 1")
    [other_ends] = records_source([replace(document, text="one\r\ntwo")], name="notes").read()
    assert other_ends == replace(kept, pages=(), anchors=())  # their offsets are those of the other text


def test_documents_keep_their_parts() -> None:
    parts = (DocumentPart(0, 3, {"on": date(2020, 2, 3)}), DocumentPart(5, 8, {}))
    [kept] = records_source([Document("a", "one\r\ntwo", parts=parts)], name="notes").read()
    assert isinstance(kept, Document)
    assert [(kept.text[part.start : part.end], part.metadata) for part in kept.parts] == [
        ("one", {"on": "2020-02-03"}),
        ("two", {}),
    ]


def test_a_title_that_pandas_misses_is_none() -> None:
    [document] = records_source([{"id": "a", "text": "text", "title": float("nan")}], name="s").read()
    assert isinstance(document, Document)
    assert document.title is None


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Document("a", "text", metadata=None), "the metadata is a NoneType, not a mapping"),  # type: ignore[arg-type]
        (Document("a", "text", parts=(DocumentPart(0, 4, {"b": b"\0"}),)), "binary"),
        (Document("a", ""), "the text is empty"),
        (Document("", "text"), "the id is empty"),
        (Document("a", "nul \0"), "NUL"),
        ({"id": "a"}, "there is no text"),
        ({"id": "a", "text": 3}, "not a string"),
        ("a text alone", "not an object"),
        ({"id": "a", "text": "t", "vector": b"\0"}, "binary"),
    ],
)
def test_records_that_cannot_be_documents_are_rejected_with_the_reason(record: Any, reason: str) -> None:
    good = {"id": "good", "text": "good"}
    rejected, document = records_source([record, good], name="s").read()
    assert isinstance(rejected, Rejected)
    assert reason in rejected.reason
    assert isinstance(document, Document)


def test_an_iterator_is_read_once_because_an_empty_second_read_would_delete_everything() -> None:
    def records() -> Iterator[dict[str, str]]:
        yield {"id": "a", "text": "text"}

    source = records_source(records(), name="s")
    assert len(list(source.read())) == 1
    with pytest.raises(SourceError, match="read already: pass a list"):
        list(source.read())


@pytest.mark.parametrize("records", ["text", b"bytes", {"id": "a", "text": "t"}, Document("a", "t"), 3])
def test_a_single_record_is_refused(records: Any) -> None:
    with pytest.raises(ConfigurationError, match="pass an iterable"):
        records_source(records, name="s")


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_source_without_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="the source name"):
        records_source([], name=name)

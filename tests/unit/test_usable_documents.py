"""Documents of a source that somebody else wrote: one that cannot be used is rejected alone, and the others are stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import ingest
from ingest.source.memory import records_source
from ingest.testing import ListSource

CYCLE: dict[str, Any] = {}
CYCLE["again"] = CYCLE
DEEP: dict[str, Any] = {}
for _ in range(2000):
    DEEP = {"deeper": DEEP}

FINE = ingest.Document("fine", "A text.")
BROKEN: list[tuple[dict[str, Any], str]] = [
    ({"url": 5}, "the url is of type int"),
    ({"url": "http://\udc80"}, "the url is not valid Unicode"),
    ({"metadata": {"x": math.inf}}, "metadata.x is inf"),
    ({"metadata": {"x": 2**70}}, "metadata.x is an integer beyond 64 bits"),
    ({"metadata": {"x": {5: 1}}}, "a metadata name is a number"),
    ({"metadata": {"x": object()}}, "metadata.x is of type object"),
    ({"metadata": CYCLE}, "nested deeper than"),
    ({"metadata": DEEP}, "nested deeper than"),
]
ONLY_OF_SOURCES: list[tuple[dict[str, Any], str]] = [
    ({"text": 5}, "the text is of type int"),
    ({"text": "a \ud800"}, "the text is not valid Unicode"),
    ({"title": 5}, "the title is of type int"),
    ({"format": None}, "the format is of type NoneType"),
    ({"metadata": None}, "the metadata is of type NoneType"),
    ({"id": 5}, "the id is of type int"),
    ({"id": "a\0"}, "the id contains a NUL"),
]


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[ingest.Collection]:
    with ingest.Collection("notes", store=tmp_path / "store", models=["bm25"], state=tmp_path) as opened:
        yield opened


@pytest.mark.parametrize("own", [True, False])
def test_a_document_that_cannot_be_used_is_rejected_alone(notes: ingest.Collection, tmp_path: Path, *, own: bool) -> None:
    broken = [*BROKEN, *(ONLY_OF_SOURCES if own else [])]
    documents = [replace(FINE, **{"id": str(number), **fields}) for number, (fields, _) in enumerate(broken)]
    receipt = notes.sync(ListSource([*documents, FINE]) if own else records_source([*documents, FINE], name="list"))
    assert (receipt.written, receipt.rejected, receipt.balanced) == (1, len(broken), True)
    rejects = [json.loads(line) for line in (tmp_path / "rejects" / "notes.jsonl").read_text().splitlines()]
    for reject, (_, reason) in zip(rejects, broken, strict=True):
        assert reason in reject["reason"]


def test_metadata_is_stored_as_that_of_a_record(notes: ingest.Collection) -> None:
    metadata = {"none": math.nan, "day": date(2026, 1, 2), "pair": (1, 2)}
    parts = (ingest.DocumentPart(0, 7, metadata),)
    notes.sync(ListSource([replace(FINE, metadata=metadata, parts=parts)]))
    [point] = notes.store.scroll("notes")
    assert point.payload["metadata"] == {"none": None, "day": "2026-01-02", "pair": [1, 2]}


def test_a_value_that_is_no_record_ends_the_run_and_names_its_source(notes: ingest.Collection) -> None:
    with pytest.raises(ingest.SourceError, match="the source list yielded a dict, not a Document"):
        notes.sync(ListSource([{"id": "a", "text": "b"}]))  # type: ignore[list-item]  # on purpose


@pytest.mark.parametrize("name", ["stop", "on_progress"])
def test_what_is_no_function_is_refused_at_once(notes: ingest.Collection, name: str) -> None:
    with pytest.raises(ingest.ConfigurationError, match=f"{name}: 5 is not a function"):
        notes.sync(records_source([FINE], name="list"), **{name: 5})  # type: ignore[arg-type]  # on purpose

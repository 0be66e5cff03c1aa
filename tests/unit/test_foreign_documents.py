"""The documents that the points of another tool's collection become, whatever numbers are in its payloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from ingest.adopt.documents import ForeignDocuments, PayloadFields
from ingest.records import Document, Rejected, StoredPoint
from ingest.store.contract import Store


class Points:
    """Points as a server returns those that a client of another language wrote."""

    def __init__(self, payloads: Sequence[dict[str, Any]]) -> None:
        self._points = {str(number): StoredPoint(str(number), payload) for number, payload in enumerate(payloads)}

    def scroll(self, collection: str, **options: Any) -> Iterator[StoredPoint]:
        yield from self._points.values()

    def retrieve(self, collection: str, ids: Sequence[str], **options: Any) -> Iterator[StoredPoint]:
        yield from (self._points[id_] for id_ in ids)


def test_a_position_beyond_64_bits_is_one_all_the_same() -> None:
    points = Points([{"text": "Two.", "doc": "a", "at": {"n": 2**63 + 5}}, {"text": "One.", "doc": "a", "at": {"n": -(2**70)}}])
    source = ForeignDocuments(cast(Store, points), "theirs", PayloadFields("text", "doc", "at.n", "at"))
    found = list(source.read())
    assert [type(each) for each in found] == [Rejected]  # metadata of that size fits no store
    points = Points([{"text": "One.", "doc": "a", "at": 2**62 + 1}, {"text": "Two.", "doc": "a", "at": 2**62}])
    (document,) = ForeignDocuments(cast(Store, points), "theirs", PayloadFields("text", "doc", "at")).read()
    assert isinstance(document, Document)
    assert document.text == "Two.\n\nOne."

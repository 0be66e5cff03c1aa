"""The documents that the points of another tool's collection become, whatever numbers are in its payloads."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

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


NODE = {"id_": "n", "text": "One.", "start": 0}


@pytest.mark.parametrize(
    ("payload", "text", "metadata", "expected"),
    [
        ({"node": json.dumps(NODE), "file": "a"}, "node.text", None, {"file": "a"}),
        ({"node": json.dumps(NODE), "file": "a"}, "node.text", "node", {"id_": "n", "start": 0, "file": "a"}),
        ({"node": NODE, "file": "a"}, "node.text", None, {"node": {"id_": "n", "start": 0}, "file": "a"}),
        ({"node": NODE, "file": "a"}, "node.text", "node", {"id_": "n", "start": 0, "file": "a"}),
        ({"node.text": "One.", "node": NODE}, "node.text", None, {"node": NODE}),
        ({"text": "One.", "node": NODE}, "text", "node", NODE),
    ],
)
def test_the_text_is_no_metadata_wherever_it_is(payload: Any, text: str, metadata: str | None, expected: Any) -> None:
    source = ForeignDocuments(cast(Store, Points([payload])), "theirs", PayloadFields(text, metadata=metadata))
    (document,) = source.read()
    assert isinstance(document, Document)
    assert (document.text, document.metadata) == ("One.", expected)

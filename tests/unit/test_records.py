"""Identities: they are what keeps one document's points from another's."""

from __future__ import annotations

import json
from uuid import NAMESPACE_URL, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.identity import canonical_encoder, canonical_json, chunk_id, digest, doc_key
from ingest.records import Chunk


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_doc_key_is_a_version_5_uuid_of_a_json_array(source: str, doc_id: str) -> None:
    name = json.dumps([source, doc_id], separators=(",", ":"), ensure_ascii=False)
    assert doc_key(source, doc_id) == str(uuid5(NAMESPACE_URL, name))


def test_ids_are_the_same_for_ever() -> None:
    key = doc_key("handbook", "intro")
    assert key == "c34388a0-3845-5ee5-8c66-50b2ae40563f"
    assert chunk_id(key, "Hello.", 0) == "e5a9899d-56b6-5efe-894c-f63d07b3ac98"


def test_chunk_id_depends_on_document_text_and_count() -> None:
    key = doc_key("s", "d")
    ids = {chunk_id(key, "text", 0), chunk_id(key, "text", 1), chunk_id(key, "text ", 0), chunk_id(doc_key("s", "e"), "text", 0)}
    assert len(ids) == 4


texts = st.text(st.characters(exclude_categories=["Cs"]))


@given(st.lists(st.tuples(texts, texts), unique=True, min_size=2, max_size=10))
def test_no_two_source_and_id_pairs_meet(pairs: list[tuple[str, str]]) -> None:
    assert len({doc_key(*pair) for pair in pairs}) == len(pairs)


def test_digest_does_not_depend_on_key_order() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert len(digest({})) == 32


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(_json)
def test_canonical_json_is_the_same_where_python_has_no_encoder_in_c(value: object) -> None:
    without = canonical_encoder(None)
    assert without(value) == canonical_encoder(json.encoder.c_make_encoder)(value)  # type: ignore[attr-defined]  # private


def test_canonical_json_without_the_encoder_in_c_refuses_the_same() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_encoder(None)([float("nan")])


def test_canonical_json_refuses_what_json_does_not_have() -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


def test_the_title_stands_before_the_text_that_is_encoded() -> None:
    assert Chunk("1", 0, 0, 4, "text", "Title").encoded_text == "Title\ntext"
    assert Chunk("1", 0, 0, 4, "text").encoded_text == "text"

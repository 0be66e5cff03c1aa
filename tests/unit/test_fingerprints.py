"""Fingerprints change with everything that shapes what is stored, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ingest.records import Chunk, Document, DocumentPart
from ingest.store.schema import build_payload
from ingest.sync.fingerprints import digest_document, digest_stored_payload, fingerprint_chunks

DOCUMENT = Document("d", "Some text.", title="Title", metadata={"year": 1999, "tags": ["a"]}, position="file:1")
CHUNK = Chunk("00000000-0000-5000-8000-000000000000", 0, 0, 10, "Some text.", "Title")
MODELS = {"hash": "1"}


@pytest.mark.parametrize(
    "other",
    [
        digest_document(replace(DOCUMENT, text="Some text!"), "chunker"),
        digest_document(replace(DOCUMENT, title=None), "chunker"),
        digest_document(replace(DOCUMENT, metadata={"year": 2000, "tags": ["a"]}), "chunker"),
        digest_document(replace(DOCUMENT, first_line=3), "chunker"),
        digest_document(replace(DOCUMENT, parts=(DocumentPart(0, 10, {"page": 1}),)), "chunker"),
        digest_document(DOCUMENT, "another chunker"),
    ],
)
def test_a_document_changes_with_its_text_title_metadata_and_chunker(other: object) -> None:
    assert digest_document(DOCUMENT, "chunker") != other


def test_a_document_is_the_same_wherever_it_was_found_and_however_its_metadata_is_ordered() -> None:
    moved = replace(DOCUMENT, position="elsewhere:7", metadata={"tags": ["a"], "year": 1999})
    assert digest_document(moved, "chunker") == digest_document(DOCUMENT, "chunker")


@pytest.mark.parametrize(
    ("chunk", "changed"),
    [
        (replace(CHUNK, context="Another"), {"text_fp"}),
        (replace(CHUNK, metadata={"year": 2000}), {"payload_fp"}),
        (replace(CHUNK, text="Some more."), {"text_fp", "payload_fp"}),
        (replace(CHUNK, index=1), {"payload_fp"}),
        (replace(CHUNK, start=1), {"payload_fp"}),
        (replace(CHUNK, end=11), {"payload_fp"}),
        (replace(CHUNK, line=3), {"payload_fp"}),
    ],
)
def test_a_chunk_changes_in_what_its_encoders_read_and_in_what_is_shown(chunk: Chunk, changed: set[str]) -> None:
    digests = digest_document(DOCUMENT, "chunker")
    (one,), (other,) = (fingerprint_chunks([each], "key", digests, MODELS) for each in (CHUNK, chunk))
    names = ("doc_fp", "text_fp", "payload_fp", "vectors")
    assert {name for name in names if getattr(one, name) != getattr(other, name)} == changed


@pytest.mark.parametrize("metadata", [None, {"page": 7}])
def test_the_fingerprint_of_a_payload_is_that_of_the_stored_one(metadata: dict[str, int] | None) -> None:
    chunk = replace(CHUNK, metadata=metadata)
    payload = build_payload(DOCUMENT, chunk, "source")
    [fingerprint] = fingerprint_chunks([chunk], "key", digest_document(DOCUMENT, "chunker"), MODELS)
    assert payload["metadata"] == (metadata or DOCUMENT.metadata)
    assert digest_stored_payload(payload) == fingerprint.payload_fp

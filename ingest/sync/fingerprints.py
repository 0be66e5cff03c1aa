"""The fingerprints of stored points: digests of their inputs. Pure. Each text is hashed once and never serialized as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ingest.context import title_line
from ingest.identity import digest, digest_bytes
from ingest.records import Chunk, Document, Fingerprint, Metadata, Payload
from ingest.store.contract import SCHEMA_VERSION


class DocumentDigest(NamedTuple):
    """The digests of a document.

    Attributes:
        visible: digest of the title, the URL and the metadata.
        whole: digest of the title, the URL, the metadata, the text, its pages, anchors, first line and parts, and the chunking
            options.
        title: the document's title on one line.
        shown: the title and the URL.
    """

    visible: str
    whole: str
    title: str = ""
    shown: tuple[str | None, str | None] = (None, None)


def digest_document(document: Document, chunker: str) -> DocumentDigest:
    """Return the digests of a document. `chunker` is the fingerprint of the chunking options."""
    visible = _visible(document.title, document.url, document.metadata)
    found: list[Any] = [document.pages, document.anchors, document.first_line]
    if document.parts:
        found.append([[part.start, part.end, dict(part.metadata)] for part in document.parts])
    places = digest(found) if any(found) else ""
    whole = digest_bytes(f"{SCHEMA_VERSION}\0{chunker}\0{visible}\0{places}\0{document.text}".encode())
    return DocumentDigest(visible, whole, title_line(document.title), (document.title, document.url))


def fingerprint_chunks(
    chunks: Sequence[Chunk], doc_key: str, document: DocumentDigest, models: Mapping[str, str], version: str | None = None
) -> tuple[Fingerprint, ...]:
    """Return the fingerprint of each chunk of a document.

    Args:
        models: vector name → fingerprint of its model.
        version: the version to store with the document, see `ingest.sync.versions`; None if unknown.
    """
    fingerprints = [
        Fingerprint(
            id=chunk.id,
            doc_key=doc_key,
            doc_fp=document.whole,
            doc_chunks=len(chunks),
            text_fp=digest_bytes(chunk.encoded_text.encode()),
            payload_fp=_payload(
                document.visible if chunk.metadata is None else _visible(*document.shown, chunk.metadata),
                (chunk.index, chunk.start, chunk.end),
                _places(list(chunk.section), chunk.table_header, chunk.page, chunk.anchor, chunk.line),
                chunk.text,
            ),
            vectors=models,
            context=None if chunk.context == document.title else chunk.context,
            version=version,
        )
        for chunk in chunks
    ]
    return tuple(fingerprints)


def digest_stored_payload(payload: Payload) -> str | None:
    """Return the `payload_fp` that matches a stored payload, or None if the payload is malformed."""
    metadata, text = payload.get("metadata"), payload.get("text")
    if not isinstance(metadata, dict) or not isinstance(text, str):
        return None
    offsets = payload.get("chunk"), payload.get("start"), payload.get("end")
    places = _places(payload.get("section") or [], *(payload.get(name) for name in ("table_header", "page", "anchor", "line")))
    return _payload(_visible(payload.get("title"), payload.get("url"), metadata), offsets, places, text)


def _visible(title: object, url: object, metadata: Metadata) -> str:
    return digest([title, url, dict(metadata)])


def _places(section: object, table_header: object, page: object, anchor: object, line: object) -> str:
    """Return a digest of the position of a chunk among headings, tables, pages, anchors and lines, or "" without any."""
    places = [section, table_header, page, anchor, line]
    return digest(places) if any(places) else ""


def _payload(visible: str, offsets: tuple[object, object, object], places: str, text: str) -> str:
    index, start, end = offsets
    return digest_bytes(f"{visible}\0{index}\0{start}\0{end}\0{places}\0{text}".encode())

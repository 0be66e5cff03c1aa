"""Collection names, payloads and manifests, the same for every store. Pure.

Payload of a point: `text`, `title`?, `section`?, `table_header`?, `page`?, `url`?, `anchor`?, `line`?, `metadata{…}`, `source`,
of a file `folders`, `ext`, `size`? and `modified`? (no part of `payload_fp`), `doc_id`, `chunk`, `start`, `end`, and
`_ingest{doc_key, doc_fp, doc_chunks, text_fp, payload_fp, vectors{name: model fingerprint}, schema, soft_deleted_at?, context?,
version?}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, TypeVar, get_args
from unicodedata import normalize

from ingest.context import in_context, title_line
from ingest.errors import CollectionNotFoundError, ConfigurationError, ManifestMismatchError, StoreError
from ingest.identity import digest, digest_bytes
from ingest.parameters import shown
from ingest.records import Chunk, Document, FileFacts, Fingerprint, Payload
from ingest.store.contract import SCHEMA_VERSION, Distance, Manifest, VectorSet, VectorSpec
from ingest.store.payload_index import PayloadIndex

INGEST_FIELD = "_ingest"
"""The payload field that belongs to this package."""

DOC_KEY_FIELD = "_ingest.doc_key"

TEXT_FP_FIELD = "_ingest.text_fp"

VECTORS_FIELD = "_ingest.vectors"
"""Vector name → fingerprint of the model that made it."""

VERSION_FIELD = "_ingest.version"

SOFT_DELETED_FIELD = "_ingest.soft_deleted_at"
"""When a document was soft-deleted; only points of soft-deleted documents have it."""

INDEXED_FIELDS: Mapping[str, PayloadIndex] = {
    DOC_KEY_FIELD: PayloadIndex("uuid"),
    TEXT_FP_FIELD: PayloadIndex("keyword"),
    SOFT_DELETED_FIELD: PayloadIndex("keyword"),
    "source": PayloadIndex("keyword"),
    "doc_id": PayloadIndex("keyword"),
    "chunk": PayloadIndex("integer"),
    "title": PayloadIndex("keyword"),
    "section": PayloadIndex("keyword"),
    "page": PayloadIndex("integer"),
}
"""The indexed payload fields of every collection; planning, deleting and searching filter by them."""

MAX_NAME_BYTES = 255
"""Maximum length of a collection name in UTF-8, in Qdrant and in file systems."""

_NOT_IN_NAMES = re.compile(r"\W+")

_PHYSICAL_NAME = re.compile(r"(?P<name>.+)__[0-9a-f]{8}(_\d+)?")

_SIMILAR = 0.5
"""The least similarity of a name that is proposed for another, 0 to 1."""

_Value = TypeVar("_Value")


def _normalize_collection_name(raw: str, aliases: Mapping[str, str] | None = None) -> str:
    """Return the normalized spelling of a collection name. Idempotent; the result is safe as a file name.

    NFKC and case-folded; each run of anything but letters, digits and `_` becomes one `_`; no `_` at either end; at most
    `MAX_NAME_BYTES` of UTF-8, cut on a character border. Then the alias of that name, if `aliases` has one (its keys and values
    are normalized too; one step, no chains). Raises `ConfigurationError` if nothing is left.
    """
    name = _normalized(raw)
    for alias, target in (aliases or {}).items():
        if _normalized(alias) == name:
            return _normalized(target)
    return name


def _normalized(raw: str) -> str:
    if not isinstance(raw, str):
        raise ConfigurationError(f"{shown(raw)} is no collection name: it must be a text")
    before, name = "", raw
    while before != name:  # case folding can undo NFKC, and NFKC case folding: until neither changes anything
        before, name = name, normalize("NFKC", name.casefold())
    name = _NOT_IN_NAMES.sub("_", name).strip("_")
    name = name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip("_")
    if not name:
        raise ConfigurationError(f"{raw!r} is no collection name: it needs at least one letter or digit")
    return name


def build_payload(document: Document, chunk: Chunk, source: str) -> Payload:
    """Return the visible payload of a chunk: everything but `_ingest`."""
    payload: Payload = {"text": chunk.text}
    if document.title is not None:
        payload["title"] = document.title
    if chunk.section:
        payload["section"] = list(chunk.section)
    optional = {
        "table_header": chunk.table_header,
        "page": chunk.page,
        "url": document.url,
        "anchor": chunk.anchor,
        "line": chunk.line,
    }
    payload.update((name, value) for name, value in optional.items() if value is not None)
    if document.file is not None:
        payload.update(_file_payload(document.file))
    payload["metadata"] = dict(document.metadata if chunk.metadata is None else chunk.metadata)
    payload["source"] = source
    payload["doc_id"] = document.id
    payload["chunk"] = chunk.index
    payload["start"] = chunk.start
    payload["end"] = chunk.end
    return payload


def _file_payload(file: FileFacts) -> Payload:
    """Return what filters find of a file. `folders` are those that contain it, so that one condition selects a subtree."""
    path = PurePosixPath(file.path)
    facts: Payload = {
        "folders": [folder.as_posix() for folder in reversed(path.parents) if folder.name],
        "ext": path.suffix.lower().removeprefix("."),
        "size": file.size,
        "modified": file.modified,
    }
    return {name: value for name, value in facts.items() if value is not None and value != []}


def encoded_text(payload: Payload, fingerprint: Fingerprint) -> str | None:
    """Return the text that the encoders read for a stored chunk, or None if its text or title has changed since."""
    text = str(payload.get("text", ""))
    context = title_line(str(payload.get("title") or "")) if fingerprint.context is None else fingerprint.context
    whole = in_context(context, text)
    return whole if digest_bytes(whole.encode()) == fingerprint.text_fp else None


def missing_indexes(present: Mapping[str, PayloadIndex], declared: Mapping[str, PayloadIndex]) -> dict[str, PayloadIndex]:
    """Return the indexes to make in a collection: those that are declared and differ, and those of the package that it lacks."""
    differing = {field: index for field, index in declared.items() if present.get(field) != index}
    return differing | {field: index for field, index in INDEXED_FIELDS.items() if field not in present and field not in declared}


def with_fingerprint(visible: Payload, fingerprint: Fingerprint) -> Payload:
    """Return the whole payload to store: a copy of the visible one with `_ingest`."""
    record: Payload = {
        "doc_key": fingerprint.doc_key,
        "doc_fp": fingerprint.doc_fp,
        "doc_chunks": fingerprint.doc_chunks,
        "text_fp": fingerprint.text_fp,
        "payload_fp": fingerprint.payload_fp,
        "vectors": dict(fingerprint.vectors),
        "schema": SCHEMA_VERSION,
    }
    if fingerprint.context is not None:
        record["context"] = fingerprint.context
    if fingerprint.version is not None:
        record["version"] = fingerprint.version
    stored = {**visible, INGEST_FIELD: record}
    return stored if fingerprint.soft_deleted_at is None else with_soft_delete(stored, fingerprint.soft_deleted_at)


def with_soft_delete(payload: Payload, soft_deleted_at: str) -> Payload:
    """Return a copy of a stored payload, soft-deleted at this time."""
    return {**payload, INGEST_FIELD: {**payload[INGEST_FIELD], "soft_deleted_at": soft_deleted_at}}


def without_soft_delete(payload: Payload) -> Payload:
    """Return a copy of a stored payload as it was before the soft delete."""
    record = payload[INGEST_FIELD]
    return {**payload, INGEST_FIELD: {name: value for name, value in record.items() if name != "soft_deleted_at"}}


def fingerprint_of(point_id: str, payload: Payload) -> Fingerprint | None:
    """Return the fingerprint of a stored point, or None unless this package wrote it at this `SCHEMA_VERSION`.

    A damaged payload may have values of any type; those that are used for more than a comparison are checked here.
    """
    record = payload.get(INGEST_FIELD)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA_VERSION:
        return None
    context, version = record.get("context"), record.get("version")
    if not (context is None or isinstance(context, str)):
        return None
    try:
        vectors = record["vectors"]
        return Fingerprint(
            id=point_id,
            doc_key=record["doc_key"],
            doc_fp=record["doc_fp"],
            doc_chunks=record["doc_chunks"],
            text_fp=record["text_fp"],
            payload_fp=record["payload_fp"],
            vectors=vectors if isinstance(vectors, dict) else {},
            soft_deleted_at=record.get("soft_deleted_at"),
            context=context,
            version=version if isinstance(version, str) else None,
        )
    except KeyError:
        return None


def manifest_to_json(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as the JSON object that is stored."""
    sets = {"previous": manifest.previous, "next": manifest.next}
    return {
        "version": manifest.version,
        "collection": manifest.collection,
        "raw_name": manifest.raw_name,
        "base_name": manifest.base_name,
        **_set_to_json(VectorSet(manifest.vectors, manifest.weights)),
        "chunking": dict(manifest.chunking),
        "layout": dict(manifest.layout),
        **{name: _set_to_json(vectors) for name, vectors in sets.items() if vectors is not None},
    }


def manifest_from_json(value: object, collection: str) -> Manifest:
    """Return the manifest in a JSON object, with the collection's present name: a restored snapshot may have another.

    Raises `StoreError` if it has another version, is incomplete or has wrong types.
    """
    if isinstance(value, dict) and value.get("version") != SCHEMA_VERSION:
        raise StoreError(
            f"the collection {collection} was written by another version of this package (its manifest has version"
            f" {value.get('version')!r}, this one reads {SCHEMA_VERSION}): use that version, or ingest into a new collection"
        )
    try:
        manifest = _typed(value, dict)
        raw_name = _typed(manifest["raw_name"], str)
        return Manifest(
            collection=collection,
            raw_name=raw_name,
            base_name=_typed(manifest["base_name"], str) if "base_name" in manifest else _normalized(raw_name),
            vectors=(searched := _set_from_json(manifest)).vectors,
            chunking=_typed(manifest["chunking"], dict),
            weights=searched.weights,
            previous=_set_from_json(_typed(manifest["previous"], dict)) if "previous" in manifest else None,
            next=_set_from_json(_typed(manifest["next"], dict)) if "next" in manifest else None,
            layout=_typed(manifest.get("layout", {}), dict),
        )
    except (KeyError, TypeError, ValueError, ConfigurationError) as exc:
        problem = f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)
        raise StoreError(f"the manifest of the collection {collection} is damaged ({problem}): ingest into a new one") from exc


def check_same_vectors(stored: Manifest, new: Manifest) -> None:
    """Raise `ManifestMismatchError` if vectors differ in what cannot change: names, kinds, dimensions, distances, IDF."""
    was, wanted = ({vector.name: vector.shape for vector in manifest.every_vector.values()} for manifest in (stored, new))
    if was != wanted:
        differing = sorted(name for name in was.keys() | wanted.keys() if was.get(name) != wanted.get(name))
        raise ManifestMismatchError(
            f"the vectors {', '.join(differing)} of the collection {new.collection} cannot change in place:"
            " ingest into a new collection"
        )


def no_collection(name: str, location: str, known: Iterable[str] = ()) -> CollectionNotFoundError:
    """Return the error for a collection that does not exist. `known`: the names that do, of which a similar one is proposed.

    Another tool may have given a collection a name that is not normalized, and so cannot be asked for.
    """
    close = get_close_matches(name, list(known), n=1, cutoff=_SIMILAR)
    if close and _NOT_IN_NAMES.sub("_", close[0].casefold()).strip("_") == name:
        return CollectionNotFoundError(
            f"the collection {close[0]} in {location} has a name that ingest reads as {name}: give it the alias {name}"
        )
    advice = f"did you mean {close[0]}?" if close else "ingest into it first"
    return CollectionNotFoundError(f"there is no collection {name} in {location}: {advice}")


def usual_names(collections: Iterable[str], aliases: Mapping[str, str]) -> list[str]:
    """Return the names that people use: the aliases, and the collections without one."""
    return sorted({*aliases, *collections} - set(aliases.values()))


def check_aliases_are_free(aliases: Iterable[str], collections: Iterable[str], location: str) -> None:
    """Raise `StoreError` if a new alias is the name of a collection."""
    if taken := sorted(set(aliases) & set(collections)):
        raise StoreError(
            f"{taken[0]} cannot become an alias in {location}, because a collection has that name: choose another alias, or drop"
            f" the collection first (ingest collections drop {taken[0]})"
        )


def physical_name(manifest: Manifest) -> str:
    """Return the physical name of a new collection: `NAME__` and 8 hexadecimal digits of the manifest, in `MAX_NAME_BYTES`.

    `NAME` (`manifest.collection`) becomes an alias, so a later collection can replace it atomically.
    """
    made_with = [[vector.name, vector.fingerprint, vector.distance] for vector in manifest.vectors]
    suffix = "__" + digest([manifest.collection, sorted(made_with), dict(manifest.chunking)])[:8]
    room = MAX_NAME_BYTES - len(suffix)
    return manifest.collection.encode()[:room].decode(errors="ignore").rstrip("_") + suffix


def is_version_of(manifest: Manifest, name: str) -> bool:
    """Return whether a collection was created for `name` under a `physical_name`, possibly with a number appended."""
    physical = _PHYSICAL_NAME.fullmatch(manifest.collection)
    return physical is not None and manifest.base_name == name and name.startswith(physical["name"])


def _set_to_json(vectors: VectorSet) -> dict[str, Any]:
    specs = [
        {
            "name": vector.name,
            "dim": vector.dim,
            "fingerprint": vector.fingerprint,
            "space": vector.space,
            "distance": vector.distance,
            "idf": vector.idf,
            "model": dict(vector.model),
            **({"multi": True} if vector.multi else {}),
        }
        for vector in vectors.vectors
    ]
    return {"vectors": specs, "weights": dict(vectors.weights)}


def _set_from_json(value: dict[str, Any]) -> VectorSet:
    return VectorSet(
        tuple(_vector_from_json(_typed(vector, dict)) for vector in _typed(value["vectors"], list)),
        {name: float(weight) for name, weight in _typed(value["weights"], dict).items()},
    )


def _vector_from_json(vector: dict[str, Any]) -> VectorSpec:
    distance: Distance = vector["distance"]
    if distance not in get_args(Distance):
        raise ValueError(f"unknown distance {distance!r}")
    return VectorSpec(
        name=_typed(vector["name"], str),
        dim=None if vector["dim"] is None else _typed(vector["dim"], int),
        fingerprint=_typed(vector["fingerprint"], str),
        space=_typed(vector["space"], str),
        distance=distance,
        idf=_typed(vector["idf"], bool),
        model=_typed(vector["model"], dict),
        multi=_typed(vector.get("multi", False), bool),
    )


def _typed(value: object, kind: type[_Value]) -> _Value:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r:.50} should be a {kind.__name__}")
    return value

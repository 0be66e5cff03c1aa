"""Convert between the frameworks and `ingest`: hits to metadata, and documents of a framework to records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ingest.errors import ConfigurationError, SourceError
from ingest.parameters import shown
from ingest.records import Hit
from ingest.source.memory import Record, RecordsSource, records_source

Loaded = TypeVar("Loaded")

_HIT_FIELDS = ("doc_id", "source", "title", "url", "section", "page", "anchor", "chunk", "start", "end", "collection", "group")


def hit_metadata(hit: Hit) -> dict[str, Any]:
    """Return the metadata of a hit: its place in its document and its ranks, and the document's own metadata.

    Fields without a value are left out. A field of the document's own metadata keeps its value if it has the name of another.
    """
    found = {name: value for name in _HIT_FIELDS if (value := getattr(hit, name)) not in {None, ()}}
    if hit.section:
        found["section"] = list(hit.section)
    return {**found, "ranks": dict(hit.ranks), **hit.metadata}


def record_of(doc_id: str | None, text: Any, metadata: Mapping[str, Any]) -> Record:
    """Return a document of a framework as a record. A title among its metadata is the title, if it is a text."""
    title = metadata.get("title")
    return {
        **({} if doc_id is None else {"id": doc_id}),
        "text": text,
        "title": title if isinstance(title, str) else None,
        "metadata": dict(metadata),
    }


def place_id(metadata: Mapping[str, Any], file: str, parts: Iterable[str]) -> str | None:
    """Return an id that is stable between runs, or None: the value of `file`, and of `parts` as a fragment: `a.pdf#page=3`."""
    if not (place := metadata.get(file)):
        return None
    found = [f"{part}={metadata[part]}" for part in parts if metadata.get(part) is not None]
    return f"{place}#{'&'.join(found)}" if found else str(place)


def loaded_source(
    documents: Iterable[Loaded] | Callable[[], Iterable[Loaded]],
    kind: type[Loaded],
    record_of: Callable[[Loaded], Record],
    name: str,
) -> RecordsSource:
    """Return a source of the documents of a framework.

    Args:
        documents: the documents, or a function that loads them, which each `read` calls.
        kind: type of the documents.
        record_of: returns a document as a record.
        name: name of the source.

    Reading it raises `SourceError` if loading fails, and `ConfigurationError` for an item of another type.
    """
    if not callable(documents) and not isinstance(documents, Iterable):
        raise ConfigurationError(f"documents: {shown(documents)} is neither a loader nor a list of {kind.__name__} objects")
    records = _Records(documents, kind, record_of, name)
    once = not callable(documents) and iter(documents) is documents
    return records_source(iter(records) if once else records, name=name)


@dataclass(frozen=True, slots=True)
class _Records(Generic[Loaded]):
    """The documents as records. Each iteration loads them again."""

    documents: Iterable[Loaded] | Callable[[], Iterable[Loaded]]
    kind: type[Loaded]
    record_of: Callable[[Loaded], Record]
    name: str

    def __iter__(self) -> Iterator[Record]:
        for document in self._load():
            if not isinstance(document, self.kind):
                raise ConfigurationError(f"{self.name}: {shown(document)} is not a {self.kind.__module__}.{self.kind.__name__}")
            yield self.record_of(document)

    def _load(self) -> Iterator[Loaded]:
        try:
            yield from self.documents() if callable(self.documents) else self.documents
        except Exception as exc:
            raise SourceError(f"the documents of {self.name} could not be loaded: {type(exc).__name__}: {exc}") from exc

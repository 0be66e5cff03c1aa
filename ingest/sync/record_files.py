"""Marks: which documents a version of a file of records has, so that the file need not be read if exactly these are stored.

A mark is a fact about a version of a file, found by reading it to its end without a reject: how many documents it has, and a
digest of their keys and fingerprints that does not depend on their order. It is stored as the `version` of one point of these
documents. The mark says nothing about what is stored. A file is left unread if a mark of its version is stored, and the digest
of the documents that are stored completely is that of the mark: then each of them is as the file has it, and none is missing.
So it does not matter when a mark is written, which points are written, deleted or lost later, and by whom: a document that
differs in any way makes the file be read, and so does a lost or damaged mark.

The digest is a sum, so it takes no memory for the documents.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple, Self

from ingest.identity import digest
from ingest.records import FileBegin, FileEnd, Fingerprint
from ingest.source.reading_report import ReadingReport
from ingest.store.contract import SCHEMA_VERSION, Store
from ingest.sync.run_state import BATCH_POINTS, pack_uuid, unpack_uuid
from ingest.temporary_database import TemporaryDatabase

MARK = "records "
"""The beginning of a `version` that is a mark. The version of a document begins with a digest."""

MAX_MARK = 4000
"""Maximum characters of a mark. A file that would need more, for its columns or notes, is read in every run."""

_MODULUS = 2**256


class Contents(NamedTuple):
    """A set of documents: their number, and the sum of the digests of their keys and fingerprints."""

    documents: int = 0
    total: int = 0

    def plus(self, doc_key: str, doc_fp: str) -> Contents:
        """Return the set with one more document."""
        one = sha256(f"{doc_key} {doc_fp}".encode()).digest()
        return Contents(self.documents + 1, (self.total + int.from_bytes(one)) % _MODULUS)


@dataclass(slots=True)
class FileReading:
    """A file of records that is being read, and what its mark will say.

    Attributes:
        usable: whether it may get a mark: nothing of it was rejected.
    """

    begin: FileBegin
    usable: bool = True
    contents: Contents = field(default_factory=Contents)
    _formats: set[str] = field(default_factory=set)
    _place: tuple[str, str] | None = None
    _marked: dict[str, str] = field(default_factory=dict)
    _end: FileEnd | None = None

    def add(self, doc_key: str, doc_fp: str, document_format: str, points: Iterable[str], marked: Mapping[str, str]) -> None:
        """Add a document.

        Args:
            points: ids of its points.
            marked: id → mark, of its stored points that have one.
        """
        self.contents = self.contents.plus(doc_key, doc_fp)
        self._formats.add(document_format)
        if self._place is None or doc_key < self._place[0]:
            self._place = (doc_key, min(points))
        self._marked.update(marked)

    def end(self, end: FileEnd) -> None:
        """Note that the file was read to its end."""
        self._end = end

    def marks(self, chunker: Callable[[str], str]) -> dict[str, str | None]:
        """Return point id → its new mark, or None if it has one and is to have none. `chunker`: see `versioned`."""
        if not self.usable or self._end is None or self._place is None:
            return {}
        formats = sorted(self._formats)
        version = _version(self.begin.version, formats, chunker)
        total = f"{self.contents.total:x}"
        found = [dict(self._end.types), list(self._end.notes)]
        mark = MARK + json.dumps([version, self.contents.documents, total, formats, *found])
        place = self._place[1]
        marks: dict[str, str | None] = dict.fromkeys(point for point in self._marked if point != place)
        if self._marked.get(place) != mark and len(mark) <= MAX_MARK:
            marks[place] = mark
        return marks


def marks_of(stored: Iterable[Fingerprint]) -> dict[str, str]:
    """Return id → mark, of the stored points that have one."""
    return {point.id: point.version for point in stored if point.version is not None and point.version.startswith(MARK)}


@dataclass(frozen=True, slots=True)
class Mark:
    """A stored mark."""

    version: str
    contents: Contents
    formats: Sequence[str]
    types: Mapping[str, str]
    notes: Sequence[str]

    @classmethod
    def parse(cls, mark: str) -> Self | None:
        """Return a mark, or None if it is damaged."""
        try:
            version, documents, total, formats, types, notes = json.loads(mark.removeprefix(MARK))
            contents = Contents(documents, int(total, 16))
        except (ValueError, TypeError):
            return None
        if not isinstance(types, dict) or not all(_are_texts(each) for each in (formats, notes, list(types.values()))):
            return None
        return cls(version, contents, formats, types, notes)

    def is_of(self, version: str, chunker: Callable[[str], str]) -> bool:
        """Return whether it is one of this version of a file. `chunker`: see `versioned`."""
        return self.version == _version(version, self.formats, chunker)

    def report_to(self, report: ReadingReport) -> None:
        """Report what reading the file found out."""
        report.add_types(self.types)
        for note in self.notes:
            report.note(note)


def _version(version: str, formats: Sequence[str], chunker: Callable[[str], str]) -> str:
    return digest([SCHEMA_VERSION, [chunker(each) for each in formats], version])


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(each, str) for each in values)


class PendingMarks(TemporaryDatabase):
    """Marks to be written once all points are acknowledged."""

    def __init__(self) -> None:
        super().__init__("CREATE TABLE marks (point BLOB PRIMARY KEY, mark TEXT) WITHOUT ROWID;")

    def add(self, marks: Mapping[str, str | None]) -> None:
        """Add point id → its new mark, or None for none."""
        rows = ((pack_uuid(point), mark) for point, mark in marks.items())
        self._database.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", rows)

    def write(self, store: Store, collection: str) -> None:
        """Write the marks to the points, as far as they still exist. Whatever else the points have stays as others write it."""
        rows = self._database.execute("SELECT point, mark FROM marks")
        while group := rows.fetchmany(BATCH_POINTS):
            store.set_versions(collection, {unpack_uuid(point): mark for point, mark in group})

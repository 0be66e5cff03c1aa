"""A source that changes: documents come, go, come back, are edited, renamed and broken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from sync_bench import document

from ingest.records import Document, Rejected

ChangeKind = Literal[
    "add", "edit", "annotate", "move", "copy", "rename", "delete", "restore", "break", "mend", "touch", "edit unseen"
]


@dataclass(frozen=True, slots=True)
class Change:
    """To the source; `which` picks the document (and the paragraph), `letter` what is put there.

    Each gives its document another version, except that an unseen edit does not. To touch a document changes nothing else.
    """

    kind: ChangeKind
    which: int
    letter: str


@dataclass(slots=True)
class Shelf:
    """A source: document id → its paragraphs' letters and its year, and its version; some are broken.

    What is put back has the version that it had. `unseen`: documents of this round with an edit that left the version as it was.
    """

    documents: dict[str, tuple[str, int]] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    deleted: dict[str, tuple[tuple[str, int], int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    unseen: set[str] = field(default_factory=set)
    made: int = 0
    written: int = 0

    def apply(self, change: Change) -> None:
        if change.kind == "restore":
            for id_, (content, version) in self.deleted.items():
                self.documents[id_], self.versions[id_] = content, version
            return
        if change.kind == "add" or not self.documents:
            self._write(self._new_id(), (change.letter * (1 + change.which % 3), 0))
            return
        id_ = sorted(self.documents)[change.which % len(self.documents)]
        content = edited(self.documents[id_], change)
        match change.kind:
            case "edit unseen" if id_ not in self.broken:  # no run reads what is broken
                self.documents[id_] = content
                self.unseen.add(id_)
                self.deleted.pop(id_, None)  # which has the same version
            case "copy":
                self._write(self._new_id(), content)
            case "rename":
                del self.documents[id_]
                self._write(self._new_id(), content)
            case "delete":
                if id_ in self.unseen:
                    self._write(id_, content)
                self.deleted[id_] = self.documents.pop(id_), self.versions[id_]
            case _:
                self._write(id_, content)
        self.broken = set() if change.kind == "mend" else self.broken | {id_} if change.kind == "break" else self.broken
        self.broken &= self.documents.keys()

    def usable(self) -> list[Document]:
        return [
            replace(document(id_, letters, year=year), version=str(self.versions[id_]))
            for id_, (letters, year) in sorted(self.documents.items())
            if id_ not in self.broken
        ]

    def records(self) -> list[Document | Rejected]:
        return [*self.usable(), *(Rejected("somewhere", "broken", doc_id=id_) for id_ in sorted(self.broken))]

    def _write(self, id_: str, content: tuple[str, int]) -> None:
        self.written += 1
        self.documents[id_], self.versions[id_] = content, self.written

    def _new_id(self) -> str:
        """One of few, so that documents come back under the id of one that is gone."""
        self.made += 1
        free = [id_ for id_ in ("d0", "d1", "d2", "d3", "d4") if id_ not in self.documents]
        return free[self.made % len(free)] if free else f"d{self.made + 4}"


def edited(content: tuple[str, int], change: Change) -> tuple[str, int]:
    letters, year = content
    at = change.which % len(letters)
    match change.kind:
        case "edit" | "edit unseen":
            return letters[:at] + change.letter + letters[at + 1 :], year
        case "annotate":
            return letters, year + 1
        case "move":
            return letters[at:] + letters[:at], year
    return content

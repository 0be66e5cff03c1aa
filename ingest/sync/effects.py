"""The writes that follow from encoded vectors. Pure. A document is written as a whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ingest.encode.contract import Encoded
from ingest.records import Fingerprint, Payload, Point, Vector
from ingest.store.schema import with_fingerprint
from ingest.store.writer import Effects
from ingest.sync.plan import ChunkAction, DocumentPlan
from ingest.sync.reading import PlannedDocument

Copies = Mapping[str, Mapping[str, Vector]]
"""Digest of a text (`Fingerprint.text_fp`) → stored vectors of it that need not be encoded, by name."""

NO_COPIES: Copies = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Failure:
    """A document with a chunk that a model could not encode, and the reason. Its stored version is kept."""

    document: PlannedDocument
    chunk: int
    reason: str


@dataclass(slots=True)
class WindowResult:
    """The result of a window: the writes, and their account (in documents, unless the name says chunks).

    Attributes:
        documents: documents without a failure.
        vectors: point id → named vectors to replace.
        chunks_copied: written chunks with a vector that was copied.
        stale: stored points to delete once the source has ended.
    """

    documents: list[PlannedDocument] = field(default_factory=list)
    upserts: list[Point] = field(default_factory=list)
    vectors: dict[str, Mapping[str, Vector]] = field(default_factory=dict)
    payloads: dict[str, Payload] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    written: int = 0
    updated: int = 0
    chunks_inserted: int = 0
    chunks_written: int = 0
    chunks_copied: int = 0
    chunks_reused: int = 0

    @property
    def effects(self) -> Effects:
        return Effects(upserts=self.upserts, vector_updates=self.vectors, payloads=self.payloads)

    def add(
        self,
        plan: DocumentPlan,
        payloads: Sequence[Payload],
        fingerprints: Sequence[Fingerprint],
        rows: Sequence[Mapping[str, Vector]],
    ) -> None:
        """Add the writes of one document. All sequences are parallel to the plan's actions; `rows` are the vectors."""
        for action, visible, fingerprint, row in zip(plan.actions, payloads, fingerprints, rows, strict=True):
            if action.write == "nothing":
                self.chunks_reused += 1
                continue
            recorded = replace(fingerprint, vectors={**fingerprint.vectors, **action.others}) if action.others else fingerprint
            payload = with_fingerprint(visible, recorded)
            if action.write == "point":
                self.upserts.append(Point(action.id, row, payload))
                self.chunks_inserted += action.new
                self.chunks_written += 1
                continue
            self.payloads[action.id] = payload
            if action.write == "vectors":
                self.vectors[action.id] = row
                self.chunks_written += 1
            else:
                self.chunks_reused += 1
        self.stale.extend(plan.stale)
        self.written += plan.status == "written"
        self.updated += plan.status == "updated"


def wanted_texts(documents: Sequence[PlannedDocument], models: Sequence[str], copies: Copies = NO_COPIES) -> dict[str, list[str]]:
    """Return model key → the texts it must encode, in the order in which `collect_effects` expects their vectors."""
    texts: dict[str, list[str]] = {model: [] for model in models}
    for planned in documents:
        for action, chunk, fingerprint in zip(planned.plan.actions, planned.chunks, planned.fingerprints, strict=True):
            if action.vectors:
                text, copied = chunk.encoded_text, copied_vectors(action, fingerprint, copies)
                for name in action.vectors:
                    if name not in copied:
                        texts[name].append(text)
    return texts


def copied_vectors(action: ChunkAction, fingerprint: Fingerprint, copies: Copies) -> dict[str, Vector]:
    """Return those of the vectors that an action requires that need not be encoded, by name."""
    stored = copies.get(fingerprint.text_fp)
    return {name: stored[name] for name in action.vectors if name in stored} if stored else {}


def collect_effects(
    documents: Sequence[PlannedDocument], encoded: Mapping[str, Encoded], copies: Copies = NO_COPIES
) -> WindowResult:
    """Return the writes of a window. A document with a chunk that failed is left out as a whole.

    Args:
        encoded: model key → what it made of the `wanted_texts` of the same documents and copies.
    """
    result = WindowResult()
    cursors = dict.fromkeys(encoded, 0)
    for planned in documents:
        rows: list[dict[str, Vector]] = []
        failure: Failure | None = None
        copied = 0
        for action, fingerprint in zip(planned.plan.actions, planned.fingerprints, strict=True):
            row = copied_vectors(action, fingerprint, copies)
            copied += bool(row)
            for name in action.vectors:
                if name in row:
                    continue
                texts, at = encoded[name], cursors[name]
                cursors[name] = at + 1
                row[name] = texts.vectors[at]
                if failure is None and at in texts.failed:
                    failure = Failure(planned, len(rows), f"{name}: {texts.failed[at]}")
            rows.append(row)
        if failure is None:
            result.documents.append(planned)
            result.add(planned.plan, planned.payloads, planned.fingerprints, rows)
            result.chunks_copied += copied
        else:
            result.failures.append(failure)
    return result

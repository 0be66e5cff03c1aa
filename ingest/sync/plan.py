"""Deciding what to do: pure functions of what is wanted, what is stored, and the delete mode. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ingest.records import Fingerprint

Status = Literal["written", "updated", "unchanged"]
Write = Literal["point", "vectors", "payload", "nothing"]


class DeleteMode(StrEnum):
    """What a run may delete, and only after its source was read to the end without an error.

    `none`: nothing. `incremental`: chunks that the documents which were read no longer have. `full`: also documents that the
    source no longer has.
    """

    NONE = "none"
    INCREMENTAL = "incremental"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class ChunkAction:
    """What one wanted chunk needs.

    Attributes:
        id: the chunk's.
        write: `point`: all of it; `vectors`: only `columns`, then the payload; `payload`: no model at all; `nothing`.
        columns: names of the vectors to encode; all of them for `point`.
        new: no point of this id is stored yet.
    """

    id: str
    write: Write
    columns: tuple[str, ...] = ()
    new: bool = False


@dataclass(frozen=True, slots=True)
class DocumentPlan:
    """What one document needs. `actions` follow the wanted chunks; `stale` are stored points to delete at the end."""

    status: Status
    actions: tuple[ChunkAction, ...]
    stale: tuple[str, ...]


def is_unchanged(doc_fp: str, stored: Sequence[Fingerprint], models: Mapping[str, str], delete: DeleteMode) -> bool:
    """Whether a document need not even be chunked: every chunk of this very version is stored, made by these very models.

    Leftovers of an older version make it changed, unless nothing may be deleted anyway.
    """
    current = [point for point in stored if point.doc_fp == doc_fp]
    if not current or len(current) != current[0].doc_chunks:
        return False
    if len(current) != len(stored) and delete is not DeleteMode.NONE:
        return False
    return all(point.vectors == models for point in current)


def plan_document(wanted: Sequence[Fingerprint], stored: Sequence[Fingerprint], delete: DeleteMode) -> DocumentPlan:
    """What it takes to make the stored points of one document equal to the wanted ones."""
    by_id = {point.id: point for point in stored}
    actions = tuple(_plan_chunk(chunk, by_id.get(chunk.id)) for chunk in wanted)
    keep = {chunk.id for chunk in wanted}
    stale = () if delete is DeleteMode.NONE else tuple(point.id for point in stored if point.id not in keep)
    if not stored:
        status: Status = "written"
    elif stale or any(action.write != "nothing" for action in actions):
        status = "updated"
    else:
        status = "unchanged"
    return DocumentPlan(status, actions, stale)


def _plan_chunk(wanted: Fingerprint, stored: Fingerprint | None) -> ChunkAction:
    every = tuple(wanted.vectors)
    if stored is None:
        return ChunkAction(wanted.id, "point", every, new=True)
    if stored.text_fp != wanted.text_fp:
        return ChunkAction(wanted.id, "point", every)
    columns = tuple(name for name, made_by in wanted.vectors.items() if stored.vectors.get(name) != made_by)
    if columns:
        return ChunkAction(wanted.id, "point" if columns == every else "vectors", columns)
    return ChunkAction(wanted.id, "nothing" if stored == wanted else "payload")

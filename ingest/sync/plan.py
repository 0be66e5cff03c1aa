"""Deciding what to do: pure functions of what is wanted, what is stored, and the delete mode. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

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


class MissingAction(StrEnum):
    """What a run does with a stored document that is missing from its source.

    `soft_delete`: search no longer finds it. `keep`: it was soft-deleted before, and its grace period has not passed.
    `purge`: its points are deleted.
    """

    SOFT_DELETE = "soft_delete"
    KEEP = "keep"
    PURGE = "purge"


class ChunkAction(NamedTuple):
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


class DocumentPlan(NamedTuple):
    """What one document needs. `actions` follow the wanted chunks; `stale` are stored points to delete at the end."""

    status: Status
    actions: tuple[ChunkAction, ...]
    stale: tuple[str, ...]


def is_unchanged(doc_fp: str, stored: Sequence[Fingerprint], models: Mapping[str, str], delete: DeleteMode) -> bool:
    """Return whether a document need not even be chunked, because every chunk of this version is stored by these models.

    The number of stored chunks must be the number that every one of them records, and none may be soft-deleted. Leftovers of an
    older version make the document changed, unless nothing may be deleted anyway.
    """
    current = [point for point in stored if point.doc_fp == doc_fp]
    if not current or (len(current) != len(stored) and delete != DeleteMode.NONE):
        return False
    chunks = len(current)
    return all(point.doc_chunks == chunks and point.vectors == models and point.soft_deleted_at is None for point in current)


def plan_document(wanted: Sequence[Fingerprint], stored: Sequence[Fingerprint], delete: DeleteMode) -> DocumentPlan:
    """What it takes to make the stored points of one document equal to the wanted ones."""
    if not stored:  # the commonest case, and a load of millions is nothing else
        actions = tuple([ChunkAction(chunk.id, "point", tuple(chunk.vectors), new=True) for chunk in wanted])
        return DocumentPlan("written", actions, ())
    by_id = {point.id: point for point in stored}
    actions = tuple(_plan_chunk(chunk, by_id.get(chunk.id)) for chunk in wanted)
    keep = {chunk.id for chunk in wanted}
    stale = () if delete == DeleteMode.NONE else tuple(point.id for point in stored if point.id not in keep)
    changed = stale or any(action.write != "nothing" for action in actions)
    return DocumentPlan("updated" if changed else "unchanged", actions, stale)


def plan_missing_document(soft_deleted_at: float | None, now: float, delete_after: float | None) -> MissingAction:
    """Return what to do with a missing document that was soft-deleted at this time (None: it was not).

    `delete_after`: grace period in seconds, None for none. Times are seconds since 1970. A time in the future was set by a wrong
    clock, or this one is wrong: the document is kept.
    """
    if delete_after is None:
        return MissingAction.PURGE
    if soft_deleted_at is None:
        return MissingAction.SOFT_DELETE
    return MissingAction.PURGE if now >= soft_deleted_at + delete_after else MissingAction.KEEP


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

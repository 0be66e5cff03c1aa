"""The plan: pure functions of the wanted chunks, the stored fingerprints and the delete mode. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Literal, NamedTuple

from ingest.records import Fingerprint

Status = Literal["written", "updated", "unchanged"]
Write = Literal["point", "vectors", "payload", "nothing"]


class DeleteMode(StrEnum):
    """The points that a run may delete after it has read its source to the end without an error.

    `none`: nothing. `incremental`: chunks that are no longer part of their document, if it was read. `full`: also documents
    that are missing from the source.
    """

    NONE = "none"
    INCREMENTAL = "incremental"
    FULL = "full"


class MissingAction(StrEnum):
    """The action of a run on a stored document that is missing from its source.

    `soft_delete`: search no longer finds it. `keep`: it was soft-deleted before, and its grace period has not passed.
    `purge`: its points are deleted.
    """

    SOFT_DELETE = "soft_delete"
    KEEP = "keep"
    PURGE = "purge"


class ChunkAction(NamedTuple):
    """The action that one wanted chunk requires.

    Attributes:
        id: id of the chunk.
        write: `point`: the whole point; `vectors`: only these vectors, and the payload; `payload`: only the payload; `nothing`.
        vectors: names of the vectors to encode; all of them for `point`.
        new: True if no point with this id is stored yet.
        others: vector name → fingerprint, of the stored vectors that the run does not make and that stay as they are.
    """

    id: str
    write: Write
    vectors: tuple[str, ...] = ()
    new: bool = False
    others: Mapping[str, str] = MappingProxyType({})


class DocumentPlan(NamedTuple):
    """The plan for one document.

    Attributes:
        status: `unchanged` also if the version that is stored with the document is all that differs.
        actions: one for each wanted chunk, in their order.
        stale: ids of stored points to delete once the source has ended.
    """

    status: Status
    actions: tuple[ChunkAction, ...]
    stale: tuple[str, ...]

    @property
    def has_work(self) -> bool:
        """Whether anything is to be written or deleted."""
        return bool(self.stale) or any(action.write != "nothing" for action in self.actions)


def is_unchanged(
    doc_fp: str, stored: Sequence[Fingerprint], models: Mapping[str, str], delete: DeleteMode, version: str | None = None
) -> bool:
    """Return whether every chunk of this version of a document is stored with vectors of these models, and with `version` if any.

    It may have other vectors, too, which a reindex in place keeps beside those that are searched.

    Such a document is not even chunked. The number of stored chunks must equal the number that each of them records, and none may
    be soft-deleted. Points of an older version make the document changed, unless the run may delete nothing.
    """
    current = [point for point in stored if point.doc_fp == doc_fp]
    if not current or (len(current) != len(stored) and delete != DeleteMode.NONE):
        return False
    chunks = len(current)
    return all(
        point.doc_chunks == chunks
        and models.items() <= point.vectors.items()
        and point.soft_deleted_at is None
        and version in (None, point.version)
        for point in current
    )


def plan_document(wanted: Sequence[Fingerprint], stored: Sequence[Fingerprint], delete: DeleteMode) -> DocumentPlan:
    """Return the actions that make the stored points of one document equal to the wanted ones."""
    if not stored:  # the most common case: an initial load consists of nothing else
        actions = tuple([ChunkAction(chunk.id, "point", tuple(chunk.vectors), new=True) for chunk in wanted])
        return DocumentPlan("written", actions, ())
    by_id = {point.id: point for point in stored}
    actions = tuple(_plan_chunk(chunk, by_id.get(chunk.id)) for chunk in wanted)
    keep = {chunk.id for chunk in wanted}
    stale = () if delete == DeleteMode.NONE else tuple(point.id for point in stored if point.id not in keep)
    changed = stale or any(_without_others(by_id.get(chunk.id), chunk.vectors) != chunk for chunk in wanted)
    return DocumentPlan("updated" if changed else "unchanged", actions, stale)


def plan_missing_document(soft_deleted_at: float | None, now: float, delete_after: float | None) -> MissingAction:
    """Return the action for a document that is missing from its source.

    A soft delete in the future means that one of the clocks is wrong: the document is kept.

    Args:
        soft_deleted_at: time of the soft delete, in seconds since 1970; None if the document is live.
        now: current time, in seconds since 1970.
        delete_after: grace period in seconds; None for no grace period.
    """
    if delete_after is None:
        return MissingAction.PURGE
    if soft_deleted_at is None:
        return MissingAction.SOFT_DELETE
    return MissingAction.PURGE if now >= soft_deleted_at + delete_after else MissingAction.KEEP


def _without_others(stored: Fingerprint | None, models: Mapping[str, str]) -> Fingerprint | None:
    """Return a stored fingerprint without the vectors of other models: see `is_unchanged`."""
    if stored is None or stored.vectors.keys() <= models.keys():
        return stored
    return replace(stored, vectors={name: made for name, made in stored.vectors.items() if name in models})


def _plan_chunk(wanted: Fingerprint, stored: Fingerprint | None) -> ChunkAction:
    every = tuple(wanted.vectors)
    if stored is None:
        return ChunkAction(wanted.id, "point", every, new=True)
    if stored.text_fp != wanted.text_fp:
        return ChunkAction(wanted.id, "point", every)
    vectors = tuple(name for name, fingerprint in wanted.vectors.items() if stored.vectors.get(name) != fingerprint)
    if vectors and vectors == every:
        return ChunkAction(wanted.id, "point", every)
    others = {name: made for name, made in stored.vectors.items() if name not in wanted.vectors}
    if vectors:
        return ChunkAction(wanted.id, "vectors", vectors, others=others)
    same = _without_others(stored, wanted.vectors) == wanted and wanted.version in (None, stored.version)
    return ChunkAction(wanted.id, "nothing") if same else ChunkAction(wanted.id, "payload", others=others)

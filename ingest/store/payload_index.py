"""Payload indexes: which fields, of which type. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from ingest.parameters import InvalidValueError, parse_choice, shown
from ingest.store.payload_path import is_field

IndexType = Literal["keyword", "integer", "float", "bool", "datetime", "geo", "uuid", "text"]

_TENANT_TYPES = ("keyword", "uuid")
_OWN_FIELDS = frozenset(
    {
        "text",
        "title",
        "source",
        "doc_id",
        "chunk",
        "start",
        "end",
        "metadata",
        "section",
        "table_header",
        "page",
        "url",
        "anchor",
        "line",
    }
)
DECLARED_TYPES: tuple[IndexType, ...] = tuple(kind for kind in get_args(IndexType) if kind != "text")
"""The types that settings may name."""


@dataclass(frozen=True, slots=True)
class PayloadIndex:
    """A payload index.

    Attributes:
        type: the type of the values that it has; a filter on an indexed field does not see other values.
        tenant: whether each value is a tenant, whose points are stored together.
        points: number of points that are in the index, or None if it is not made yet.
    """

    type: IndexType
    tenant: bool = False
    points: int | None = field(default=None, compare=False)


FILE_INDEXES: Mapping[str, PayloadIndex] = MappingProxyType(
    {
        "folders": PayloadIndex("keyword"),
        "ext": PayloadIndex("keyword"),
        "size": PayloadIndex("integer"),
        "modified": PayloadIndex("datetime"),
    }
)
"""The indexed payload fields of files. Each index takes 2 MiB of disk in the embedded engine, so other collections lack them."""


def parse_indexes(value: object) -> dict[str, PayloadIndex]:
    """Return payload path → index for `{"year": "integer", "tenant": "keyword tenant"}`.

    A name that is no field of the package and has no dot is a field of the documents' metadata.
    """
    if not isinstance(value, Mapping):
        raise InvalidValueError(f"{shown(value)} is not a mapping such as {{'year': 'integer'}}")
    return {_path(name): _index(name, kind) for name, kind in value.items()}


def _path(name: object) -> str:
    if not isinstance(name, str) or not is_field(name):
        raise InvalidValueError(f"{shown(name)} is no payload field: write year, or metadata.year")
    return name if name in _OWN_FIELDS or "." in name else f"metadata.{name}"


def _index(name: object, kind: object) -> PayloadIndex:
    if isinstance(kind, PayloadIndex):
        return kind
    words = kind.split() if isinstance(kind, str) else [kind]
    try:
        index_type = parse_choice(words[0] if words else "", DECLARED_TYPES)
    except InvalidValueError as exc:
        raise InvalidValueError(f"{shown(name)}: {exc}") from None
    if words[1:] not in ([], ["tenant"]) or (len(words) > 1 and index_type not in _TENANT_TYPES):
        raise InvalidValueError(f"{shown(name)}: {shown(kind)} is not an index: write {index_type}, or keyword tenant")
    return PayloadIndex(index_type, tenant=len(words) > 1)

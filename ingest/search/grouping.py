"""Groups of candidates that have a value of a field in common. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from ingest.identity import doc_key
from ingest.records import Hit, Payload
from ingest.search.fields import FieldUse
from ingest.search.fusion import Fused, Rankings
from ingest.store.contract import Condition
from ingest.store.payload_path import values_at
from ingest.store.schema import DOC_KEY_FIELD

GROUP_DEPTH = 500
"""Points that a vector finds at a time if its first hundred have too few groups."""

DOCUMENT = "doc_id"
"""The field whose groups are documents: one id may occur in several sources."""

Value = str | int | float | bool


class Key(NamedTuple):
    """The value that the chunks of a group have. Python's `True` equals 1, JSON's `true` does not."""

    value: Value
    is_boolean: bool = False

    @classmethod
    def of(cls, value: Value) -> Key:
        """Return the key of the group that has this value."""
        return cls(value, isinstance(value, bool))


T = TypeVar("T", Fused, Hit)


@dataclass(frozen=True, slots=True)
class Grouping:
    """How to group.

    Attributes:
        field: payload path; `doc_id` for documents.
        size: most chunks of a group.
    """

    field: str
    size: int = 1

    @property
    def use(self) -> FieldUse:
        """The kinds of values that make groups."""
        kinds = ("text", "number", "true or false", "date")
        hint = f"group by a field in them, such as {self.field}.name, or {self.field}[].name in a list"
        return FieldUse("group_by", self.field, kinds, hint)

    @property
    def payload(self) -> tuple[str, ...]:
        """The payload fields that `keys` reads."""
        return ("doc_id", "source") if self.field == DOCUMENT else (self.field,)

    @property
    def filters(self) -> tuple[Condition, ...]:
        """The conditions on what can be grouped."""
        return () if self.field == DOCUMENT else (Condition(self.field, "exists", value=True),)

    def keys(self, payload: Payload) -> list[Key]:
        """Return the keys of the groups that a point belongs to: one for each value of the field."""
        if self.field == DOCUMENT:
            match payload:
                case {"source": str() as source, "doc_id": str() as doc_id}:
                    return [Key.of(doc_key(source, doc_id))]
            return []
        return [Key.of(value) for value in values_at(payload, self.field) if isinstance(value, Value)]

    def without(self, keys: Iterable[Key]) -> Condition:
        """Return the condition on points of no such group."""
        return Condition(self._key_field, "none", tuple(key.value for key in keys))

    def within(self, key: Key) -> Condition:
        """Return the condition on points of one group."""
        return Condition(self._key_field, "eq", key.value)

    def keys_in(self, rankings: Rankings) -> list[Key]:
        """Return the keys of all groups in the rankings."""
        found = (key for ranking in rankings.values() for point in ranking for key in self.keys(point.payload))
        return list(dict.fromkeys(found))

    def groups(self, fused: Sequence[Fused], rankings: Rankings) -> dict[Key, list[Fused]]:
        """Return the candidates of each group, in their order, the group of the best one first."""
        payloads = {point.id: point.payload for ranking in rankings.values() for point in ranking}
        groups: dict[Key, list[Fused]] = {}
        for candidate in fused:
            for key in self.keys(payloads[candidate.id]):
                groups.setdefault(key, []).append(replace(candidate, group=key.value))
        return groups

    @property
    def _key_field(self) -> str:
        return DOC_KEY_FIELD if self.field == DOCUMENT else self.field


def regrouped(items: Sequence[T]) -> list[list[T]]:
    """Return candidates or hits in groups, the group of the best one first. Each one without a group stands for itself."""
    groups: dict[object, list[T]] = {}
    for number, item in enumerate(items):
        groups.setdefault(("none", number) if item.group is None else Key.of(item.group), []).append(item)
    return list(groups.values())

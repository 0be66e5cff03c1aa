"""Conversion of filters to the models of the client. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from ingest.errors import ConfigurationError
from ingest.parameters import shown
from ingest.store.contract import Filter, RawFilter
from ingest.store.qdrant_filter import filter_json
from ingest.store.wire import point_id_to


def filter_to(filters: Sequence[Filter], among: Sequence[str] | None = None, *, text_is_substring: bool) -> models.Filter | None:
    """Return filters, joined by AND.

    Args:
        among: ids of the only points that pass. None: any.
        text_is_substring: whether the server, unless it has a full-text index, understands a text match as a substring: before
            version 1.19, which has a match of its own for substrings.
    """
    json = filter_json(filters, among)
    return None if json is None else _filter(json, text_is_substring)


def _filter(json: dict[str, Any], text_is_substring: bool) -> models.Filter:
    return models.Filter(**{clause: [_condition(each, text_is_substring) for each in parts] for clause, parts in json.items()})


def _condition(json: Any, text_is_substring: bool) -> models.Condition:  # noqa: C901, PLR0911  one case a form
    match json:
        case RawFilter(value):
            if not isinstance(value, models.Filter):
                raise ConfigurationError(f"where: {shown(value)} is not a qdrant_client.models.Filter")
            return value
        case {"key": key, "match": {"value": value}}:
            return models.FieldCondition(key=key, match=models.MatchValue(value=value))
        case {"key": key, "match": {"any": values}}:
            return models.FieldCondition(key=key, match=models.MatchAny(any=values))
        case {"key": key, "match": {"substring": text}}:
            match = models.MatchText(text=text) if text_is_substring else models.MatchSubstring(substring=text)
            return models.FieldCondition(key=key, match=match)
        case {"key": key, "range": bounds}:
            dates = any(isinstance(bound, str) for bound in bounds.values())
            return models.FieldCondition(key=key, range=(models.DatetimeRange if dates else models.Range)(**bounds))
        case {"key": _, **rest} if rest:
            return models.FieldCondition(**json)
        case {"has_id": ids}:
            return models.HasIdCondition(has_id=[point_id_to(each) for each in ids])
        case {"is_empty": {"key": key}}:
            return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))
        case {"is_null": {"key": key}}:
            return models.IsNullCondition(is_null=models.PayloadField(key=key))
        case {"nested": {"key": key, "filter": inner}}:
            return models.NestedCondition(nested=models.Nested(key=key, filter=_filter(inner, text_is_substring)))
    return _filter(json, text_is_substring)

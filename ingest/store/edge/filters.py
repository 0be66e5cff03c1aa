"""Conversion of filters to the types of the embedded engine. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qdrant_edge as engine

from ingest.errors import ConfigurationError
from ingest.parameters import shown
from ingest.store.contract import Filter, RawFilter
from ingest.store.qdrant_filter import filter_json
from ingest.store.wire import point_id_to


def filter_to(filters: Sequence[Filter], among: Sequence[str] | None = None) -> engine.Filter | None:
    """Return filters, joined by AND, for the points with the ids `among` if it is given.

    Raises `ConfigurationError` for a raw filter that the engine does not support.
    """
    json = filter_json(filters, among)
    return None if json is None else _filter(json)


def _filter(json: dict[str, Any]) -> engine.Filter:
    must, should, must_not = (_conditions(json.get(clause)) for clause in ("must", "should", "must_not"))
    least = json.get("min_should")
    min_should = engine.MinShould(_conditions(least["conditions"]) or [], least["min_count"]) if least else None
    return engine.Filter(must, should, must_not, min_should)


def _conditions(parts: Any) -> list[engine.ConditionType] | None:
    """Return the conditions of a clause, which in a raw filter may be a single one."""
    if parts is None:
        return None
    return [_condition(each) for each in (parts if isinstance(parts, list) else [parts])]


def _condition(json: Any) -> engine.ConditionType:  # noqa: C901, PLR0911, PLR0912  one case a form
    match json:
        case RawFilter(value):
            return _filter(_raw_json(value))
        case {"key": key, "match": match}:
            return engine.FieldCondition(key, match=_match(match))
        case {"key": key, "range": bounds}:
            range_type: type[Any] = engine.RangeDateTime if _has_dates(bounds) else engine.RangeFloat
            return engine.FieldCondition(key, range=range_type(**bounds))
        case {"key": key, "values_count": bounds}:
            return engine.FieldCondition(key, values_count=engine.ValuesCount(**bounds))
        case {"key": key, "geo_radius": {"center": center, "radius": radius}}:
            return engine.FieldCondition(key, geo_radius=engine.GeoRadius(_place(center), radius))
        case {"key": key, "geo_bounding_box": {"top_left": one, "bottom_right": other}}:
            return engine.FieldCondition(key, geo_bounding_box=engine.GeoBoundingBox(_place(one), _place(other)))
        case {"key": key, "geo_polygon": polygon}:
            rings = [_ring(interior) for interior in polygon.get("interiors", ())]
            return engine.FieldCondition(key, geo_polygon=engine.GeoPolygon(_ring(polygon["exterior"]), rings))
        case {"is_empty": {"key": key}}:
            return engine.IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return engine.IsNullCondition(key)
        case {"nested": {"key": key, "filter": inner}}:
            return engine.NestedCondition(key, _filter(inner))
        case {"has_id": ids}:
            return engine.HasIdCondition({point_id_to(str(each)) for each in ids})
        case {"has_vector": name}:
            return engine.HasVectorCondition(name)
        case _ if json.keys() <= {"must", "should", "must_not", "min_should"}:
            return _filter(json)
    raise ConfigurationError(f"where: the embedded store does not support the condition {shown(json)}")


def _match(match: dict[str, Any]) -> Any:  # noqa: PLR0911  one case a form
    match match:
        case {"value": bool() as value}:  # the engine reads Python's True as 1, but not NumPy's
            import numpy as np  # noqa: PLC0415  see `ingest.records`

            return engine.MatchValue(np.bool_(value))  # type: ignore[arg-type]  # see above
        case {"value": value}:
            return engine.MatchValue(value)
        case {"any": values}:
            return engine.MatchAny(values)
        case {"except": values}:
            return engine.MatchExcept(values)
        case {"substring": text}:
            return engine.MatchSubstring(text)
        case {"text": text}:
            return engine.MatchText(text)
        case {"text_any": text}:
            return engine.MatchTextAny(text)
        case {"phrase": text}:
            return engine.MatchPhrase(text)
        case {"prefix": text}:
            return engine.MatchPrefix(text)
    raise ConfigurationError(f"where: the embedded store does not support the match {shown(match)}")


def _raw_json(value: Any) -> dict[str, Any]:
    """Return a filter of the client as JSON, without importing the client."""
    try:
        json: dict[str, Any] = value.model_dump(mode="json", by_alias=True, exclude_none=True)
    except AttributeError as exc:
        raise ConfigurationError(f"where: {shown(value)} is not a qdrant_client.models.Filter") from exc
    return json


def _has_dates(bounds: Mapping[str, Any]) -> bool:
    return any(isinstance(bound, str) for bound in bounds.values())


def _ring(line: dict[str, Any]) -> list[engine.GeoPoint]:
    return [_place(place) for place in line["points"]]


def _place(json: dict[str, float]) -> engine.GeoPoint:
    return engine.GeoPoint(lon=json["lon"], lat=json["lat"])

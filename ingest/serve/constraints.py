"""The constraints of requests beyond their types, as JSON Schema: patterns, filters, and options that go together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from ingest.parameters import MAX_WEIGHT
from ingest.store.payload_path import FIELD

NAME = {"type": "string", "minLength": 1, "pattern": "[A-Za-z0-9]"}
"""JSON Schema of the name of a collection. A name without a letter or a digit is none."""

NOT_BLANK: dict[str, Any] = {"pattern": r"\S"}

Text = Annotated[str, Field(min_length=1, json_schema_extra=NOT_BLANK)]
"""A text that is not blank."""

Path = Annotated[str, Field(min_length=1, json_schema_extra={"pattern": f"^{FIELD.pattern}$"})]
"""The path of a payload field."""

FilterText = Annotated[str, Field(json_schema_extra={"format": "filter"})]
"""A filter as text, in the grammar of `parse_expression`."""

BoostText = Annotated[str, Field(min_length=1, json_schema_extra={"format": "boost"})]
"""A boost as text, in the grammar of `Boost.of_text`."""

_FLOATS, _INTEGERS = 2**53, 2**63 - 1

_TEXT = {"type": "string", "format": "filter"}
_NUMBER = {"type": "number", "exclusiveMinimum": -_FLOATS, "exclusiveMaximum": _FLOATS}
_VALUE = {
    "anyOf": [{"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": -_INTEGERS, "maximum": _INTEGERS}, _NUMBER]
}
_VALUES = {"type": "array", "minItems": 1, "items": _VALUE}
_BOUND = {"anyOf": [_NUMBER, {"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}
_YES = {"type": "boolean"}
_TESTS: Mapping[str, Any] = {
    **dict.fromkeys(("any", "none"), _VALUES),
    "not": {"anyOf": [_VALUE, _VALUES]},
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _BOUND),
    **dict.fromkeys(("exists", "null", "missing"), _YES),
    "text": {"type": "string", "minLength": 1},
}
_TEST = {
    "anyOf": [
        {"type": "null"},
        _VALUE,
        _VALUES,
        {"type": "object", "minProperties": 1, "properties": _TESTS, "additionalProperties": False},
    ]
}
_PARTS = {"anyOf": [_TEXT, {"type": "array", "minItems": 1, "items": _TEXT}]}
_FILTER = {
    "type": "object",
    "description": "Field → value, list of values, or tests. Areas and conditions on objects in lists are written as text.",
    "properties": dict.fromkeys(("and", "or", "not"), _PARTS),
    "propertyNames": {"pattern": f"^{FIELD.pattern}$"},
    "additionalProperties": _TEST,
}
_WHERE = {"anyOf": [_TEXT, _FILTER, {"type": "array", "items": {"anyOf": [_TEXT, _FILTER]}}, {"type": "null"}]}

Where = Annotated[str | dict[str, Any] | list[str | dict[str, Any]] | None, WithJsonSchema(_WHERE)]
"""Filters as text, as mappings, or a list of them."""

_WEIGHT = {"type": "number", "minimum": 0, "maximum": MAX_WEIGHT}

Weights = Annotated[
    dict[str, float] | None,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "object", "propertyNames": NOT_BLANK, "additionalProperties": _WEIGHT},
                {"type": "null"},
            ]
        }
    ),
]
"""Vector → weight."""

COMBINATIONS: dict[str, Any] = {
    "allOf": [
        {
            "oneOf": [
                {"required": ["query"], "properties": {"query": {"type": "string"}, "like": {"type": "null"}}},
                {
                    "required": ["like"],
                    "properties": {"like": {"type": "string"}, "query": {"type": "null"}, "rerank": {"enum": ["auto", "off"]}},
                },
            ]
        },
        {
            "anyOf": [
                {"properties": {"group_size": {"const": 1}}},
                {"required": ["group_by"], "properties": {"group_by": {"type": "string"}}},
            ]
        },
        {"anyOf": [{"properties": {"diversity": {"const": 0}}}, {"properties": {"group_by": {"type": "null"}}}]},
    ]
}
"""The options of a search that go together: a query or `like`, a `group_size` of groups, `diversity` without groups."""


class Body(BaseModel):
    """The body of a request. Values are not guessed: `"5"` is no number. Only `5.0` is 5, as JSON Schema has it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _read_integers(cls, fields: Any) -> Any:
        if not isinstance(fields, dict):
            return fields
        return {name: int(each) if isinstance(each, float) and each.is_integer() else each for name, each in fields.items()}

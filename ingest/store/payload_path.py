"""Payload paths, as Qdrant writes them: `metadata.year`, `metadata."odd name"`, `metadata.items[].price`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_STEP = r'(?:[\w-]+|"[^"\\]*")(?:\[[0-9]{0,9}\])*'
FIELD = re.compile(rf"{_STEP}(?:\.{_STEP})*")
"""Qdrant's payload paths: names of letters, digits, `_` and `-` joined by dots, other names quoted, `[]` or `[0]` for lists."""

_PLAIN = re.compile(r"[\w-]+")
_NAME = re.compile(r'([\w-]+)|"([^"\\]*)"|\[([0-9]*)\]')


def is_field(text: str) -> bool:
    """Return whether a text is a payload path."""
    return FIELD.fullmatch(text) is not None


def paths_in(payload: Mapping[str, Any], below: str = "") -> Iterator[str]:
    """Yield the paths of all fields of a payload, those of nested objects included."""
    for name, value in payload.items():
        path = below + (name if _PLAIN.fullmatch(name) else f'"{name}"')
        if not is_field(path):
            continue
        yield path
        if isinstance(value, dict):
            yield from paths_in(value, f"{path}.")


def values_at(payload: object, field: str) -> list[Any]:
    """Return the values of a field in a payload, lists flattened once; nothing if it is missing, null or an empty list."""
    values = [payload]
    for step in _NAME.finditer(field):
        name = step[1] if step[1] is not None else step[2]
        if name is not None:
            values = [value[name] for value in values if isinstance(value, dict) and name in value]
        elif step[3]:
            values = [value[int(step[3])] for value in values if isinstance(value, list) and len(value) > int(step[3])]
        else:
            values = [item for value in values if isinstance(value, list) for item in value]
    flat = (item for value in values for item in (value if isinstance(value, list) else [value]))
    return [item for item in flat if item is not None]

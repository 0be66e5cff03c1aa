"""YAML as it is written: dates, versions such as 1.10 and codes such as 007 stay text."""

from __future__ import annotations

import re
from typing import Any

import yaml

_DEEPEST = 100
"""Levels; the parsers recurse."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The loader in C, ten times as fast, where PyYAML was built with it."""


class OtherTag:
    """A value with a tag of an application, such as `!Ref`, whose meaning is unknown."""


class _Loader(_Base):  # type: ignore[misc]  # chosen when it is run
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  as in the base class

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(names) != len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise yaml.YAMLError(f"the name {twice!r} is there twice in one mapping")
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"0|-?[1-9][0-9]{0,18}", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]{0,14})\.(?:0|[0-9]{0,14}[1-9])", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)
_Loader.add_constructor(None, lambda _loader, _node: OtherTag())


def load_yaml(text: str) -> list[Any]:
    """Return the documents in a text; numbers and booleans that name a field at the top become text.

    Raises `yaml.YAMLError` for malformed text, aliases (a few of them in one another can stand for gigabytes), a name that is
    there twice, and more than 100 levels; `ValueError` for a value that is not what its tag says.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"it has aliases, such as *{event.anchor}: write out what they stand for")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
    documents = list(yaml.load_all(text, _Loader))
    return [{_name(key): value for key, value in each.items()} if isinstance(each, dict) else each for each in documents]


def _name(name: Any) -> Any:
    return str(name) if isinstance(name, bool | int | float) else name

"""Front matter: the YAML between `---` or the TOML between `+++` at the start of a Markdown file."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from ingest.source.fields import Unusable, plain_metadata

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LONGEST = 2**16
"""Characters. What is longer is text."""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the facts of the front matter, and the text behind it. What is not a table of facts is left in the text."""
    found = _FRONT_MATTER.match(text, 0, _LONGEST)
    if found is None:
        return {}, text
    try:
        facts = tomllib.loads(found[2]) if found[1] == "+++" else yaml.load(found[2], _Loader)  # noqa: S506  a safe loader
        if facts is not None and not isinstance(facts, dict):
            return {}, text
        return plain_metadata({_text(name): value for name, value in (facts or {}).items()}), text[found.end() :].lstrip("\n")
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError, Unusable):
        return {}, text


def _text(name: Any) -> Any:
    return str(name) if isinstance(name, bool | int | float) else name


class _Loader(yaml.SafeLoader):
    """A loader that keeps dates, versions such as 1.10 and codes such as 007 as the text they are, and refuses aliases."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  as in the base class

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: a few of them in one another can stand for gigabytes."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not supported")
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"0|-?[1-9][0-9]{0,18}", list("-0123456789")),
    ("float", r"-?(?:0|[1-9][0-9]{0,14})\.(?:0|[0-9]{0,14}[1-9])", list("-0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)

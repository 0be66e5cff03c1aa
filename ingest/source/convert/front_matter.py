"""Front matter: the YAML between `---` or the TOML between `+++` at the start of a Markdown file."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import yaml

from ingest.source.fields import Unusable, plain_metadata
from ingest.source.yaml_text import load_yaml

_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\n(.*?)^(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_LONGEST = 2**16
"""Characters. What is longer is text."""


def split_front_matter(text: str) -> tuple[dict[str, Any], str]:
    """Return the facts of the front matter, and the text behind it. What is not a table of facts is left in the text."""
    found = _FRONT_MATTER.match(text, 0, _LONGEST)
    if found is None:
        return {}, text
    try:
        facts = tomllib.loads(found[2]) if found[1] == "+++" else next(iter(load_yaml(found[2])), None)
        if facts is not None and not isinstance(facts, dict):
            return {}, text
        return plain_metadata(facts or {}), text[found.end() :].lstrip("\n")
    except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError, Unusable):
        return {}, text

"""Secrets in texts that are logged or printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SECRET_PART = re.compile(r"(?<=://)[^/]*(?=@)|(?<=\?).+=.*")
"""The user, password and query of a location."""

_SECRET_OPTION = re.compile(
    r".*(key|token|secret|bearer|credentials?|pass(word|wd|phrase)|pwd)|(.*_)?(auth\w*|headers?)", re.IGNORECASE
)
"""An option under which somebody may have written a key, although no model has it."""

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""The name of an environment variable, which is all that `api_key_env` may be."""


def without_secrets(text: str) -> str:
    """Return the text without the logins and queries of the URLs in it."""
    return re.sub(r"://[^/\s'\"]*@", "://", re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text))


def shown_location(location: str) -> str:
    """Return a location for people, with `***` in place of its login and query."""
    return _SECRET_PART.sub("***", location)


def shown_option(option: str, value: Any) -> Any:
    """Return the value of a model's option for people, `***` if it may be a key in a wrong place."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Mapping) and not _SECRET_OPTION.fullmatch(option):
        return {name: shown_option(str(name), each) for name, each in value.items()}
    if _SECRET_OPTION.fullmatch(option) or (option == "api_key_env" and not VARIABLE.fullmatch(str(value))):
        return "***"
    return shown_location(value) if isinstance(value, str) else value

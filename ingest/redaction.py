"""Secrets in texts that are logged or printed."""

from __future__ import annotations

import re


def without_secrets(text: str) -> str:
    """Return the text without the logins and queries of the URLs in it."""
    return re.sub(r"://[^/\s'\"]*@", "://", re.sub(r"(://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text))

"""Real text that every Python carries: a part of the language reference."""

from __future__ import annotations

from pydoc_data.topics import topics
from typing import Any


def python_topics(count: int, characters: int = 1500) -> list[dict[str, Any]]:
    """The first `characters` of `count` topics, as records."""
    names = sorted(topics)[:count]
    return [
        {"id": name, "title": name, "text": topics[name][:characters], "metadata": {"length": len(topics[name])}}
        for name in names
    ]

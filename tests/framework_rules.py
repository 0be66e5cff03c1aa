"""A collection of three rules, for the adapters of frameworks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ingest

RULES = [
    {"id": "refunds", "text": "The head of support approves refunds.", "title": "Refunds", "lang": "en"},
    {"id": "leave", "text": "Every employee has thirty days of leave.", "lang": "en"},
    {"id": "laptops", "text": "Laptops are encrypted.", "lang": "de"},
]


@contextmanager
def synced_rules(folder: Path) -> Iterator[ingest.Collection]:
    with ingest.Collection("rules", store=folder / "store", models=["bm25"], state=folder) as opened:
        opened.sync(RULES, name="rules")
        yield opened

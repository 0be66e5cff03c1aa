"""Asking a collection.

searcher    the question to every vector, the answers to hits
fusion      rankings of several vectors → one: pure
"""

from __future__ import annotations

from ingest.search.searcher import Searcher

__all__ = ["Searcher"]

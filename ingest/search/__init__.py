"""Asking a collection.

searcher    opens a collection and follows its alias                question what can be asked: pure
view        one collection: every vector queried, rankings to hits  members  the models that made it
rerank      the best candidates read again by a cross-encoder       fusion   rankings of several vectors → one: pure
evaluate    how good it is, on judged questions                     beir     … which are read from a folder
metrics     … and scored by a library                               tuning   weights that score best: pure
"""

from __future__ import annotations

from ingest.search.rerank import Answer, RerankPipeline
from ingest.search.searcher import Searcher

__all__ = ["Answer", "RerankPipeline", "Searcher"]

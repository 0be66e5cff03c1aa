"""Search a collection.

searcher    opens a collection and follows its alias                request  the parameters of a search: pure
view        one collection: queries every vector, makes the hits    models   the models that made the collection
rerank      scores the best candidates with a cross-encoder         fusion   rankings of several vectors into one: pure
evaluate    measures a collection on judged queries                 beir     … read from a folder
metrics     … scored by ir-measures                                 tuning   finds the best weights: pure
"""

from __future__ import annotations

from ingest.search.rerank import Answer, RerankPipeline
from ingest.search.searcher import Searcher

__all__ = ["Answer", "RerankPipeline", "Searcher"]

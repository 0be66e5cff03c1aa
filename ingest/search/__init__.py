"""Search a collection.

searcher      opens a collection for applications                     request   the parameters of a search: pure
current_view  follows the name of a collection                        view      one collection: queries every vector, makes hits
models        the models that made a collection                       sigma     the scale of a dense vector's scores
fusion        rankings of several vectors into one: pure              feedback  moves a query toward what it found: pure
grouping      groups of candidates with a value in common: pure       rerank    scores the best candidates with a cross-encoder
evaluate      measures a collection on judged queries                 beir      … read from a folder
metrics       … scored by ir-measures                                 tuning    finds the best weights: pure
gate          accepts a reindexed collection on judged queries        fields    sentences about the fields of a filter
"""

from __future__ import annotations

from ingest.search.rerank import Answer, RerankPipeline
from ingest.search.searcher import Searcher

__all__ = ["Answer", "RerankPipeline", "Searcher"]

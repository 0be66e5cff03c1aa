"""Search a collection.

searcher      opens a collection for applications                     request   the parameters of a search: pure
current_view  follows the name of a collection                        view      one collection: queries every vector, makes hits
opening       a searcher as options of encoding have it
models        the models that made a collection                       sigma     the scale of a dense vector's scores
fusion        rankings of several vectors into one: pure              feedback  moves a query toward what it found: pure
grouping      groups of candidates with a value in common: pure       rerank    scores the best candidates with a cross-encoder
evaluate      measures a collection on judged queries                 beir      … read from a folder
metrics       … scored by ir-measures                                 tuning    finds the best weights: pure
gate          accepts a reindexed collection on judged queries        candidates  the candidates of encoded queries
fields        sentences about the fields of a filter                  shown     which points are shown
order         boosts and diversity: pure                              like      stored vectors as a query: pure
snippets      the best passage of a hit: pure                         facets    counts of the values of a field
tenant        the points of one tenant                                why       why a document is not in an answer
self_test     a verdict without judged queries                    known_items  queries made from chunks: pure
document      a stored document with its chunks
"""

from __future__ import annotations

from ingest.search.answer import Answer
from ingest.search.rerank import RerankPipeline
from ingest.search.searcher import Searcher

__all__ = ["Answer", "RerankPipeline", "Searcher"]

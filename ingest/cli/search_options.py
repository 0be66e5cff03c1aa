"""The options of a search, shared by the commands `search` and `why`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

import typer

from ingest.cli import options
from ingest.search.fusion import FusionMethod
from ingest.search.late import LateMode
from ingest.search.request import SearchOptions
from ingest.search.rerank import RerankMode

Limit = Annotated[int, typer.Option("--limit", "-n", help="Most hits of the page, or most groups: 1 to 1,000.")]
Where = Annotated[
    list[str] | None,
    typer.Option(
        "--where", help="Filter that every hit meets, such as 'metadata.year>=2020 and not metadata.lang=en'. Repeatable."
    ),
]
Offset = Annotated[int, typer.Option("--offset", help="Number of hits to skip: 10 begins with the second ten.")]
ScoreThreshold = Annotated[float | None, typer.Option("--score-threshold", help="Least score of a hit.", show_default=False)]
MinRankVectors = Annotated[
    int, typer.Option("--min-rank-vectors", help="Least number of vectors that found a hit among their best hundred.")
]
Group = Annotated[bool, typer.Option("--group", help="Only the best chunk of each document: the same as --group-by doc_id.")]
GroupBy = Annotated[
    str | None,
    typer.Option("--group-by", help="Group hits by a payload field: doc_id, metadata.author. --limit counts groups."),
]
GroupSize = Annotated[int, typer.Option("--group-size", help="Most hits of a group: 1 to 100.")]
Boost = Annotated[
    list[str] | None,
    typer.Option(
        "--boost",
        help="Field that raises scores: metadata.date:30d (half-life), metadata.stars:0..5*0.5 (range, weight). Repeatable.",
    ),
]
Diversity = Annotated[float, typer.Option("--diversity", help="How much hits like those before them go down, 0 to 1.")]


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """The options that decide which hits an answer has. The library checks their values."""

    limit: Limit = 10
    where: Where = None
    vectors: options.Vectors = None
    late: options.Late = "rerank"
    fusion: options.Fusion = "scores"
    feedback: options.Feedback = True
    offset: Offset = 0
    score_threshold: ScoreThreshold = None
    min_rank_vectors: MinRankVectors = 1
    group: Group = False
    group_by: GroupBy = None
    group_size: GroupSize = 1
    boost: Boost = None
    diversity: Diversity = 0.0

    def chosen(self, rerank: RerankMode) -> SearchOptions:
        """Return the options as `Collection.search` takes them."""
        return {
            "limit": self.limit,
            "where": self.where,
            "vectors": None if self.vectors is None else [name.strip() for name in self.vectors.split(",")],
            "late": cast("LateMode", self.late),
            "fusion": cast("FusionMethod", self.fusion),
            "feedback": self.feedback,
            "offset": self.offset,
            "score_threshold": self.score_threshold,
            "min_rank_vectors": self.min_rank_vectors,
            "group_by": "doc_id" if self.group and self.group_by is None else self.group_by,
            "group_size": self.group_size,
            "boost": self.boost or (),
            "diversity": self.diversity,
            "rerank": rerank,
        }

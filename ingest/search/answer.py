"""The results of a search: an answer, and the details of its reranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from ingest.records import Hit


@dataclass(frozen=True, slots=True)
class RerankResult:
    """Hits in the reranker's order, best first.

    Attributes:
        hits: hits whose `score` and `rerank_score` are the model's score. Higher is better; comparable within one model only.
            The score of a CrossEncoder is what `CrossEncoder.predict` returns for the pair, with the model's own activation: 0 to
            1 for a sigmoid (the library's default, and `bge-reranker-v2-m3`), any number without one (`ms-marco-minilm-l6`: about
            -11 to 11, where more than 0 means more likely relevant than not). `coderank-bi-encoder` and `jina-reranker-v3` return
            cosines, -1 to 1. Ties keep their order.
        model: registry key of the reranker.
        device: device that computed the scores: `cuda:0`, `cpu`.
        fallback: why it was not one of the pipeline's devices, one sentence; None if it was.
        candidates: number of hits that were scored.
        seconds: time for the query, including waiting for other queries and the lease and, the first time, loading.
    """

    hits: tuple[Hit, ...]
    model: str
    device: str
    fallback: str | None
    candidates: int
    seconds: float

    @property
    def candidates_per_second(self) -> float:
        return self.candidates / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Answer(Sequence[Hit]):
    """The results of one query: a sequence of hits, best first.

    Attributes:
        hits: the hits, best first.
        reranked: whether a reranker set the order; otherwise it is the fused one.
        note: one sentence for the user: why the hits were not reranked, or not on the device they should have been. Or None.
        missing_reranker: registry key of the reranker that is not on this machine, if the hits are therefore not reranked.
        details: details of the reranking, or None.
        feedback_seconds: time of the second query with feedback, or None without it.
        facets: payload field → value as text → number of chunks, for the requested fields, the most frequent first.
        warnings: likely mistakes in the request, one sentence each, such as a condition on a field that no chunk has.
    """

    hits: tuple[Hit, ...]
    reranked: bool
    note: str | None = None
    details: RerankResult | None = None
    warnings: tuple[str, ...] = ()
    facets: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    feedback_seconds: float | None = field(default=None, compare=False)
    missing_reranker: str | None = None

    @overload
    def __getitem__(self, index: int) -> Hit: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Hit]: ...

    def __getitem__(self, index: int | slice) -> Hit | Sequence[Hit]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

"""Gates for a collection that is to replace another: it must rank judged queries, or queries of its own, about as well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from ingest.errors import ConfigurationError, IngestError, ManifestMismatchError, ModelError, UnknownModelError
from ingest.parameters import checked, parse_boolean, parse_number
from ingest.search.evaluate import evaluate
from ingest.search.searcher import Searcher
from ingest.search.self_test import run_self_test

LEAST_QUERIES = 30
"""Queries from which a self-test has a verdict."""

MOST_LOSS = 0.02
"""Loss of MRR@10 in a self-test up to which a collection may replace another."""

ERRORS = 2
"""Standard errors that a loss must exceed: less is as likely chance."""

logger = logging.getLogger(__name__)


def choose_gate(
    open_searcher: Callable[[str], Searcher], name: str, golden: str | Path | None, min_ratio: float, *, self_test: bool
) -> Callable[[str, str], None] | None:
    """Return the gate by judged queries if there are any, else by a self-test, or None if that is not wanted.

    Args:
        open_searcher: name of a collection → a searcher of it.
        name: the collection in use.
        golden: folder of judged queries, of whose present nDCG@10 the new collection must reach `min_ratio`.
        self_test: whether, without `golden`, the new collection must find its own chunks as well, see `SelfTestGate`.

    Raises as `QualityGate` does.
    """
    if golden is not None:
        return QualityGate(open_searcher, name, golden, min_ratio)
    return SelfTestGate(open_searcher, name) if checked("self_test", parse_boolean, self_test) else None


class QualityGate:
    """A minimum for the nDCG@10 of a new collection, relative to that of the collection in use.

    The collection in use is measured at once, so that nothing is built for queries that cannot be used.

    Args:
        open_searcher: name of a collection → a searcher of it.
        name: the collection in use.
        beir_dir: judged queries in the BEIR layout.
        min_ratio: share of the present nDCG@10 of the fused results that the new collection must reach.

    Raises as `evaluate` does, and `ConfigurationError` if the models of the collection in use are not configured.
    """

    def __init__(
        self, open_searcher: Callable[[str], Searcher], name: str, beir_dir: str | Path, min_ratio: float = 0.98
    ) -> None:
        self._open_searcher, self._name, self._beir_dir = open_searcher, name, beir_dir
        self._min_ratio = checked("min_ndcg_ratio", parse_number, min_ratio)
        try:
            self._before = self._ndcg_10(name)
        except (ManifestMismatchError, UnknownModelError) as exc:
            raise ConfigurationError(
                f"--golden compares with the collection in use, whose models are not those that are configured now ({exc}): give"
                " the new model a name of its own so that both are available, or leave --golden out"
            ) from exc

    def __call__(self, _: str, new: str) -> None:
        """Raise `IngestError` if the collection `new` does not rank well enough."""
        after = self._ndcg_10(new)
        if after < self._min_ratio * self._before:
            raise IngestError(
                f"{self._name} was not swapped: the new collection reaches nDCG@10 {after:.4f}, less than {self._min_ratio:g} of"
                f" the {self._before:.4f} it has now; the new collection is kept as {new}: try other models, or lower"
                " --min-ndcg-ratio"
            )

    def _ndcg_10(self, collection: str) -> float:
        """Return the nDCG@10 of the fused results."""
        rows = evaluate(self._open_searcher(collection), self._beir_dir).rows
        return next(row.scores.ndcg_10 for row in rows if row.name == "fused")


class SelfTestGate:
    """A gate for collections without judged queries: the new one must find the chunks by queries made from them about as well.

    It compares the fused results, see `run_self_test`, and lets a collection pass that it cannot test: one with fewer than
    `LEAST_QUERIES` queries, or whose present models are no longer available.

    Args:
        open_searcher: name of a collection → a searcher of it.
        name: the collection in use.
    """

    def __init__(self, open_searcher: Callable[[str], Searcher], name: str) -> None:
        self._open_searcher, self._name = open_searcher, name

    def __call__(self, _: str, new: str) -> None:
        """Raise `IngestError` if the collection `new` finds its chunks less well."""
        try:
            tested = run_self_test(self._open_searcher(self._name), against=self._open_searcher(new))
        except (ConfigurationError, ModelError) as exc:
            logger.warning("%s is swapped without a self-test: %s", self._name, exc)
            return
        loss = tested.change
        if loss is None or tested.queries < LEAST_QUERIES or loss.value >= -max(MOST_LOSS, ERRORS * loss.error):
            return
        raise IngestError(
            f"{self._name} was not swapped: on {tested.queries} queries made from its chunks, the new collection has an MRR@10"
            f" that is lower by {-loss.value:.3f} ± {loss.error:.3f}; the new collection is kept as {new}: try other models,"
            " judge queries for --golden, or pass --no-self"
        )

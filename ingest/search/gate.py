"""A gate for a collection that is to replace another: it must rank judged queries about as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ingest.errors import ConfigurationError, IngestError, ManifestMismatchError, UnknownModelError
from ingest.parameters import checked, parse_number
from ingest.search.evaluate import evaluate
from ingest.search.searcher import Searcher


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

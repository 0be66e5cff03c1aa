"""What a long title costs: it is read once for each chunk that stores it, never once for each of its characters."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from counting import count_calls
from verify_bench import BOOK, Bench, set_fields

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.records import Document
from ingest.reindex.reindex import reindex
from ingest.store.edge.store import EdgeStore
from ingest.testing import HashEncoder, ListSource

CUT = 500
"""Characters of a title that is too long for its share of a chunk, and cut."""


def book(characters: int) -> ListSource:
    return ListSource([Document("book", BOOK, title=("Title " * characters)[:characters])])


def verify(bench: Bench, source: ListSource) -> None:
    assert bench.verify(source, sample="all").clean


def repair(bench: Bench, source: ListSource) -> None:
    """Nothing tells what an edited chunk was encoded from."""
    for point in bench.stored().values():
        set_fields(text="edited")(bench.store, bench.collection, point)
    assert bench.verify(source, repair=True, sample="all").repaired
    assert bench.verify(source, sample="all").clean


def build_anew(bench: Bench, _source: ListSource) -> None:
    models = [*bench.models()[:1], HashEncoder("third", 4)]
    with BatchRunner(models, lease_directory=bench.folder / "leases") as runner:
        made = reindex(bench.job(), store=bench.store, ensemble=Ensemble(runner))
    assert made.encoded == {"third": made.points}


@pytest.mark.parametrize("work", [verify, repair, build_anew])
def test_a_longer_title_takes_no_more_steps(tmp_path: Path, work: Callable[[Bench, ListSource], None]) -> None:
    steps = []
    for characters in (CUT, 16 * CUT):
        folder = tmp_path / str(characters)
        with EdgeStore(folder / "qdrant") as store:
            bench = Bench(store, folder)
            source = book(characters)
            assert bench.run(source).balanced
            assert all(len(text.partition("\n")[0]) < CUT for text in bench.first.encoded)
            steps.append(count_calls(partial(work, bench, source)))
    assert steps[1] < 2 * steps[0]

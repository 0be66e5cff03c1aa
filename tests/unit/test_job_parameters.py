"""A job made in Python means what it says, whatever types it is said in, or is refused before anything is touched."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from sync_bench import SyncBench, counts, document

from ingest import Job
from ingest.errors import ConfigurationError, DeletionBrakeError
from ingest.store.edge.store import EdgeStore
from ingest.sync.plan import DeleteMode
from ingest.sync.preview import preview_job
from ingest.testing import HashEncoder, ListSource


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    with EdgeStore(tmp_path / "qdrant") as store:
        yield SyncBench(store, "docs", tmp_path)


def plain(text: str) -> str:
    """A text that is equal to the enumeration's value and not the same object."""
    return "".join(list(text))


def test_the_delete_mode_as_text_deletes_what_it_says(bench: SyncBench) -> None:
    whole, edited = [document("a", "ab"), document("b", "c")], [document("a", "a")]
    bench.run(whole)
    assert counts(bench.run(edited, delete=plain("none"), max_delete=1.0)) == {"read": 1, "updated": 1}
    assert len(bench.stored()) == 3, "nothing is deleted, stale chunks included"
    assert counts(bench.run(edited, delete=plain("incremental"))) == {"read": 1, "updated": 1}
    assert len(bench.stored()) == 2, "the stale chunk is deleted"
    job = bench.job(delete=plain("full"), max_delete=1.0)
    preview = preview_job(job, [ListSource(edited)], store=bench.store, models=[HashEncoder("hash", 8)])
    assert preview.deleted == 1
    assert counts(bench.run(edited, delete=plain("full"), max_delete=1.0)) == {"read": 1, "unchanged": 1, "deleted": 1}
    assert bench.live() == {"a"}


def test_a_share_is_compared_exactly(bench: SyncBench) -> None:
    documents = [document(f"d{number}", "a") for number in range(100)]
    bench.run(documents)
    for share in (0.28, "28%", Fraction(28, 100)):
        with pytest.raises(DeletionBrakeError, match=r"29 of the 100 documents .* more than the allowed 28%"):
            bench.run(documents[29:], delete="full", max_delete=share)
    assert counts(bench.run(documents[29:], delete="full", max_delete=0.29))["deleted"] == 29


def test_equal_ways_to_say_a_thing_make_equal_jobs() -> None:
    assert Job("docs", delete="full") == Job("docs", delete=DeleteMode.FULL)
    assert Job("docs", delete_after="7d") == Job("docs", delete_after=7 * 86_400) == Job("docs", delete_after=timedelta(days=7))
    assert Job("docs", max_delete=0.29) == Job("docs", max_delete="29%") == Job("docs", max_delete=Fraction(29, 100))


def test_a_job_can_be_changed_copied_and_sent_to_another_process() -> None:
    job = Job("docs", delete="full", delete_after="1h", max_delete="29%", weights={"a": 2})
    assert replace(job, accept_fingerprints=True) != job
    assert replace(replace(job, accept_fingerprints=True), accept_fingerprints=False) == job
    assert pickle.loads(pickle.dumps(job)) == job
    with pytest.raises(ConfigurationError, match=r"^max_delete: Fraction\(2, 1\) is not a share"):
        replace(job, max_delete=Fraction(2))


def test_a_job_does_not_change_with_what_it_was_made_from() -> None:
    weights = {"a": 2.0}
    job = Job("docs", weights=weights)
    weights["a"] = -1.0
    assert job.weights == {"a": 2.0}


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("collection", [None, "", " ", 3, b"docs"], "text"),
        ("delete", ["ful", "FULL", "", None, True, 1], "one of none, incremental, full"),
        ("delete_after", ["7 days", "soon", -1, math.nan, math.inf, True, []], "90s, 15m, 6h"),
        ("delete_after", ["7"], "write 7s (seconds), 7m (minutes), 7h (hours) or 7d (days)"),
        ("max_delete", [20, "50", "lots", -0.1, math.nan, math.inf, True, None, "101%"], "a share from 0% to 100%"),
        ("chunking", [None, 512, {"tokens": 512}], "ChunkingOptions"),
        ("weights", [None, 2, {"a": 0}, {"a": -1}, {"a": math.nan}, {"a": "2"}, {"a": True}], ""),
        ("aliases", [None, "docs", {"a": None}, {"a": ""}], ""),
        ("options", [None, {}], "CollectionOptions"),
        ("bounds", [None, 2048], "WindowBounds"),
        ("distance", ["Cosine", "l2", None, 1], "one of cosine, dot, euclid, manhattan"),
        ("accept_fingerprints", [None, "yes", 1], "neither True nor False"),
    ],
)
def test_what_a_job_cannot_mean_is_refused_by_name_and_value(name: str, values: list[Any], allowed: str) -> None:
    for value in values:
        with pytest.raises(ConfigurationError) as raised:
            Job(**{"collection": "docs", name: value})
        message = str(raised.value)
        shown = next(iter(value.values())) if isinstance(value, dict) and value else value
        assert message.startswith(f"{name}: ")
        assert repr(shown) in message
        assert allowed in message
        assert "\n" not in message


def test_a_collection_name_of_nothing_that_counts_is_refused_when_the_job_is_made() -> None:
    with pytest.raises(ConfigurationError, match="is no collection name"):
        Job("???")


def test_a_weight_of_a_vector_that_the_job_does_not_write_is_refused(bench: SyncBench) -> None:
    with pytest.raises(ConfigurationError, match=r"^weights: 'bm25' is not one of hash$"):
        bench.run([document("a", "a")], weights={"bm25": 2.0})
    assert not bench.store.collections()

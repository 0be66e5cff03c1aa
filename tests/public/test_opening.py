"""A collection checks its arguments at once, and opens its store when a method first needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ingest

FRUIT = [{"id": str(n), "text": f"Document {n} is about {word}."} for n, word in enumerate(["marmalade", "turbines", "glaciers"])]


@pytest.fixture
def fruit(tmp_path: Path) -> ingest.Collection:
    return ingest.Collection("fruit", store=tmp_path / "store", models=["bm25"], state=tmp_path / "state")


def test_a_check_opens_nothing(fruit: ingest.Collection, tmp_path: Path) -> None:
    fruit.check(FRUIT, name="fruit", delete="full", delete_after="7d")
    wrong: list[dict[str, Any]] = [{"delete": "ful"}, {"max_delete": 20}, {"moved_from": "fruit"}]
    for options in wrong:
        with pytest.raises(ingest.ConfigurationError):
            fruit.check(FRUIT, name="fruit", **options)
    with pytest.raises(ingest.SourceError):
        fruit.check(tmp_path / "missing")
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_is_left_open_ends_in_silence(tmp_path: Path) -> None:
    left_open = f"""
import ingest

fruit = ingest.Collection("fruit", store={str(tmp_path / "store")!r}, models=["bm25"], state={str(tmp_path / "state")!r})
print(fruit.upsert({FRUIT!r}, source="fruit").written)
"""
    done = subprocess.run([sys.executable, "-c", left_open], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("3\n", "")


def test_an_export_opens_no_store(fruit: ingest.Collection, tmp_path: Path) -> None:
    assert fruit.export(FRUIT, tmp_path / "vectors", name="fruit").written == 3
    assert not (tmp_path / "store").exists()


def test_a_cluster_needs_a_server(tmp_path: Path) -> None:
    with pytest.raises(ingest.ConfigurationError, match="needs a Qdrant server"):
        ingest.Collection("fruit", store=tmp_path / "store", cluster=ingest.ClusterOptions())


def test_a_monitor_receives_the_events_of_a_run(tmp_path: Path) -> None:
    monitor = ingest.ThroughputMonitor()
    with ingest.Collection(
        "fruit", store=tmp_path / "store", models=["bm25"], state=tmp_path / "state", monitor=monitor
    ) as fruit:
        fruit.sync(FRUIT, name="fruit")
        assert (monitor.documents, {report.key for report in monitor.model_reports()}) == ((3, 3), {"bm25"})


def test_what_a_sync_measures_estimates_the_next(fruit: ingest.Collection) -> None:
    with fruit:
        assert fruit.plan(FRUIT, name="fruit").estimate.unmeasured == ("bm25",)
        fruit.sync(FRUIT, name="fruit")
        assert fruit.plan([*FRUIT, {"id": "3", "text": "More."}], name="fruit").estimate.seconds is not None


def test_sources_are_listed_and_forgotten_and_a_collection_is_dropped(fruit: ingest.Collection) -> None:
    with fruit:
        fruit.sync(FRUIT, name="fruit")
        fruit.sync([{"id": "a", "text": "Another document."}], name="other")
        assert {source.name: source.points for source in fruit.sources()} == {"fruit": 3, "other": 1}
        assert fruit.forget("fruit").deleted == 3
        assert [source.name for source in fruit.sources()] == ["other"]
        assert fruit.drop().points == 1
        with pytest.raises(ingest.CollectionNotFoundError):
            fruit.info()


def test_a_collection_is_dropped_only_as_it_is_spelled(tmp_path: Path) -> None:
    with ingest.Collection("Fruit", store=tmp_path / "store", models=["bm25"], state=tmp_path / "state") as fruit:
        fruit.sync(FRUIT, name="fruit")
        with pytest.raises(ingest.ConfigurationError, match="another spelling of fruit"):
            fruit.drop()
        assert fruit.info().points == 3

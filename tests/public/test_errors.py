"""What cannot be done is refused where it enters, and nothing happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ingest


def test_an_unknown_model_is_refused_before_the_store_is_opened(tmp_path: Path) -> None:
    with pytest.raises(ingest.UnknownModelError, match="no-such-model"):
        ingest.Collection("x", store=tmp_path / "store", models=["no-such-model"])
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("wrong", [{"delete": "ful"}, {"max_delete": 20}, {"max_delete": -0.1}, {"delete_after": -5}])
def test_a_value_that_cannot_be_meant_is_refused(
    handbook: ingest.Collection, rules: list[dict[str, Any]], wrong: dict[str, Any]
) -> None:
    with pytest.raises(ingest.ConfigurationError, match=next(iter(wrong))):
        handbook.sync(rules, name="rules", **wrong)
    with pytest.raises(ingest.CollectionNotFoundError):
        handbook.info()


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": 7},
        {"store": 7},
        {"models": [7]},
        {"layout": {"on_disk": True}},
        {"index": "year"},
        {"encoding": {"devices": ["cpu"]}},
        {"cluster": "local"},
        {"monitor": print},
        {"aliases": "handbook"},
        {"state": None},
    ],
)
def test_an_argument_of_another_type_is_refused_at_once(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ingest.ConfigurationError):
        ingest.Collection(**{"name": "handbook", "store": tmp_path / "store", **wrong})
    with pytest.raises(ingest.ConfigurationError, match="location: None"):
        ingest.open_store(None)  # type: ignore[arg-type]  # not a folder called None


def test_a_switch_that_is_neither_on_nor_off_is_refused(
    handbook: ingest.Collection, rules: list[dict[str, Any]], tmp_path: Path
) -> None:
    handbook.sync(rules[:1], name="rules")
    no: Any = "no"
    with pytest.raises(ingest.ConfigurationError, match="repair: 'no'"):
        handbook.verify(rules, name="rules", repair=no)
    with pytest.raises(ingest.ConfigurationError, match="in_place: 'no'"):
        handbook.reindex(in_place=no)
    with pytest.raises(ingest.ConfigurationError, match="keep_old: None"):
        handbook.reindex(keep_old=None)  # type: ignore[arg-type]
    wrong: list[dict[str, Any]] = [{"dry_run": 0}, {"accept_rejects": 0}]
    for each in wrong:
        with pytest.raises(ingest.ConfigurationError, match=f"{next(iter(each))}: 0"):
            handbook.adopt("other", **each)
    with pytest.raises(ingest.ConfigurationError, match="rejects: 7"):
        handbook.sync(rules, name="rules", rejects=7)  # type: ignore[arg-type]
    for directory in (None, ""):
        with pytest.raises(ingest.ConfigurationError, match="is not a path"):
            handbook.load(directory)  # type: ignore[arg-type]
    assert handbook.info().points == 1


def test_a_source_that_is_not_there_is_refused(handbook: ingest.Collection, tmp_path: Path) -> None:
    with pytest.raises(ingest.SourceError, match="nowhere"):
        handbook.sync(tmp_path / "nowhere")


def test_other_models_than_those_of_the_collection_are_refused(rules: list[dict[str, Any]], tmp_path: Path) -> None:
    place: dict[str, Any] = {"store": tmp_path / "store", "state": tmp_path / "state"}
    with ingest.Collection("handbook", models=["bm25"], **place) as handbook:
        handbook.sync(rules, name="rules")
    with (
        ingest.Collection("handbook", models=["all-miniLM-l6", "bm25"], **place) as other,
        pytest.raises(ingest.ManifestMismatchError, match="reindex"),
    ):
        other.sync(rules, name="rules")


def test_every_error_is_an_ingest_error() -> None:
    raised = [getattr(ingest, name) for name in ingest.__all__ if name.endswith("Error")]
    assert len(raised) > 10
    assert all(issubclass(error, ingest.IngestError) for error in raised)

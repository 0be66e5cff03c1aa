"""An `EnsembleConfig` says which models make a collection, what they weigh, and whose the devices are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_models import DIM, tiny_dense

import ingest
from ingest.testing import HashEncoder

RULES = [{"id": str(n), "text": f"Rule {n} is about {word}."} for n, word in enumerate(["marmalade", "turbines", "glaciers"])]


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    own = {"tiny": {"path": str(tiny_dense(tmp_path / "tiny")), "dim": DIM, "max_tokens": 256}}
    encoding = ingest.EncodingOptions(custom_models=own, devices=("cpu",), lease_directory=tmp_path / "leases")
    return {"store": tmp_path / "store", "state": tmp_path / "state", "encoding": encoding}


def test_its_weights_are_those_of_the_manifest_and_of_every_search(options: dict[str, Any]) -> None:
    config = ingest.EnsembleConfig(("tiny", "bm25"), {"bm25": 50.0}, exclusive_mode=False)
    with ingest.Collection("rules", models=config, **options) as rules:
        rules.sync(RULES, name="rules")
        assert rules.info().weights == {"bm25": 50.0}
        for query, id_ in (("marmalade", "0"), ("turbines", "1"), ("glaciers", "2")):
            assert rules.search(query)[0].doc_id == id_
        weighed, equal = rules.search("turbines"), rules.search("turbines", weights={"tiny": 1.0, "bm25": 1.0})
        assert weighed[0].fused_score != equal[0].fused_score
    with ingest.Collection("rules", models=ingest.EnsembleConfig(("tiny", "bm25")), **options) as again:
        again.sync(RULES, name="rules")
        assert again.info().weights == {"bm25": 50.0}, "a config without weights changes none"
    with ingest.Collection("rules", models=config, weights={"tiny": 3.0}, **options) as named:
        named.sync(RULES, name="rules")
        assert named.info().weights == {"tiny": 3.0}


def test_its_exclusive_mode_leaves_the_device_to_an_orchestrator(options: dict[str, Any], tmp_path: Path) -> None:
    def locks(*, exclusive: bool) -> list[str]:
        config = ingest.EnsembleConfig(("tiny",), exclusive_mode=exclusive)
        with ingest.Collection(f"rules {exclusive}", models=config, **options) as rules:
            rules.sync(RULES, name="rules")
        return sorted(path.name for path in (tmp_path / "leases").glob("*.lock"))

    assert locks(exclusive=False) == []
    assert locks(exclusive=True) != []


def test_sparse_models_can_be_switched_off_for_runs_and_not_for_searches(options: dict[str, Any]) -> None:
    dense = ingest.EncodingOptions(enable_sparse=False, custom_models=options["encoding"].custom_models, devices=("cpu",))
    with ingest.Collection("dense", models=["tiny", "bm25"], **{**options, "encoding": dense}) as made:
        made.sync(RULES, name="rules")
        assert [spec.name for spec in made.info().vectors] == ["tiny"]
    with ingest.Collection("own", models=[HashEncoder("own", 8), "bm25"], **{**options, "encoding": dense}) as own:
        own.sync(RULES, name="rules")
        assert [spec.name for spec in own.info().vectors] == ["own"]
    with ingest.Collection("both", models=["tiny", "bm25"], **options) as both:
        both.sync(RULES, name="rules")
    with ingest.Collection("both", **{**options, "encoding": dense}) as searched:
        assert searched.search("turbines", vectors=["bm25"])[0].doc_id == "1"

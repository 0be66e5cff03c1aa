"""What a sync deletes, what it never deletes, and how documents come back."""

from __future__ import annotations

from typing import Any

import pytest

import ingest


@pytest.mark.parametrize("mode", ["none", "incremental", "full", *ingest.DeleteMode])
def test_a_delete_mode_is_what_it_is_called(handbook: ingest.Collection, rules: list[dict[str, Any]], mode: Any) -> None:
    handbook.sync(rules, name="rules")
    receipt = handbook.sync(rules[:2], name="rules", delete=mode)
    assert receipt.deleted == (1 if mode == "full" else 0)
    assert handbook.info().points == 3 - receipt.deleted


def test_soft_deleted_documents_come_back(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    handbook.sync(rules, name="rules")
    receipt = handbook.sync(rules[:2], name="rules", delete="full", delete_after="7d")
    assert (receipt.deleted, handbook.info().points) == (0, 3)
    assert not handbook.search("laptops")
    assert handbook.undelete(doc_ids=["laptops"]) == 1
    assert handbook.search("laptops")


def test_a_grace_period_that_is_over_deletes(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    handbook.sync(rules, name="rules")
    handbook.sync(rules[:2], name="rules", delete="full", delete_after="7d")
    assert handbook.sync(rules[:2], name="rules", delete="full", delete_after=0).deleted == 1
    assert handbook.undelete() == 0


def test_the_brake_stops_a_sync_that_would_delete_too_much(handbook: ingest.Collection) -> None:
    documents = [ingest.Document(str(number), f"Number {number}.") for number in range(12)]
    handbook.sync(documents, name="numbers")
    with pytest.raises(ingest.DeletionBrakeError) as stopped:
        handbook.sync(documents[:3], name="numbers", delete="full")
    assert len(stopped.value.doc_ids) == 9
    assert handbook.info().points == 12
    assert handbook.sync(documents[:3], name="numbers", delete="full", max_delete=1.0).deleted == 9


def test_a_source_that_breaks_deletes_nothing(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    def broken() -> Any:
        yield rules[0]
        raise OSError("the network is down")

    handbook.sync(rules, name="rules")
    with pytest.raises(OSError, match="the network is down"):
        handbook.sync(broken(), name="rules", delete="full", max_delete=1.0)
    assert handbook.info().points == 3

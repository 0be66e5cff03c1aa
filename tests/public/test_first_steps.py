"""The life of a collection: sync, search, edit, delete, describe."""

from __future__ import annotations

from typing import Any

import ingest


def test_the_life_of_a_collection(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    plan = handbook.plan(rules, name="rules")
    receipt = handbook.sync(rules, name="rules")
    assert (plan.added, receipt.written, receipt.balanced) == (3, 3, True)
    assert handbook.sync(rules, name="rules").chunks.written == 0

    assert [hit.doc_id for hit in handbook.search("encrypted", limit=1)] == ["laptops"]

    rules[2]["text"] = "Screens are locked."
    assert handbook.sync(rules, name="rules").updated == 1
    assert not handbook.search("encrypted")
    assert handbook.verify(rules, name="rules").clean

    assert handbook.sync(rules[:2], name="rules", delete="full").deleted == 1
    assert handbook.info().points == 2


def test_a_collection_describes_itself(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    handbook.sync(rules, name="rules")
    details = handbook.info()
    assert (details.name, details.points) == (handbook.name, 3)
    assert details.stored_as.startswith(f"{handbook.name}__")
    (vector,) = details.vectors
    assert (vector.name, vector.dim, vector.distance) == ("bm25", None, "dot")
    assert details.weights == {}

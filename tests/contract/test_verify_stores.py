"""Verifying and repairing, the same on every store: each damage is named, mended, and nothing else is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from qdrant_server import Address
from verify_bench import DOCUMENTS, Bench, counts, drop_vector, remove, set_fields, set_made, set_vector, sparse, unit

from ingest.records import Point
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.testing import FlakyStore, ListSource

SOURCE = ListSource(DOCUMENTS)


@pytest.fixture
def bench(store: Store, tmp_path: Path, collection: str) -> Bench:
    made = Bench(store, tmp_path, collection)
    assert made.run(SOURCE).balanced
    return made


def test_what_a_run_stored_is_clean_and_nothing_is_written_or_encoded(bench: Bench) -> None:
    flaky = FlakyStore(bench.store, lambda _name, _number: None)
    found = bench.verify(SOURCE, repair=True, store=flaky)
    assert (found.clean, found.repaired, found.findings, found.errors) == (True, False, {}, ())
    assert (found.read, found.points) == (len(DOCUMENTS), len(bench.stored()))
    assert (flaky.calls, bench.first.encoded, bench.second.encoded) == ({}, [], [])
    whole = bench.verify(SOURCE, sample="all", store=flaky)
    assert (whole.clean, whole.sampled, flaky.calls) == (True, len(bench.stored()), {})
    assert len(bench.first.encoded) == len(bench.stored())


def test_each_damage_is_named_and_mended_and_nothing_else_is_written(bench: Bench) -> None:
    before, store = bench.everything(), bench.store
    for place, damage in {
        ("d0", 0): remove,
        ("d1", 0): set_vector("first", np.zeros(16, np.float32)),
        ("d2", 0): set_vector("second", unit(8)),
        ("d3", 0): set_fields(text="Somebody was here."),
        ("d4", 0): set_made(vectors={"first": "another", "second": bench.second.fingerprint}),
        ("book", 0): drop_vector("second"),
        ("book", 1): set_vector("bm25", sparse({7: 1.0})),
    }.items():
        damage(store, bench.collection, bench.point(*place))
    planted = replace(bench.point("d5"), id="22222222-2222-4222-8222-222222222222")
    store.upsert(bench.collection, [Point(planted.id, planted.vectors, planted.payload)])
    foreign = Point("33333333-3333-4333-8333-333333333333", {"first": unit(16)}, {"source": "list", "text": "another tool's"})
    store.upsert(bench.collection, [foreign])
    damaged = bench.everything()

    found = bench.verify(SOURCE, sample="all")
    assert bench.everything() == damaged
    assert counts(found) == {
        "missing_points": 1,
        "missing_vectors": 1,
        "damaged_vectors": 1,
        "wrong_vectors": 2,
        "foreign_vectors": 2,
        "damaged_payloads": 1,
        "orphans": 1,
    }
    assert (found.clean, found.repaired, found.others) == (False, False, 1)

    flaky = FlakyStore(store, lambda _name, _number: None)
    repaired = bench.verify(SOURCE, repair=True, sample="all", store=flaky)
    assert (repaired.repaired, counts(repaired), repaired.errors) == (True, counts(found), ())
    after = bench.everything()
    kept = after.pop(foreign.id)
    assert kept == damaged[foreign.id]
    assert after == before
    done = repaired.repairs
    assert (done.points, done.vectors, done.payloads, done.deleted) == (2, 6, 0, 1)
    assert flaky.calls["delete"] == 1

    flaky = FlakyStore(store, lambda _name, _number: None)
    again = bench.verify(SOURCE, repair=True, sample="all", store=flaky)
    assert (again.clean, again.others, flaky.calls) == (True, 1, {})


def test_only_what_is_damaged_is_encoded(bench: Bench) -> None:
    set_vector("first", np.zeros(16, np.float32))(bench.store, bench.collection, bench.point("d1"))
    remove(bench.store, bench.collection, bench.point("d2"))
    set_fields(metadata={"number": -1})(bench.store, bench.collection, bench.point("d3"))
    assert bench.verify(SOURCE, repair=True).repaired
    assert sorted(bench.first.encoded) == [DOCUMENTS[2].text, DOCUMENTS[3].text]
    assert bench.second.encoded == [DOCUMENTS[3].text]


def test_vectors_that_are_not_finite_are_found_however_they_came_there(bench: Bench, request: pytest.FixtureRequest) -> None:
    before, point = bench.everything(), bench.point("d1")
    damage = set_vector("first", np.full(16, np.nan, np.float32))
    if not bench.store.location.startswith("http"):
        damage(bench.store, bench.collection, point)
    else:  # REST has no word for NaN, and gRPC has
        server: Address = request.getfixturevalue("server")
        with open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=True) as other:
            damage(other, bench.collection, point)
    found = bench.verify(SOURCE, repair=True)
    assert counts(found) == {"damaged_vectors": 1}
    assert "first is not finite" in next(iter(found.findings.values())).examples[0]
    assert bench.everything() == before

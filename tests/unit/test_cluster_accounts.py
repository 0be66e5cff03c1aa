"""What is decided about a run on many machines, without any: how many may write, and what a dead worker's part came to."""

from __future__ import annotations

import math
import sys
from dataclasses import asdict
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.session import cluster_of, collection_of
from ingest.cluster.capacity import Assumptions, describe_sizing, size_job
from ingest.cluster.connection import LOCAL, connected
from ingest.cluster.retries import DocumentAccount, correct, first_accounts
from ingest.cluster.uploads import INITIAL_LIMIT, UploadLimit
from ingest.errors import ConfigurationError, MissingExtraError
from ingest.settings import load_settings
from ingest.sync.account import Tally
from ingest.sync.run_state import ClaimedDocuments

KEYS = [str(UUID(int=number)) for number in range(1, 9)]


def test_a_server_that_answers_quickly_is_given_more_and_one_that_refuses_half() -> None:
    limit = UploadLimit()
    for _ in range(100):
        limit.record_response(1000, 0.05, refused=False)
    quick = limit.allowed
    assert quick > 2 * INITIAL_LIMIT
    limit.record_response(1000, 0.5, refused=False)
    assert limit.allowed < quick
    limit.record_response(1000, 60.0, refused=True)
    assert limit.allowed < quick / 2
    for _ in range(50):
        limit.record_response(1000, 60.0, refused=True)
    assert limit.allowed == 1


def test_a_small_request_says_nothing_of_the_server() -> None:
    limit = UploadLimit()
    limit.record_response(1, 1.0, refused=False)
    assert limit == UploadLimit()


def test_a_document_belongs_to_the_first_part_that_has_it_in_whatever_order_they_claim() -> None:
    with ClaimedDocuments() as claimed:
        claimed.claim(KEYS[:4], 5)
        claimed.claim(KEYS[2:6], 2)
        assert claimed.see(KEYS[:6], 5) == set(KEYS[2:6])
        assert claimed.see(KEYS[:6], 2) == set(KEYS[:2])
        assert claimed.see(KEYS[6:], 9) == set()
        assert claimed.see(KEYS[6:], 9) == set()  # as a worker does that takes over
        assert KEYS[7] in claimed


def test_what_is_claimed_is_seen_only_when_it_is_read_and_protected_either_way() -> None:
    with ClaimedDocuments() as claimed:
        claimed.claim(KEYS[:1], 1)
        assert KEYS[0] not in claimed
        claimed.protect(KEYS[1:2])
        assert KEYS[1] in claimed
        claimed.see(KEYS[:1], 1)
        assert KEYS[0] in claimed


NOTES = st.dictionaries(
    st.sampled_from(KEYS),
    st.builds(DocumentAccount, st.sampled_from(["written", "updated"]), st.integers(1, 4), st.integers(4, 6), st.integers(0, 3)),
)


@given(died=st.lists(NOTES, max_size=3))
def test_a_part_read_again_counts_as_if_nobody_had_died(died: list[dict[str, DocumentAccount]]) -> None:
    first = first_accounts(died)
    undisturbed = _tally(first)
    again = _tally({key: DocumentAccount("unchanged", 0, 0, was.written + was.reused) for key, was in first.items()})
    correct(again, first, {}, first)
    assert asdict(again) == asdict(undisturbed)


def _tally(accounts: dict[str, DocumentAccount]) -> Tally:
    tally = Tally(read=len(accounts))
    for account in accounts.values():
        setattr(tally, account.status, getattr(tally, account.status) + 1)
        tally.chunks_inserted += account.inserted
        tally.chunks_written += account.written
        tally.chunks_reused += account.reused
    return tally


def test_a_sizing_follows_from_what_was_measured() -> None:
    rates = {"dense": 3000.0, "bm25": 6000.0}
    assumed = Assumptions(efficiency=0.5, worker_price=2.0, node_price=1.0, node_memory=1.0, node_share=1.0, overhead=1.0)
    sizing = size_job(1000, 4000, list(rates), rates, vector_bytes=800, assumptions=assumed)
    assert sizing.per_second == pytest.approx(2000)
    (row,) = [row for row in sizing.rows if (row.chunks, row.workers) == (1_000_000_000, 8)]
    assert row.documents == 250_000_000
    assert row.hours is not None
    assert row.hours == pytest.approx(1e9 / (2000 * 8 * 0.5) / 3600, rel=1e-3)
    assert row.qdrant_nodes == math.ceil(1e9 * 1000 / 2**30)
    assert row.cost == pytest.approx(row.hours * (8 * 2 + row.qdrant_nodes), rel=1e-3)


def test_a_sizing_without_measurements_says_which_are_missing() -> None:
    sizing = size_job(10, 40, ["dense"], {}, vector_bytes=800, assumptions=Assumptions())
    assert {row.hours for row in sizing.rows} == {None}
    assert any("never measured here: dense" in line for line in describe_sizing(sizing))


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qdrant-ingest\[ray\]'"), connected(LOCAL):
        pass


def test_an_embedded_store_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    settings = load_settings({"engine": "ray", "store": str(tmp_path / "store"), "dense": "none"})
    with pytest.raises(ConfigurationError, match="needs a Qdrant server"):
        collection_of(settings, "docs", cluster=cluster_of(settings))
    assert not (tmp_path / "store").exists()

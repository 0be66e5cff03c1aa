"""Three servers that are one Qdrant: a run goes on when one of them dies, and what it held is still there."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command import ingest, write_jsonl
from qdrant_server import Cluster
from sync_bench import SyncBench, counts, document

from ingest.records import Document, Rejected
from ingest.retry import RetryPolicy
from ingest.store import open_store
from ingest.store.contract import CollectionOptions

PATIENT = RetryPolicy(attempts=100, seconds=50.0, first=0.05, longest=0.5)
REPLICATED = CollectionOptions(shards=3, replicas=2)
DOCUMENTS = [document(f"d{number}", "abc"[: 1 + number % 3], year=number) for number in range(60)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@dataclass(slots=True)
class KillingSource:
    """Kills a node of the cluster before its document number `at`."""

    cluster: Cluster
    node: int
    at: int
    name: str = "list"

    def read(self) -> Iterator[Document | Rejected]:
        for number, each in enumerate(DOCUMENTS):
            if number == self.at:
                self.cluster.nodes[self.node].kill()
            yield each


def test_a_node_dies_in_the_middle_of_a_run_and_comes_back(cluster: Cluster, collection: str, tmp_path: Path) -> None:
    with open_store(cluster.nodes[0].address.url, retry=PATIENT) as store:
        peace, war = (SyncBench(store, f"{collection}_{name}", tmp_path / name) for name in ("peace", "war"))
        peace.run(DOCUMENTS, options=REPLICATED)
        expected = peace.stored()

        receipt = war.run([KillingSource(cluster, node=1, at=20)], options=REPLICATED)

        assert counts(receipt) == {"read": 60, "written": 60}
        assert war.stored() == expected
    cluster.nodes[1].start()
    with open_store(cluster.nodes[1].address.url, retry=PATIENT) as store:  # asked of the node that was away
        again = SyncBench(store, war.collection, tmp_path / "again")
        assert counts(again.run(DOCUMENTS)) == {"read": 60, "unchanged": 60}
        assert again.stored() == expected


def test_the_layout_in_the_settings_is_the_layout_of_the_collection(cluster: Cluster, collection: str, tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": "a", "text": "A document."}])
    (tmp_path / "ingest.toml").write_text("[layout]\nshards = 3\nreplicas = 2\nwrite_consistency = 2\n")
    url = cluster.nodes[2].address.url

    outcome = ingest("run", str(corpus), "-c", collection, "--store", url, "--dense", "none", "--json", cwd=tmp_path)

    assert (outcome.code, outcome.json["balanced"]) == (0, True), outcome.err
    params = _described(url, collection)["config"]["params"]
    names = ("shard_number", "replication_factor", "write_consistency_factor")
    assert [params[name] for name in names] == [3, 2, 2]


def _described(url: str, collection: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/collections/{collection}", timeout=5) as answer:
        described: dict[str, Any] = json.load(answer)["result"]
    return described

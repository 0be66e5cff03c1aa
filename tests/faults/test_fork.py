"""Forked children: what they inherit fails at once, what they open themselves works, and the parent never notices them."""

from __future__ import annotations

from pathlib import Path

from forking import MODEL, fill, run_scenario
from qdrant_server import Address

from ingest.store import open_store

FOUND = "['text 3']"


def assert_refused(said: str, what: str, todo: str = "open it in the child, after the fork") -> None:
    assert said.startswith(f"ForkError: {what} was opened in process ")
    assert said.endswith(todo)
    assert "\n" not in said


def test_an_embedded_store_is_the_parents_alone(tmp_path: Path) -> None:
    report = run_scenario("embedded", tmp_path)
    assert report["parent"] == report["parent afterwards"] == ["text 3"]
    assert_refused(report["searcher"], "this Searcher")
    assert_refused(report["store"], f"the store {tmp_path / 'one'}")
    assert report["closed"] == ["None", "None"]
    assert report["own, of another folder"] == report["own, once the parent has closed"] == FOUND
    assert report["own, of the same"].startswith("StoreLockedError: the collection docs")
    assert report["files changed"] == []
    assert report["while threads search"] == ["ForkError"]


def test_connections_to_a_server_are_the_parents_alone(server: Address, collection: str, tmp_path: Path) -> None:
    with open_store(server.url) as store:
        fill(store, collection)
        report = run_scenario("server", tmp_path, collection, server.url, server.grpc_port)
        store.drop(collection)
    for protocol, over_grpc in (("rest", FOUND), ("grpc", "ForkError: a gRPC connection was opened in process ")):
        said = report[protocol]
        assert_refused(said["inherited"], "this Searcher")
        assert said["own"] == FOUND
        assert said["own over gRPC"].startswith(over_grpc)
        assert said["pool"] == [["text 3"]] * 4
        assert said["parent afterwards"] == ["text 3"]


def test_leases_runners_and_rerankers_are_the_parents_alone(tmp_path: Path) -> None:
    report = run_scenario("leases", tmp_path)
    assert_refused(report["runner"], "this BatchRunner")
    assert report["runner closed"] == "None"
    assert_refused(report["reranker"], "this RerankPipeline")
    for moment in ("own, while the parent holds it", "own, within the parent's lease"):
        assert report[moment].startswith("LeaseTimeoutError: cpu is leased by process ")
    assert report["own, once the parent gave it back"] == report["parent"] == f"(1, {MODEL.dim})"
    assert_refused(report["encoder"], "the lease of model 'hash'", "take one in the child, after the fork")


def test_a_child_of_a_process_that_computed_with_torch_computes_with_one_thread(tmp_path: Path) -> None:
    report = run_scenario("torch", tmp_path)
    computed = report["parent"].removesuffix(" 2")
    assert computed.startswith("(2, 32) ")
    assert report == {"parent": f"{computed} 2", "child": f"{computed} 1", "child of a child": f"{computed} 1"}


def test_a_gpu_whose_driver_the_parent_asked_is_refused(tmp_path: Path) -> None:
    report = run_scenario("gpu", tmp_path)
    assert report["cards"] == ["cuda:0"]
    assert_refused(report["child"], "the GPU driver", "start the child with the method spawn, or use device cpu")

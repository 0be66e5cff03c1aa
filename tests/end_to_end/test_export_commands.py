"""Vectors made by one command and stored by another."""

from __future__ import annotations

import uuid
from pathlib import Path

from command import ingest, write_jsonl
from corpus import python_topics
from export_bench import assert_same_points

from ingest.store import open_store

SPARSE_ONLY = {"INGEST_DENSE": "none"}
"""The dense model is not the point: loading it takes seconds."""


def test_embed_and_load_do_what_run_does(tmp_path: Path, server_url: str) -> None:
    gpu, cluster = tmp_path / "gpu", tmp_path / "cluster"
    gpu.mkdir()
    cluster.mkdir()
    corpus = write_jsonl(gpu / "corpus.jsonl", [*python_topics(5), {"id": "empty", "text": " "}])
    name = f"e2e_{uuid.uuid4().hex[:12]}"

    embedded = ingest("embed", str(corpus), "--out", "vectors", "--max-rejects", "1", "--json", cwd=gpu, **SPARSE_ONLY)

    assert embedded.code == 0, embedded.err
    assert (embedded.json["written"], embedded.json["rejected"], embedded.json["balanced"]) == (5, 1, True)
    assert [model["key"] for model in embedded.json["models"]] == ["bm25"]
    assert (gpu / ".ingest/rejects/vectors.jsonl").read_text().count("\n") == 1
    assert not (gpu / ".ingest/qdrant").exists()

    (gpu / "vectors").rename(cluster / "vectors")
    loaded = ingest("load", "vectors", "-c", name, "--store", server_url, "--json", cwd=cluster)

    assert loaded.code == 0, loaded.err
    assert (loaded.json["collection"], loaded.json["written"], loaded.json["balanced"]) == (name, 5, True)
    ran = ingest("run", str(corpus), "-c", name, "--store", "qdrant", "--max-rejects", "1", cwd=cluster, **SPARSE_ONLY)
    assert ran.code == 0, ran.err
    with open_store(server_url) as server, open_store(cluster / "qdrant") as embedded_store:
        assert_same_points(server, name, embedded_store, name)

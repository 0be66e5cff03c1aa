"""Remote members of an ensemble: runs over a network that fails, endpoints that change or truncate, and the whole command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
from endpoint import FakeEndpoint, Refusal
from faulty_proxy import Answer, Delay, Fault, FaultyProxy, Request
from serving import on_port, stored_rules

import ingest
from ingest.encode.embedder import Embedder
from ingest.errors import ManifestMismatchError, ModelUnavailableError
from ingest.search.models import ModelPool
from ingest.search.rerank import RerankPipeline
from ingest.serve.app import create_app
from ingest.serve.models_api import model_endpoints
from ingest.serve.options import ServeOptions
from ingest.serve.served import ServedCollections
from ingest.store.schema import _normalize_collection_name
from ingest.testing import HashEncoder

DIM = 32
TEXTS = [{"id": f"d{number}", "text": f"Document {number} says that {number} is a number."} for number in range(60)]
QUICK = ingest.RetryPolicy(attempts=40, seconds=60, first=0.0, longest=0.01)


@contextmanager
def served_embeddings(folder: Path) -> Iterator[str]:
    """`/v1/embeddings` of `ingest serve` on a port, with a model that is not one of the ensemble's own."""
    embedder = Embedder(lambda: [HashEncoder("other", dim=DIM)], ["other"], lease_directory=folder / "leases")
    reranker = RerankPipeline(folder / "no-reranker", lease_directory=folder / "leases")
    with stored_rules(folder) as store:
        collections = ServedCollections(store, lambda name: ingest.Collection(name, store=store), _normalize_collection_name, ())
        app = create_app(collections, ServeOptions(), more=model_endpoints(embedder, reranker))
        with on_port(app) as url:
            yield f"{url}/v1"


def far(url: str, **changes: Any) -> dict[str, dict[str, Any]]:
    options = {"backend": "http", "api": "openai", "url": url, "model": "other", "dim": DIM, "max_tokens": 128}
    return {"far": {**options, "batch_texts": 8, **changes}}


def opened(folder: Path, models: dict[str, dict[str, Any]], *keys: str) -> ingest.Collection:
    encoding = ingest.EncodingOptions(custom_models=models, lease_directory=folder / "leases", retry=QUICK)
    keys = keys or ("far", "bm25")
    where: dict[str, Any] = {"store": folder / "store", "state": folder / "state"}
    return ingest.Collection("docs", models=keys, encoding=encoding, pool=ModelPool(), **where)


def stored_vectors(collection: ingest.Collection, name: str) -> dict[str, Any]:
    points = collection.store.scroll(collection.name, vectors=[name])
    return {point.payload["doc_id"]: np.asarray(point.vectors[name]) for point in points}


def test_a_run_through_a_faulty_network_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    wrong = {"data": [{"index": number, "embedding": [1.0] * 3} for number in range(8)]}
    faults: list[Fault | Answer | Delay] = [
        *[Answer(429, retry_after=0)] * 5,
        Answer(500),
        Fault.CUT,
        Fault.LOST,
        Fault.HALF,
        Fault.GARBLED,
        Fault.SILENT,
        Answer(200, content=json.dumps(wrong).encode()),
        Answer(503, retry_after=0),
        Answer(413),
    ]

    def cue(request: Request) -> Fault | Answer | Delay | None:
        return faults.pop(0) if request.number % 2 and faults else None

    members = ("all-miniLM-l6", "bm25", "far")
    with served_embeddings(tmp_path) as url, FaultyProxy(url.removesuffix("/v1"), cue) as proxy:
        with opened(tmp_path / "calm", far(url), *members) as calm:
            expected, receipt = calm.sync(TEXTS, name="docs"), None
            vectors = {name: stored_vectors(calm, name) for name in ("all-miniLM-l6", "far")}
        with opened(tmp_path / "faulty", far(f"{proxy.url}/v1", timeout=1.0), *members) as disturbed:
            receipt = disturbed.sync(TEXTS, name="docs")
            found = {name: stored_vectors(disturbed, name) for name in vectors}
            [hit] = disturbed.search("number 7", limit=1)
            assert not hit.ranks.keys() - set(members)
            assert disturbed.verify(TEXTS, name="docs", sample=4).clean
    assert not faults
    assert (expected.balanced, receipt.balanced, receipt.written, receipt.rejected) == (True, True, 60, 0)
    for name, rows in vectors.items():
        assert rows.keys() == found[name].keys()
        for doc_id, row in rows.items():
            np.testing.assert_allclose(found[name][doc_id], row, atol=1e-6)


def test_an_endpoint_that_stays_down_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    with FakeEndpoint(dim=DIM) as endpoint, opened(tmp_path, far(endpoint.url)) as docs:
        docs.sync(TEXTS[:10], name="docs")
        endpoint.cue = lambda *_: Refusal(503)
        with pytest.raises(ModelUnavailableError, match="gave up after 40 attempts"):
            docs.sync(TEXTS, name="docs")
        endpoint.cue = lambda *_: None
        receipt = docs.sync(TEXTS, name="docs")
        assert (receipt.balanced, receipt.unchanged, receipt.written) == (True, 10, 50)


def test_a_refused_text_rejects_its_document_alone(tmp_path: Path) -> None:
    refused = str(TEXTS[7]["text"])
    with FakeEndpoint(dim=DIM) as endpoint, opened(tmp_path, far(endpoint.url)) as docs:
        endpoint.cue = lambda _, texts: Refusal(422, {"detail": "no such words"}) if refused in texts else None
        receipt = docs.sync(TEXTS, name="docs")
    assert (receipt.balanced, receipt.rejected, receipt.written) == (True, 1, 59)


def test_a_model_that_changes_behind_its_address_is_found(tmp_path: Path) -> None:
    with FakeEndpoint(dim=DIM) as endpoint, opened(tmp_path, far(endpoint.url)) as docs:
        docs.sync(TEXTS, name="docs")
        before = stored_vectors(docs, "far")
        endpoint.revision = "2"
        assert docs.plan(TEXTS, name="docs").unchanged == 60  # a plan sends nothing
        for run in (docs.sync, docs.verify):
            with pytest.raises(ManifestMismatchError, match=r"canary 1 has a cosine of -?0\.\d+, .* and 28 more"):
                run(TEXTS, name="docs")
        assert docs.sync(TEXTS, name="docs", accept_fingerprints=True).unchanged == 60
        assert docs.sync(TEXTS, name="docs").unchanged == 60
        endpoint.revision = "3"
        assert docs.reindex().encoded == {"far": 60}
        after = stored_vectors(docs, "far")
        assert all(abs(float(before[doc_id] @ after[doc_id])) < 0.9 for doc_id in before)
        assert docs.sync(TEXTS, name="docs").unchanged == 60
        assert docs.reindex().encoded == {}


def test_chunks_are_kept_within_what_an_endpoint_reads(tmp_path: Path) -> None:
    text = " ".join(f"{word:04d}" for word in range(2_000))
    with FakeEndpoint(dim=DIM, reads=200) as endpoint, opened(tmp_path, far(endpoint.url, max_tokens=2_000)) as docs:
        receipt = docs.sync([{"id": "long", "text": text}], name="docs")
        assert receipt.chunks.written > 2_000 // 200
        assert max(len(sent.split()) for sent in endpoint.texts[-receipt.chunks.written :]) <= 200
        requests = len(endpoint.requests)
        assert docs.sync([{"id": "long", "text": text}], name="docs").unchanged == 1
        assert len(endpoint.requests) == requests + 4  # the canaries
        assert docs.plan([{"id": "long", "text": text}], name="docs").unchanged == 1


def test_an_export_has_the_proofs_and_a_load_needs_no_endpoint(tmp_path: Path) -> None:
    with FakeEndpoint(dim=DIM) as endpoint, opened(tmp_path, far(endpoint.url)) as docs:
        docs.export(ingest.records_source(TEXTS, name="docs"), tmp_path / "export")
        requests = len(endpoint.requests)
        assert docs.load(tmp_path / "export").written == 60
        assert len(endpoint.requests) == requests
        assert docs.sync(TEXTS, name="docs").unchanged == 60
        endpoint.revision = "2"
        with pytest.raises(ManifestMismatchError, match="canary"):
            docs.sync(TEXTS, name="docs")


# --- reranking


@pytest.mark.parametrize(
    ("api", "path"), [("tei", "/rerank"), ("cohere", "/v2/rerank"), ("voyage", "/rerank"), ("jina", "/rerank")]
)
def test_a_remote_reranker_orders_hits(tmp_path: Path, api: str, path: str) -> None:
    options = {"kind": "reranker", "backend": "http", "api": api, "model": "judge", "batch_texts": 4}
    with FakeEndpoint(dim=DIM) as endpoint:
        encoding = ingest.EncodingOptions(custom_models={"judge": {**options, "url": endpoint.url}}, lease_directory=tmp_path)
        with ingest.Collection("docs", store=tmp_path / "store", models=["bm25"], encoding=encoding, reranker="judge") as docs:
            docs.sync(TEXTS[:10], name="docs")
            answer = docs.search("number", rerank="on", limit=10)
            scores = HashEncoder(dim=DIM).encode_documents([hit.text for hit in answer])[:, 0]
            assert answer.details is not None
            assert (answer.reranked, answer.details.device, len(answer.hits)) == (True, "remote", 10)
            assert {where for where, _ in endpoint.requests} == {path}
            np.testing.assert_allclose([hit.score for hit in answer], sorted(scores.tolist(), reverse=True), rtol=1e-6)
            endpoint.cue = lambda *_: Refusal(503)
            for _ in range(2):
                answer = docs.search("number", rerank="auto")
                assert not answer.reranked
                assert "503" in str(answer.note)
    assert len(endpoint.requests) <= 3 + 4  # the second search does not ask again


# --- the command


def test_the_command_runs_with_a_remote_member_of_its_settings(tmp_path: Path) -> None:
    command.write_jsonl(tmp_path / "corpus.jsonl", TEXTS)
    with FakeEndpoint(dim=DIM, key="s3cret") as endpoint:
        (tmp_path / "ingest.toml").write_text(
            'dense = ["far"]\n[models.far]\nbackend = "http"\napi = "ollama"\nmodel = "m"\ndim = 32\nmax_tokens = 128\n'
            f'url = "{endpoint.url}"\napi_key_env = "FAR_KEY"\nprice_per_million_tokens = 0.02\n'
        )

        def run(*arguments: str, key: str = "s3cret", code: int = 0, config: str = "ingest.toml") -> command.Outcome:
            done = command.ingest(*arguments, cwd=tmp_path, FAR_KEY=key, **({"INGEST_CONFIG": config} if config else {}))
            assert done.code == code, done.err
            return done

        refused = run("plan", "corpus.jsonl", "-c", "docs", config="", code=2)
        assert "api_key_env" in refused.err
        plan = run("plan", "corpus.jsonl", "-c", "docs", "--json").json
        assert plan["chunks"] == {"far": 60, "bm25": 60}
        assert 0 < plan["costs"]["far"] < 0.0001
        assert "cost of far" in run("plan", "corpus.jsonl", "-c", "docs").out
        assert not endpoint.requests
        assert "FAR_KEY" in run("run", "corpus.jsonl", "-c", "docs", key="", code=2).err
        receipt = run("run", "corpus.jsonl", "-c", "docs", "--json").json
        assert (receipt["balanced"], receipt["written"]) == (True, 60)
        [model] = [each for each in receipt["models"] if each["key"] == "far"]
        assert (model["device"], model["backend"], model["tokens"]) == ("remote", "http", 600)
        hits = run("search", "docs", str(TEXTS[3]["text"]), "--limit", "1", "--json").json["hits"]
        assert [hit["doc_id"] for hit in hits] == ["d3"]
        assert run("verify", "corpus.jsonl", "-c", "docs", "--json").json["clean"]
        listed = {each["key"]: each for each in run("models", "list", "--json").json["models"]}
        assert (listed["far"]["status"], listed["far"]["endpoint"]["api"]) == ("remote", "ollama")
        checked = run("models", "check", "far", "--json").json
        assert (checked["dim"], checked["device"], checked["backend"]) == (32, "remote", "http")
        assert "nothing to download" in run("models", "pull", "far", code=1).err
        [doctored] = [each for each in run("doctor", "--json").json["findings"] if each["topic"] == "far"]
        assert (doctored["value"], doctored["ok"]) == ("remote", True)
        [vector] = [each for each in run("collections", "info", "docs", "--json").json["vectors"] if each["name"] == "far"]
        assert vector["model"]["proof"].keys() == {"fingerprint", "canaries", "measured", "reads"}

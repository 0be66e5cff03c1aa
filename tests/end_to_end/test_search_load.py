"""Many questions at once, of a real server."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.search import Searcher
from ingest.store import open_store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource, generated_documents

THREADS = 8
QUESTIONS = 20


def loaded(keys: Sequence[str]) -> list[Model]:
    return [HashEncoder(key) if key == "hash" else ModelManager(EnsembleConfig([key])).members[0] for key in keys]


def test_eight_threads_get_what_one_gets(server_url: str, collection: str, tmp_path: Path) -> None:
    documents = list(generated_documents(100, words=40))
    models = loaded(["hash", "bm25"])
    with (
        open_store(server_url) as store,
        BatchRunner(models, lease_directory=tmp_path / "leases") as runner,
        RejectsFile(tmp_path / "rejects") as rejects,
    ):
        run_job(Job(collection), [ListSource(documents)], store=store, ensemble=Ensemble(runner), rejects=rejects)
        searcher = Searcher.open(collection, store, models=loaded)
        questions = [document.text for document in documents[:QUESTIONS]]
        alone = [searcher.search(question) for question in questions]
        with ThreadPoolExecutor(THREADS) as threads:
            together = list(threads.map(lambda _: [searcher.search(question) for question in questions], range(THREADS)))
        assert not searcher.search("the of and", vectors=["bm25"])
    assert all(answers == alone for answers in together)
    for document, answer in zip(documents, alone, strict=False):
        assert (answer[0].doc_id, answer[0].ranks) == (document.id, {"hash": 1, "bm25": 1})

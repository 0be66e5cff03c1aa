"""What search costs beside its parts: a hybrid question against encoding it plus one bare `query_points` call.

    .venv/bin/python scripts/bench/search.py [--documents 1400] [--questions 300] [--store URL [--grpc-port PORT]]

Generated documents of 120 words, under `testing.HashEncoder` (384 dimensions) and the real BM25, on a Qdrant server: the one at
`--store`, where a collection is made and dropped, else one that is started as the tests start theirs. Every question is asked in
both ways, which of them first alternating: by `Searcher.search` without feedback, and by encoding it with the same models and
asking the server to fuse the same hundred candidates per vector and return ten hits with their payloads. Then it is searched with
feedback. Medians count. Prints a table and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from measuring import machine
from qdrant_client import QdrantClient, models

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.records import Document, SparseVector
from ingest.search import Searcher
from ingest.search.fusion import CANDIDATES, RRF_K
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource, generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

LIMIT = 10
BOUND_MS = 5.0
MEDIANS = ("search_ms", "encode_ms", "query_points_ms", "refined_ms")
WARM_UP = 20


def main() -> None:
    arguments = _arguments()
    documents = list(generated_documents(arguments.documents, words=120))
    with ExitStack() as stack:
        if arguments.store:
            url, grpc_port = arguments.store, arguments.grpc_port
        else:
            server = stack.enter_context(any_server())
            url, grpc_port = server.url, server.grpc_port
        collection = f"bench_{uuid.uuid4().hex}"
        with open_store(url, grpc_port=grpc_port) as store:
            try:
                _fill(store, collection, documents)
                rows = [
                    _measure(url, grpc_port, collection, documents[: arguments.questions + WARM_UP], prefer_grpc=prefer_grpc)
                    for prefer_grpc in (False, True)
                ]
            finally:
                store.drop(collection)
    _report(arguments, rows)


def _fill(store: Store, collection: str, documents: Sequence[Document]) -> None:
    members = _models(["hash", "bm25"])
    with (
        tempfile.TemporaryDirectory() as folder,
        BatchRunner(members, lease_directory=Path(folder)) as runner,
        RejectsFile(Path(folder, "rejects")) as rejects,
    ):
        source = ListSource(documents)
        receipt = run_job(Job(collection), [source], store=store, ensemble=Ensemble(runner), rejects=rejects)
    if not receipt.balanced or receipt.written != len(documents):
        sys.exit(f"the run did not balance: {receipt}")


def _models(keys: Sequence[str]) -> list[Model]:
    return [HashEncoder(key) if key == "hash" else ModelManager(EnsembleConfig([key])).members[0] for key in keys]


def _measure(
    url: str, grpc_port: int | None, collection: str, documents: Sequence[Document], *, prefer_grpc: bool
) -> dict[str, float | str]:
    """Medians in milliseconds, the first questions apart."""
    members = _models(["hash", "bm25"])
    client = QdrantClient(
        url, prefer_grpc=prefer_grpc, grpc_port=grpc_port or (urlsplit(url).port or 6333) + 1, check_compatibility=False
    )
    whole, refined, encoding, bare = [], [], [], []
    with open_store(url, grpc_port=grpc_port, prefer_grpc=prefer_grpc) as store:
        searcher = Searcher.open(collection, store, models=_models)
        for number, document in enumerate(documents):
            question = " ".join(document.text.split()[:8])
            if number % 2:
                whole.append(_search(searcher, question, feedback=False))
            encode_ms, bare_ms = _parts(client, collection, members, question)
            encoding.append(encode_ms)
            bare.append(bare_ms)
            if not number % 2:
                whole.append(_search(searcher, question, feedback=False))
            refined.append(_search(searcher, question, feedback=True))
    client.close()
    medians = [statistics.median(each[WARM_UP:]) for each in (whole, encoding, bare, refined)]
    return {
        "protocol": "gRPC" if prefer_grpc else "REST",
        **{name: round(each, 2) for name, each in zip(MEDIANS, medians, strict=True)},
        "added_ms": round(medians[0] - medians[1] - medians[2], 2),
        "feedback_ms": round(medians[3] - medians[0], 2),
    }


def _search(searcher: Searcher, question: str, *, feedback: bool) -> float:
    began = time.perf_counter()
    answer = searcher.search(question, limit=LIMIT, feedback=feedback)
    milliseconds = (time.perf_counter() - began) * 1000
    if len(answer) != LIMIT:
        sys.exit(f"{len(answer)} hits were found, not {LIMIT}")
    return milliseconds


def _parts(client: QdrantClient, collection: str, members: Sequence[Model], question: str) -> tuple[float, float]:
    """Milliseconds of encoding, and of the one request."""
    began = time.perf_counter()
    encoded = {model.key: model.to_device("cpu").encode_queries([question])[0] for model in members}
    between = time.perf_counter()
    found = client.query_points(
        collection,
        prefetch=[
            models.Prefetch(
                query=models.SparseVector(indices=value.indices.tolist(), values=value.values.tolist())
                if isinstance(value, SparseVector)
                else value.tolist(),
                using=name,
                limit=CANDIDATES,
            )
            for name, value in encoded.items()
        ],
        query=models.RrfQuery(rrf=models.Rrf(k=RRF_K)),
        limit=LIMIT,
        with_payload=True,
    )
    ended = time.perf_counter()
    if len(found.points) != LIMIT:
        sys.exit(f"{len(found.points)} points were found, not {LIMIT}")
    return (between - began) * 1000, (ended - between) * 1000


def _report(arguments: argparse.Namespace, rows: Sequence[dict[str, float | str]]) -> None:
    print(f"{arguments.documents:,} documents, {arguments.questions} questions, medians in ms")
    print(f"{'':6}{'search':>10}{'encode':>10}{'query_points':>14}{'added':>10}{'feedback':>10}   (bound of added: {BOUND_MS:g})")
    for row in rows:
        figures = [row[name] for name in ("search_ms", "encode_ms", "query_points_ms", "added_ms", "feedback_ms")]
        print(
            f"{row['protocol']:6}"
            + "".join(f"{figure:>{width}.2f}" for figure, width in zip(figures, (10, 10, 14, 10, 10), strict=True))
        )
    print(json.dumps({"machine": machine(), "documents": arguments.documents, "questions": arguments.questions, "rows": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What search costs beside its parts.")
    parser.add_argument("--documents", type=int, default=1400)
    parser.add_argument("--questions", type=int, default=300)
    parser.add_argument("--store", help="URL of a running server; one is started if not given")
    parser.add_argument("--grpc-port", type=int, help="of that server; its port plus one if not given")
    return parser.parse_args()


if __name__ == "__main__":
    main()

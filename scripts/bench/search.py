"""What search costs beside its parts: a hybrid question against encoding it plus one bare `query_points` call.

    .venv/bin/python scripts/bench/search.py [--documents 1400] [--questions 300]

Generated documents of 120 words, one chunk each, under `testing.HashEncoder` (384 dimensions) and the real BM25, on a Qdrant
server (`QDRANT_URL`, Docker, or the pinned binary), where a collection is made and dropped. Every question is asked in both ways,
the first alternating: by `Searcher.search` without feedback, and by encoding it with the same models and asking the server to
fuse the same hundred candidates per vector and return ten hits with their payloads. Then it is searched with feedback. The
embedded store is searched without and with feedback, too. Medians count. Prints a table and one JSON object. With
`--documents 200000`, filling the stores takes some minutes and 3 GB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from measuring import machine
from qdrant_client import QdrantClient, models

from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.encode.models import ModelManager
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.records import Document, SparseVector, Vector
from ingest.search import Searcher
from ingest.search.fusion import CANDIDATES, RRF_K
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, ListSource, generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import Address, any_server

LIMIT = 10
BOUND_MS = 5.0
COLUMNS = ("search_ms", "encode_ms", "query_points_ms", "added_ms", "refined_ms", "feedback_ms")
WARM_UP = 20

Row = dict[str, Any]
"""The name of a store, and milliseconds."""


def main() -> None:
    arguments = _arguments()
    documents = list(generated_documents(arguments.documents, words=120))
    questions = [" ".join(document.text.split()[:8]) for document in documents[: arguments.questions + WARM_UP]]
    collection = f"bench_{uuid.uuid4().hex}"
    with any_server() as server, open_store(server.url, grpc_port=server.grpc_port) as store:
        try:
            _fill(store, collection, documents)
            rows = [_on_server(server, collection, questions, prefer_grpc=prefer) for prefer in (False, True)]
        finally:
            store.drop(collection)
    with tempfile.TemporaryDirectory() as folder, open_store(folder) as embedded:
        _fill(embedded, collection, documents)
        rows.append({"store": "embedded", **_measure(embedded, collection, questions)})
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


def _on_server(server: Address, collection: str, questions: Sequence[str], *, prefer_grpc: bool) -> Row:
    client = QdrantClient(server.url, prefer_grpc=prefer_grpc, grpc_port=server.grpc_port, check_compatibility=False)
    with closing(client), open_store(server.url, grpc_port=server.grpc_port, prefer_grpc=prefer_grpc) as store:
        return {"store": "gRPC" if prefer_grpc else "REST", **_measure(store, collection, questions, client)}


def _measure(store: Store, collection: str, questions: Sequence[str], client: QdrantClient | None = None) -> Row:
    """Return medians in milliseconds without the first questions; those of bare calls only with a client."""
    members = _models(["hash", "bm25"])
    whole, refined, encoding, bare = [], [], [], []
    searcher = Searcher.open(collection, store, models=_models)
    for number, question in enumerate(questions):
        if number % 2:
            whole.append(_search(searcher, question, feedback=False))
        encoded, milliseconds = _encode(members, question)
        encoding.append(milliseconds)
        if client is not None:
            bare.append(_query_points(client, collection, encoded))
        if not number % 2:
            whole.append(_search(searcher, question, feedback=False))
        refined.append(_search(searcher, question, feedback=True))
    search, encode, feedback = (statistics.median(times[WARM_UP:]) for times in (whole, encoding, refined))
    row: Row = {"search_ms": search, "encode_ms": encode, "refined_ms": feedback, "feedback_ms": feedback - search}
    if bare:
        row["query_points_ms"] = statistics.median(bare[WARM_UP:])
        row["added_ms"] = search - encode - row["query_points_ms"]
    return {name: round(milliseconds, 2) for name, milliseconds in row.items()}


def _search(searcher: Searcher, question: str, *, feedback: bool) -> float:
    began = time.perf_counter()
    answer = searcher.search(question, limit=LIMIT, feedback=feedback)
    milliseconds = (time.perf_counter() - began) * 1000
    if len(answer) != LIMIT:
        sys.exit(f"{len(answer)} hits were found, not {LIMIT}")
    return milliseconds


def _encode(members: Sequence[Model], question: str) -> tuple[dict[str, Vector], float]:
    """Return the vectors of a question, and the milliseconds that encoding them took."""
    began = time.perf_counter()
    encoded = {model.key: model.to_device("cpu").encode_queries([question])[0] for model in members}
    return encoded, (time.perf_counter() - began) * 1000


def _query_points(client: QdrantClient, collection: str, encoded: Mapping[str, Vector]) -> float:
    """Return the milliseconds of the one request."""
    began = time.perf_counter()
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
    milliseconds = (time.perf_counter() - began) * 1000
    if len(found.points) != LIMIT:
        sys.exit(f"{len(found.points)} points were found, not {LIMIT}")
    return milliseconds


def _report(arguments: argparse.Namespace, rows: Sequence[Row]) -> None:
    print(f"{arguments.documents:,} documents, {arguments.questions} questions, medians in ms")
    print(f"{'':10}" + "".join(f"{name.removesuffix('_ms'):>14}" for name in COLUMNS) + f"   (bound of added: {BOUND_MS:g})")
    for row in rows:
        print(f"{row['store']:10}" + "".join(f"{row[name]:>14.2f}" if name in row else f"{'-':>14}" for name in COLUMNS))
    print(json.dumps({"machine": machine(), "documents": arguments.documents, "questions": arguments.questions, "rows": rows}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What search costs beside its parts.")
    parser.add_argument("--documents", type=int, default=1400)
    parser.add_argument("--questions", type=int, default=300)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What `ingest serve` answers in a second, beside a bare loop that encodes a query and asks Qdrant.

    .venv/bin/python scripts/bench/serve.py [--corpus FILE.jsonl --queries FILE.jsonl] [--precision int8] [--clients 16]

1,400 generated documents, or those of a BEIR corpus, with all-MiniLM-L6-v2 and BM25 in the embedded engine. `ingest serve` is
started and asked: once, one query after another, then by concurrent clients. The bare loop is what one writes without this
package: `SentenceTransformer.encode` in float32 and `QdrantClient.query_points` of that one vector, one after another, against
a Qdrant server with the same points. Both are asked alternately, in rounds; medians of the rounds count. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from measuring import machine
from qdrant_client import QdrantClient, models
from sentence_transformers import SentenceTransformer

from ingest.encode.registry import find_model
from ingest.encode.resolve import locate
from ingest.store import open_store
from ingest.testing import generated_documents

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import any_server

INGEST = str(Path(sys.executable).with_name("ingest"))
DENSE = "all-miniLM-l6"
NAME = "bench"


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        corpus, queries = _texts(arguments, place)
        run = [INGEST, "run", str(corpus), "-c", NAME, "--json"]
        run += ["--precision", arguments.precision] if arguments.precision else []
        receipt = json.loads(subprocess.run(run, cwd=place, check=True, capture_output=True, text=True).stdout)
        with any_server() as server, closing(QdrantClient(url=server.url, check_compatibility=False)) as client:
            bare = _BareLoop(client, place)
            try:
                rows = _measure(place, queries, bare, arguments)
            finally:
                client.delete_collection(bare.collection)
    precision = next(model["dtype"] for model in receipt["models"] if model["key"] == DENSE)
    chosen = {"documents": receipt["written"], "precision": precision, "clients": arguments.clients}
    print(json.dumps({**chosen, **rows, "machine": machine()}, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--queries", type=Path)
    parser.add_argument("--precision", choices=["int8", "float32"], help="Default: int8 where it is accurate enough.")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=160, help="Queries of each part of a round.")
    return parser.parse_args()


def _texts(arguments: argparse.Namespace, place: Path) -> tuple[Path, list[str]]:
    if arguments.corpus:
        lines = islice(arguments.queries.read_text().splitlines(), arguments.count)
        return arguments.corpus.absolute(), [json.loads(line)["text"] for line in lines]
    corpus, documents = place / "corpus.jsonl", list(generated_documents(1400, words=120))
    corpus.write_text("".join(json.dumps({"id": each.id, "text": each.text}) + "\n" for each in documents))
    return corpus, [" ".join(each.text.split()[:8]) for each in documents[: arguments.count]]


class _BareLoop:
    """Encodes and asks, one query after another. Its points are those of the embedded store."""

    def __init__(self, client: QdrantClient, place: Path) -> None:
        self.collection = f"bench_{uuid.uuid4().hex}"
        self._client = client
        files = locate(find_model(DENSE))
        assert files is not None, "install the extra minilm"
        self._model = SentenceTransformer(str(files.folder), device="cpu")
        client.create_collection(self.collection, models.VectorParams(size=384, distance=models.Distance.COSINE))
        with open_store(place / ".ingest/qdrant") as store:
            points = [
                models.PointStruct(id=point.id, vector=np.asarray(point.vectors[DENSE]).tolist(), payload=point.payload)
                for point in store.scroll(NAME, vectors=[DENSE])
            ]
        client.upload_points(self.collection, points, wait=True)

    def ask(self, query: str) -> None:
        self._client.query_points(self.collection, query=self._model.encode(query, normalize_embeddings=True), limit=10)


class _Served:
    """A keep-alive connection to the server."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def ask(self, query: str) -> None:
        body = json.dumps({"query": query}).encode()
        self._connection.request("POST", f"/v1/collections/{NAME}/search", body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        if response.status != http.HTTPStatus.OK or not json.loads(response.read())["hits"]:
            raise SystemExit(f"the server answered {response.status}")


def _measure(place: Path, queries: Sequence[str], bare: _BareLoop, arguments: argparse.Namespace) -> dict[str, float]:
    began = time.perf_counter()
    with _serving(place) as url:
        _Served(url).ask(queries[0])
        first = time.perf_counter() - began
        latencies, together, loop = [], [], []
        for _ in range(arguments.rounds):
            connections = [_Served(url) for _ in range(arguments.clients)]  # the server closes those that are idle
            latencies.append(statistics.median(_seconds(connections[0], query) for query in queries))
            together.append(_rate_together(connections, queries))
            begun = time.perf_counter()
            for query in queries:
                bare.ask(query)
            loop.append(len(queries) / (time.perf_counter() - begun))
    return {
        "first_answer_seconds": round(first, 2),
        "p50_ms": round(statistics.median(latencies) * 1000, 1),
        "queries_per_second": round(statistics.median(together), 1),
        "bare_queries_per_second": round(statistics.median(loop), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(together, loop, strict=True)), 2),
    }


@contextmanager
def _serving(place: Path) -> Iterator[str]:
    command = [INGEST, "serve", NAME, "--port", "0", "--json"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


def _seconds(connection: _Served, query: str) -> float:
    began = time.perf_counter()
    connection.ask(query)
    return time.perf_counter() - began


def _rate_together(connections: Sequence[_Served], queries: Sequence[str]) -> float:
    """Return the queries per second of all clients, each of which asks every query."""

    def ask_all(client: int) -> None:
        for number in range(len(queries)):
            connections[client].ask(queries[(number + client * 7) % len(queries)])

    began = time.perf_counter()
    with ThreadPoolExecutor(len(connections)) as threads:
        list(threads.map(ask_all, range(len(connections))))
    return len(connections) * len(queries) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()

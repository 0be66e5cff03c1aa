"""A remote model beside a local one: the time of both in one run, compared with each alone.

    .venv/bin/python scripts/bench/remote.py [--texts 400] [--rounds 3] [--milliseconds 12]

The local model is all-MiniLM-L6-v2 on the CPU. The remote one is an endpoint in a process of its own that takes so many
milliseconds for each text, as another machine would, and hardly any of this CPU. Each round makes three new embedded collections:
with the local model, with the remote one, and with both. Medians count. The bound is 1.15 of the slower one alone.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from measuring import machine, read_texts

import ingest
from ingest.testing import HashEncoder

DIM = 384
BOUND = 1.15
ENSEMBLES = {"local": ["all-miniLM-l6"], "remote": ["far"], "both": ["all-miniLM-l6", "far"]}


def main() -> None:
    arguments = _arguments()
    ours, theirs = multiprocessing.Pipe()
    endpoint = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(theirs, arguments.milliseconds / 1000), daemon=True
    )
    endpoint.start()
    models = {
        "far": {
            "backend": "http",
            "api": "openai",
            "url": ours.recv(),
            "model": "hash",
            "dim": DIM,
            "max_tokens": 512,
            "batch_texts": 16,
            "concurrency": 4,
        }
    }
    records = [{"id": str(number), "text": text} for number, text in enumerate(read_texts(None, arguments.texts))]
    seconds: dict[str, list[float]] = {name: [] for name in ENSEMBLES}
    _run(ENSEMBLES["both"], models, records[:20])  # imports and warms up
    for _ in range(arguments.rounds):
        for name, keys in ENSEMBLES.items():
            seconds[name].append(_run(keys, models, records))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    ratio = medians["both"] / max(medians["local"], medians["remote"])
    for name, median in medians.items():
        print(f"{name:8} {median:6.2f} s  ({', '.join(f'{each:.2f}' for each in seconds[name])})")
    print(f"both take {ratio:.2f} of the slower one alone; the bound is {BOUND}")
    print(json.dumps({"machine": machine(), "texts": len(records), "seconds": medians, "ratio": round(ratio, 3)}))


def _run(keys: list[str], models: dict[str, dict[str, object]], records: list[dict[str, str]]) -> float:
    """Return the seconds of one run into a new collection."""
    with tempfile.TemporaryDirectory() as folder:
        torch = ingest.BackendOptions(backend="torch")  # int8 may turn out too inaccurate, and the run start again
        encoding = ingest.EncodingOptions(custom_models=models, devices=("cpu",), backend_options=torch)
        state = Path(folder) / "state"
        with ingest.Collection("bench", store=f"{folder}/store", models=keys, encoding=encoding, state=state) as collection:
            receipt = collection.sync(records, name="bench")
    assert receipt.balanced
    return receipt.seconds


def _serve(connection: Connection, seconds_per_text: float) -> None:
    """Serve vectors, each after some time. The requests of one moment wait for each other, as for a device."""
    model, device = HashEncoder(dim=DIM), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 2**16

        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            with device:
                time.sleep(seconds_per_text * len(texts))
            rows = [base64.b64encode(row.tobytes()).decode() for row in model.encode_documents(texts)]
            data = [{"index": number, "embedding": row} for number, row in enumerate(rows)]
            content = json.dumps({"data": data, "usage": {"total_tokens": 100 * len(texts)}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    connection.send(f"http://127.0.0.1:{server.server_address[1]}")
    server.serve_forever()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--milliseconds", type=float, default=12.0, help="time of the endpoint for a text")
    return parser.parse_args()


if __name__ == "__main__":
    main()

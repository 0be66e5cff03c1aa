"""The same texts into the same server with the same model, by ingest and by its peers. Run it as `scripts/bench/peers`.

    scripts/bench/peers [--texts FILE] [--count 600] [--repeat 3] [--only langchain,haystack,…]

Texts are given ready cut: those of a JSONL file (`text`), else the language reference of Python in mixed lengths. Each peer
embeds them and writes them to a Qdrant server (`QDRANT_URL`, Docker, or the pinned binary) as its documentation shows. ingest
runs its whole pipeline, fingerprints, plan and receipt included, once with torch in float32 and once with OpenVINO in int8. What
has to be loaded, converted or warmed up is so before anything is timed. The runs alternate, each into a new collection, one at a
time; ratios are taken within a round, and medians count. Prints a table and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from measuring import machine, median, read_texts, spread
from peer_runners import RUNNERS
from qdrant_client import QdrantClient

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
from qdrant_server import Address, any_server

OURS = {"ingest-openvino-int8": 3.0, "ingest-torch": 1.15}
"""What is measured against the fastest peer, and how many times as fast it is to be."""

KEPT = Path(".cache/bench-peers")


def main() -> None:
    arguments = _arguments()
    texts = read_texts(arguments.texts, arguments.count)
    names = [name for name in RUNNERS if not arguments.only or name in OURS or name in arguments.only]
    with ExitStack() as stack:
        server = stack.enter_context(any_server())
        client = QdrantClient(url=server.url, grpc_port=server.grpc_port, check_compatibility=False)
        stack.callback(client.close)
        texts_file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "texts.json")
        texts_file.write_text(json.dumps(texts))
        runners = {name: stack.enter_context(Runner(name, arguments.python, texts_file, server)) for name in names}
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(arguments.repeat):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                collection = f"peers_{name.replace('-', '_')}_{number}"
                seconds[name].append(runners[name].run(collection))
                found = client.count(collection).count
                if found != len(texts):
                    sys.exit(f"{name} wrote {found} of {len(texts)} texts")
                client.delete_collection(collection)
    _report(texts, seconds)


class Runner:
    """One of `peer_runners`, loaded and waiting in a process of its own."""

    def __init__(self, name: str, peers_python: str, texts: Path, server: Address) -> None:
        python = sys.executable if name in OURS else peers_python
        script = str(Path(__file__).with_name("peer_runners.py"))
        self.name = name
        self._process = subprocess.Popen(
            [python, script, name, str(texts), server.url, str(server.grpc_port), str(KEPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        self._answer()
        print(f"{self.name} is ready", file=sys.stderr)
        return self

    def run(self, collection: str) -> float:
        """Seconds it took."""
        assert self._process.stdin is not None
        print(collection, file=self._process.stdin, flush=True)
        seconds = float(self._answer())
        print(f"{self.name:22} {seconds:7.2f} s", file=sys.stderr)
        return seconds

    def __exit__(self, *exception: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} failed: see above")
        return line


def _report(texts: Sequence[str], seconds: dict[str, list[float]]) -> None:
    peers = [name for name in seconds if name not in OURS]
    rates = {name: [len(texts) / each for each in taken] for name, taken in seconds.items()}
    print(
        f"{machine()}: {len(texts)} texts of {sum(map(len, texts)) / len(texts):,.0f} characters, {len(rates[peers[0]])} rounds"
    )
    for name, rate in sorted(rates.items(), key=lambda item: -median(item[1])):
        print(f"{name:22} {spread(rate, 1)} texts/s")
    fastest = max(peers, key=lambda name: median(rates[name]))
    ratios = {name: [theirs / ours for ours, theirs in zip(seconds[name], seconds[fastest], strict=True)] for name in OURS}
    for name, bound in OURS.items():
        print(f"{name} is {spread(ratios[name])} times as fast as {fastest} (bound: {bound:g})")
    result = {
        "machine": machine(),
        "texts": len(texts),
        "characters": sum(map(len, texts)),
        "texts_per_second": {name: [round(each, 2) for each in rate] for name, rate in rates.items()},
        "fastest_peer": fastest,
        "ratios": {name: [round(each, 3) for each in ratio] for name, ratio in ratios.items()},
    }
    print(json.dumps(result))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The same work, by ingest and by its peers.")
    parser.add_argument("--texts", type=Path, help="a JSONL file; from Python's language reference if not given")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", type=lambda names: names.split(","), help="these peers alone, joined by commas")
    parser.add_argument("--python", required=True, help="of the peers' environment; scripts/bench/peers makes it")
    return parser.parse_args()


if __name__ == "__main__":
    main()

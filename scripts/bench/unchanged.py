"""What a run costs when no file has changed: by version, which opens no file, beside reading everything.

    .venv/bin/python scripts/bench/unchanged.py [--files 200000] [--words 600] [--changed 100] [--store URL] [--keep FOLDER]

Writes a tree of Markdown and HTML files, by turns, into a temporary folder (or FOLDER, which is kept), and stores it, encoded by
`testing.HashEncoder`, in the embedded engine or on the server at `--store`. Then it runs the tree again by version, by content,
and by version after some files were changed, and counts the files below the tree that each run opens. Prints a table and one
JSON object. The first run after the tree was written stores no versions of files that are younger than 2 seconds, so the files
get old times.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from measuring import machine

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.source import open_source
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.testing import HashEncoder, generated_documents

PER_FOLDER = 1000
DAY = 86_400


class Opened:
    """Counts the files below a folder that this process opens."""

    def __init__(self, folder: Path) -> None:
        self._prefix = f"{folder}{os.sep}"
        self.files = 0
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and str(arguments[0]).startswith(self._prefix) and not str(arguments[0]).endswith("ignore"):
            self.files += 1


def main() -> None:
    arguments = _arguments()
    gc.set_threshold(50_000, 20, 50)  # as the command does
    with tempfile.TemporaryDirectory() as temporary:
        folder = (arguments.keep or Path(temporary)).resolve()
        tree = folder / f"tree-{arguments.files}-{arguments.words}"
        if not tree.exists():
            _write(tree, arguments.files, arguments.words)
        opened = Opened(tree)
        collection = f"bench_{uuid.uuid4().hex}"
        results = {}
        with open_store(arguments.store or str(Path(temporary) / "store")) as store:
            try:
                results["first"] = _run(store, collection, tree, opened)
                for name in ("version", "content", "version again"):
                    results[name] = _run(store, collection, tree, opened, check=name.split()[0])
                _change(tree, arguments.changed)
                results["version, changed"] = _run(store, collection, tree, opened)
            finally:
                if arguments.store:
                    store.drop(collection)
    seconds = min(results["version"]["seconds"], results["version again"]["seconds"])
    ratio = results["content"]["seconds"] / seconds
    for name, result in results.items():
        print(f"{name:17} {result['seconds']:8.1f} s {result['cpu']:8.1f} s CPU {result['opened']:9,} opened")
    print(f"by version in 1/{ratio:.1f} of the time")
    kept = {"files": arguments.files, "words": arguments.words, "machine": machine()}
    print(json.dumps({**kept, "runs": results, "ratio": round(ratio, 2)}))


def _write(tree: Path, files: int, words: int) -> None:
    for number, document in enumerate(generated_documents(files, words=words)):
        sentences = document.text.split()
        paragraphs = [" ".join(sentences[at : at + 60]) for at in range(0, words, 60)]
        folder = tree / f"{number // PER_FOLDER:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / (f"{number}.md" if number % 2 else f"{number}.html")
        if number % 2:
            path.write_text(f"# Page {number}\n\n" + "\n\n".join(paragraphs) + "\n")
        else:
            body = "".join(f"<p>{paragraph}</p>\n" for paragraph in paragraphs)
            path.write_text(f"<html><head><title>Page {number}</title></head><body><main>{body}</main></body></html>\n")
        os.utime(path, (time.time() - DAY,) * 2)


def _change(tree: Path, count: int) -> None:
    paths = sorted(tree.rglob("*.md"))
    for path in paths[:: max(1, len(paths) // count)][:count]:
        path.write_text(path.read_text() + "\nOne more line.\n")
        os.utime(path, (time.time() - DAY / 2,) * 2)


def _run(store: Store, collection: str, tree: Path, opened: Opened, check: str = "version") -> dict[str, Any]:
    opened.files = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        BatchRunner([HashEncoder("hash", 8)], lease_directory=Path(folder) / "leases") as runner,
        RejectsFile(Path(folder) / "rejects.jsonl") as rejects,
    ):
        start, cpu = time.perf_counter(), time.process_time()
        job = Job(collection, check=check)  # type: ignore[arg-type]
        receipt = run_job(job, [open_source(tree)], store=store, ensemble=Ensemble(runner), rejects=rejects)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if not receipt.balanced:
        sys.exit(f"the run did not balance: {receipt}")
    counted = {"unchanged": receipt.unchanged, "skipped_unread": receipt.skipped_unread, "updated": receipt.updated}
    return {"seconds": round(seconds, 2), "cpu": round(cpu, 2), "opened": opened.files, **counted}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--words", type=int, default=600, help="words of each file")
    parser.add_argument("--changed", type=int, default=100, help="files that are changed before the last run")
    parser.add_argument("--store", help="URL of a server; default: the embedded engine")
    parser.add_argument("--keep", type=Path, help="folder in which the tree is written, and found again")
    return parser.parse_args()


if __name__ == "__main__":
    main()

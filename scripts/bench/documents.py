"""How well a real tree is read: two PDF manuals and the HTML pages of Python's documentation, from Debian's packages.

    .venv/bin/python scripts/bench/documents.py [--models bm25[,KEY…]] [--checkout DIR] [--folder DIR] [--peer]

Fetches the packages with `apt-get download` into the folder, once. Syncs the tree into an embedded collection, asks 30 queries
whose pages are known, and prints the rank of the first right page, recall@5, nDCG@10, chunks, and pages per second over the PDF
files. `--checkout` measures another version of this project, whose requirements must be installed here; `--peer` also converts
the PDF files with MarkItDown, which must be installed. Prints a table and one JSON object.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PACKAGES = ("python3.11-doc", "gnuplot-doc", "maint-guide")
HTML = ("tutorial", "library", "reference", "howto", "faq", "installing", "distributing", "using", "extending", "distutils")
MANUALS = {"gnuplot.pdf": "gnuplot/gnuplot.pdf", "maint-guide.pdf": "maint-guide/maint-guide.en.pdf"}
PAGES = 311 + 63
QUERIES = [
    # the query as a reader asks it, the right pages, and for a manual a phrase that the right passage has
    ("how do I turn a dict into a JSON string?", "library/json.html", ""),
    (
        "my script should accept flags like --verbose and a file name",
        "library/argparse.html howto/argparse.html library/optparse.html library/getopt.html",
        "",
    ),
    ("read a spreadsheet that was exported with semicolons between the values", "library/csv.html", ""),
    ("start another program and get what it prints", "library/subprocess.html", ""),
    ("checksum of a big file", "library/hashlib.html", ""),
    ("make a safe password reset link", "library/secrets.html", ""),
    ("always get the smallest item out of a changing list quickly", "library/heapq.html", ""),
    ("keep a list sorted while adding to it", "library/bisect.html", ""),
    ("remember the results of a slow function so it is not called twice", "library/functools.html faq/programming.html", ""),
    ("unpack a .tar.gz from the internet without overwriting my files", "library/tarfile.html", ""),
    ("a scratch file that disappears when I am done", "library/tempfile.html", ""),
    ("every possible order of the letters of a word", "library/itertools.html", ""),
    ("which of two one-liners is faster?", "library/timeit.html", ""),
    (
        "print debug messages to a file but only errors to the screen",
        "howto/logging.html howto/logging-cookbook.html library/logging.html",
        "",
    ),
    ("pull the year out of a text like 2024-05-01 by name", "library/re.html howto/regex.html", ""),
    (
        "UnboundLocalError when I change a variable from outside the function",
        "reference/executionmodel.html tutorial/classes.html faq/programming.html",
        "",
    ),
    ("does not bind tighter than and?", "reference/expressions.html", ""),
    ("is there a switch statement?", "reference/compound_stmts.html tutorial/controlflow.html faq/design.html", ""),
    (
        "install packages for one project without touching the system",
        "library/venv.html tutorial/venv.html installing/index.html",
        "",
    ),
    ("list as default argument keeps its old items", "faq/programming.html tutorial/controlflow.html", ""),
    ("why is 0.1 + 0.2 not 0.3?", "tutorial/floatingpoint.html faq/design.html library/decimal.html", ""),
    (
        "send an e-mail with an attachment",
        "library/smtplib.html library/email.examples.html library/email.message.html",
        "",
    ),
    ("run two async functions at the same time and wait for both", "library/asyncio-task.html", ""),
    (
        "let two processes work on the same array",
        "library/multiprocessing.shared_memory.html library/multiprocessing.html library/mmap.html",
        "",
    ),
    ("my bars touch each other, how do I make them thinner?", "gnuplot.pdf", "boxwidth"),
    ("find the curve that goes best through my measurements", "gnuplot.pdf", "least-squares"),
    ("labels are cut off at the edge of the picture", "gnuplot.pdf", "margin"),
    ("what must I call the archive with the original sources?", "maint-guide.pdf", "orig.tar.gz"),
    ("where do I list the packages needed to compile mine?", "maint-guide.pdf", "Build-Depends"),
    ("how do I change upstream code without editing it directly?", "maint-guide.pdf", "quilt"),
]
LIMIT = 10


def main() -> None:
    arguments = _arguments()
    if arguments.inner:
        print(json.dumps(_measure(Path(arguments.inner), arguments.models.split(","))))
        return
    tree = _fetched(arguments.folder.resolve())
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if arguments.checkout:
        environment["PYTHONPATH"] = str(arguments.checkout.resolve())
    command = [sys.executable, __file__, "--inner", str(tree), "--models", arguments.models]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True, cwd=tempfile.gettempdir())
    found = json.loads(done.stdout.splitlines()[-1])
    if arguments.peer:
        found["markitdown_pages_per_s"] = round(PAGES / _peer_seconds(tree), 1)
    for (query, _, _), rank in zip(QUERIES, found["ranks"], strict=True):
        print(f"{rank or '-':>3}  {query}")
    print(json.dumps(found))


def _fetched(folder: Path) -> Path:
    """Return the tree to read, fetched from Debian if it is not there yet."""
    tree = folder / "tree"
    if tree.exists():
        return tree
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=folder, check=True, stdout=sys.stderr)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, folder / "unpacked"], check=True)
    documents = folder / "unpacked" / "usr" / "share" / "doc"
    partial = folder / "partial"
    for part in HTML:
        if (documents / "python3.11" / "html" / part).is_dir():
            shutil.copytree(
                documents / "python3.11" / "html" / part, partial / part, ignore=shutil.ignore_patterns("*.png", "*.svg")
            )
    for name, path in MANUALS.items():
        shutil.copy(documents / path, partial / name)
    return partial.rename(tree)


def _measure(tree: Path, keys: list[str]) -> dict[str, Any]:
    """Sync and query the tree with the version of the project that is imported here."""
    import ingest
    from ingest.source import open_source

    started = time.perf_counter()
    read = [document for name in MANUALS for document in open_source(str(tree / name)).read()]
    manuals_s = time.perf_counter() - started
    if len(read) != len(MANUALS):
        sys.exit(f"a manual was not read: {read}")
    with tempfile.TemporaryDirectory() as folder, ingest.Collection("tree", store=folder, models=keys) as collection:
        started = time.perf_counter()
        receipt = collection.sync(str(tree))
        sync_s = time.perf_counter() - started
        ranks = [_rank(collection, *query) for query in QUERIES]
    gains = [1 / math.log2(1 + rank) if rank else 0.0 for rank in ranks]
    return {
        "models": keys,
        "documents": receipt.written,
        "rejected": receipt.rejected,
        "chunks": receipt.chunks.written,
        "recall@5": round(sum(0 < rank <= 5 for rank in ranks) / len(ranks), 3),
        "ndcg@10": round(sum(gains) / len(gains), 3),
        "sync_s": round(sync_s, 1),
        "pages_per_s": round(PAGES / manuals_s, 1),
        "ranks": ranks,
    }


def _rank(collection: Any, query: str, pages: str, phrase: str) -> int:
    """Return the rank of the first right page or passage among distinct ones, from 1; 0: not among the first ten."""
    seen: list[str] = []
    for hit in collection.search(query, limit=5 * LIMIT, rerank="off"):
        right = hit.doc_id in pages.split() and phrase.lower() in hit.text.lower()
        if right:
            return len(seen) + 1 if len(seen) < LIMIT else 0
        if hit.doc_id not in seen:
            seen.append(hit.doc_id)
    return 0


def _peer_seconds(tree: Path) -> float:
    from markitdown import MarkItDown

    converter = MarkItDown(enable_plugins=False)
    started = time.perf_counter()
    for name in MANUALS:
        converter.convert(str(tree / name))
    return time.perf_counter() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="bm25")
    parser.add_argument("--checkout", type=Path)
    parser.add_argument("--folder", type=Path, default=Path(".bench/documents"))
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--inner", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

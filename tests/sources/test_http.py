"""Files over HTTP, from servers that send pieces of a file and from one that cannot."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.errors import SourceError
from ingest.records import Document
from ingest.source.open import open_source

RECORDS = [{"id": f"d{number}", "text": f"{number} " + "word " * 100} for number in range(6_000)]
"""Three megabytes of documents."""


class Files(ThreadingHTTPServer):
    """A server of a folder that notes the ranges it was asked for. Like Python's own, it answers every request with the file."""

    daemon_threads = True
    pieces = False
    cut = False

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), self.handler)
        self.folder = folder
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has what it wants closes the connection."""

    class handler(SimpleHTTPRequestHandler):  # noqa: N801
        server: Files

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            self.server.ranges.append(asked)
            content = (self.server.folder / self.path.strip("/")).read_bytes()
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", asked or "") if self.server.pieces else None
            first, last = (int(found[1]), min(int(found[2]), len(content) - 1)) if found else (0, len(content) - 1)
            self.send_response(206 if found else 200)
            if found:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.write(content[first : last + 1 if not self.server.cut else (first + last) // 2])

        def translate_path(self, path: str) -> str:
            return str(self.server.folder / path.strip("/"))

        def log_message(self, *_: Any) -> None:
            """Print nothing."""


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    (tmp_path / "docs.jsonl").write_text(lines)
    pq.write_table(pa.Table.from_pylist(RECORDS), tmp_path / "docs.parquet", compression="none", use_dictionary=False)
    with Files(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.parquet"])
@pytest.mark.parametrize("pieces", [True, False])
def test_a_large_file_is_read_whether_or_not_the_server_sends_pieces(files: Files, name: str, pieces: bool) -> None:
    files.pieces = pieces
    read = [each for each in open_source(f"{files.url}/{name}").read() if isinstance(each, Document)]
    assert [(each.id, each.text) for each in read] == [(record["id"], record["text"]) for record in RECORDS]
    assert files.ranges[0] == "bytes=0-0"
    assert (None in files.ranges) == (not pieces)


def test_a_file_that_is_cut_short_is_an_error(files: Files) -> None:
    files.cut = True
    with pytest.raises(SourceError, match=r"cannot open .*docs\.jsonl"):
        list(open_source(f"{files.url}/docs.jsonl").read())

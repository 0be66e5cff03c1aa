"""Standard input as a source: read once, in any format, and in order to the end."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.errors import SourceError
from ingest.records import Document
from ingest.source import open_source


@contextmanager
def stdin(data: bytes) -> Iterator[None]:
    """A pipe with the data in it for standard input."""
    saved = os.dup(0)
    reader, writer = os.pipe()
    try:
        os.write(writer, data)
        os.dup2(reader, 0)
        os.close(writer)
        os.close(reader)
        yield
    finally:
        os.dup2(saved, 0)
        os.close(saved)


def test_standard_input_is_json_lines_and_can_be_read_once() -> None:
    with stdin(b'{"id": "a", "text": "t"}\n{"id"\n'):
        source = open_source("-")
        assert source.name == "stdin"
        found, bad = source.read()
        assert (found.position, bad.position) == ("stdin:1", "stdin:2")
        assert os.read(0, 1) == b"", "it is still open"
        with pytest.raises(SourceError, match="stdin was read already"):
            list(source.read())


def test_standard_input_of_other_formats() -> None:
    parquet = io.BytesIO()
    pq.write_table(pa.table({"id": ["a"], "text": ["t"]}), parquet)
    for form, data, doc_id in [
        ("csv", b"id,text\na,t\n", "a"),
        ("parquet", parquet.getvalue(), "a"),
        ("jsonl.zst", pa.compress(b'{"id": "a", "text": "t"}\n', "zstd", asbytes=True), "a"),
        ("text", b"t", "stdin"),
    ]:
        with stdin(data):
            (found,) = open_source("-", format=form).read()
        assert isinstance(found, Document)
        assert (found.id, found.text) == (doc_id, "t")


@pytest.mark.parametrize("form", ["jsonl.gz", "csv.zst", "text.gz"])
def test_nothing_is_no_compressed_standard_input(form: str) -> None:
    with stdin(b""), pytest.raises(SourceError, match="cannot read stdin after 0 bytes: the file is empty"):
        list(open_source("-", format=form).read())


def test_a_process_ends_in_peace_while_a_thread_waits_for_standard_input() -> None:
    script = """
import threading
from ingest.source import open_source
first = threading.Event()
def read():
    for _ in open_source("-").read():
        first.set()
threading.Thread(target=read, daemon=True).start()
first.wait()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(b'{"id": "a", "text": "t"}\n')
        process.stdin.flush()
        assert (process.wait(60), process.stderr.read()) == (0, b"")


def test_a_closed_standard_input_is_a_broken_source() -> None:
    script = """
import sys
from ingest.errors import SourceError
from ingest.source import open_source
other = open("/dev/null")  # takes the descriptor that was standard input's
try:
    list(open_source("-").read())
except SourceError as exc:
    print(exc)
"""
    command = ["/bin/sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, script]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "standard input is closed: pipe the documents in, or name a file\n"

"""Input made to harm: it ends in documents, rejects or one clear error, in bounded memory, and never in anything else."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_data import manifest

from ingest.cli.invocation import Invocation
from ingest.errors import ConfigurationError, IngestError, SourceError, StoreError
from ingest.records import Document, Rejected
from ingest.source import open_source
from ingest.store.expression import parse_expression
from ingest.store.filters import parse_where
from ingest.store.schema import manifest_from_json, manifest_to_json

MEBIBYTE = 2**20
anyhow = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def read(location: Path | str, **options: Any) -> list[Document | Rejected]:
    return list(open_source(str(location), **options).read())


# --- bounded memory: in a process of its own, whose greatest size is what counts

READING = r"""
import re, sys
from pathlib import Path
from ingest.source import open_source
items = 0
try:
    for item in open_source(sys.argv[1], format=sys.argv[2], max_record_bytes=2**20).read():
        items += 1
except Exception as exc:
    print(type(exc).__name__)
# Not ru_maxrss: that also counts what the process that started this one held.
print(items, int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""
BASE_MEBIBYTES = 260
"""What the libraries take, and a few blocks."""


def in_little_memory(location: str, form: str, feed: Callable[[io.BufferedWriter], None] | None = None) -> list[str]:
    """What the reader printed; it never took much memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", READING, location, form], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=False
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if feed is not None:
        feed(process.stdin)  # type: ignore[arg-type]
    process.stdin.close()
    printed = process.stdout.read().decode().split()
    assert process.wait(timeout=120) == 0
    assert int(printed[-1]) < BASE_MEBIBYTES, printed
    return printed[:-1]


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
@pytest.mark.parametrize(
    ("form", "start", "end"),
    [
        ("jsonl", b'{"id": "a", "text": "', b'"}\n{"id": "b", "text": "fine"}\n'),
        ("csv", b'id,text\na,"', b'"\nb,fine\n'),
        ("html", b"<p>", b"</p>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_unpacks_to_hundreds_of_megabytes_does_not_fill_memory(
    tmp_path: Path, codec: Literal["gzip", "zstd"], form: str, start: bytes, end: bytes
) -> None:
    bomb = tmp_path / "bomb"
    zeros = pa.compress(b"0" * (16 * MEBIBYTE), codec, asbytes=True)
    bomb.write_bytes(pa.compress(start, codec, asbytes=True) + 20 * zeros + pa.compress(end, codec, asbytes=True))
    assert bomb.stat().st_size < MEBIBYTE
    suffix = {"gzip": "gz", "zstd": "zst"}[codec]
    assert in_little_memory(str(bomb), f"{form}.{suffix}") == ["1" if form == "html" else "2"]


def test_a_line_of_a_gigabyte_in_a_pipe_does_not_fill_memory() -> None:
    block = b"x" * MEBIBYTE

    def feed(pipe: io.BufferedWriter) -> None:
        pipe.write(b'{"id": "long", "text": "')
        pipe.writelines(block for _ in range(1024))
        pipe.write(b'"}\n{"id": "good", "text": "fine"}\n')

    assert in_little_memory("-", "jsonl", feed) == ["2"]


# --- shapes


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 500_000,
        b'{"a":' * 100_000,
        b'{"id": "a", "text": "t", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"id": NaN, "text": "t"}',
        b'{"id": "a", "text": NaN}',
        b'{"id": "a", "text": "t", "x": [{"y": -Infinity}]}',
        b'{"id": "a", "text": "\\ud800"}',
        b'{"id": "\\udfff", "text": "t"}',
        b'{"id": "a", "text": "t", "\\ud800": 1}',
        b'{"id": "a", "text": "t", "x": 1' + b"0" * 5_000 + b"}",
        b'{"id": "a", "text": "t", "x": 1e999}',
    ],
    ids=lambda line: line[:40].decode(),
)
def test_a_record_that_json_should_not_hold_is_rejected_alone(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line + b'\n{"id": "good", "text": "fine"}\n')
    bad, good = read(path)
    assert isinstance(bad, Rejected)
    json.dumps(bad.raw, ensure_ascii=False).encode()
    assert isinstance(good, Document)


def test_a_hundred_thousand_columns(tmp_path: Path) -> None:
    names = ["id", "text", *(f"c{number}" for number in range(100_000))]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join([",".join(names), ",".join(["a", "t", *["1"] * 100_000]), "b,short"]))
    wide, short = read(path)
    assert isinstance(wide, Document)
    assert len(wide.metadata) == 100_000
    assert isinstance(short, Rejected)
    with pytest.raises(SourceError, match=r"header .* larger than 10,000 bytes"):
        read(path, max_record_bytes=10_000)


def test_scripts_of_a_page_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(
        "<body onload='evil1()'><script>evil2()</script ><SCRIPT SRC=evil3.js></SCRIPT><p onclick=evil4()>seen</p>"
        "<svg><script>evil5()</script></svg><noscript>evil6</noscript><template><p>evil7</p></template>"
        "<style>@import 'evil8'</style><!-- evil9 --><a href='#'>link</a><script>evil10()"
    )
    [page] = read(path)
    assert isinstance(page, Document)
    assert "seen" in page.text
    assert "evil" not in page.text


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/stdin", "/proc/self/mem"])
def test_a_device_is_no_document(tmp_path: Path, device: str) -> None:
    (tmp_path / "link.txt").symlink_to(device)
    assert read(tmp_path) == []
    (tmp_path / "a.txt").write_text("fine")
    assert [item.id for item in read(tmp_path) if isinstance(item, Document)] == ["a.txt"]


def test_a_pipe_that_was_named_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        read(tmp_path / "pipe.jsonl")


def test_links_that_lead_nowhere_but_to_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "b.txt").symlink_to(tmp_path / "a.txt")
    assert read(tmp_path) == []
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "a.txt")
    assert "\n" not in str(caught.value)


# --- Parquet that lies


def parquet(rows: int = 500) -> bytes:
    buffer = io.BytesIO()
    ids = [str(number) for number in range(rows)]
    pq.write_table(pa.table({"id": ids, "text": [f"text {each}" for each in ids]}), buffer, row_group_size=100)
    return buffer.getvalue()


PARQUET = parquet()
FOOTER = 8 + int.from_bytes(PARQUET[-8:-4], "little")


@pytest.mark.parametrize("length", [0, 1, FOOTER * 2, 2**31 - 1, 2**32 - 1])
def test_a_footer_of_another_length_than_it_has(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(PARQUET[:-8] + length.to_bytes(4, "little") + b"PAR1")
    with pytest.raises(SourceError) as caught:
        read(path)
    assert "\n" not in str(caught.value)


LYING = """
import random, sys
from pathlib import Path
from ingest.errors import SourceError
from ingest.source import open_source
whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
chance, footer = random.Random(int(sys.argv[3])), int(sys.argv[4])
outcomes = set()
for _ in range(600):
    data = bytearray(whole)
    for _ in range(chance.randint(1, 4)):
        data[chance.randrange(len(data) - footer, len(data) - 8)] = chance.randrange(256)
    path.write_bytes(data)
    try:
        list(open_source(str(path)).read())
        outcomes.add("read")
    except SourceError as exc:
        assert "\\n" not in str(exc)
        outcomes.add("refused")
print(*sorted(outcomes))
"""


def test_metadata_that_lies_is_a_broken_source(tmp_path: Path) -> None:
    """Six hundred footers with bytes of theirs changed: counts of rows and values, offsets, types."""
    (tmp_path / "whole").write_bytes(PARQUET)
    done = subprocess.run(
        [sys.executable, "-c", LYING, str(tmp_path / "whole"), str(tmp_path / "a.parquet"), "7", str(FOOTER)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["read", "refused"]), done.stderr[-2000:]


# --- anything at all


def fragments(*parts: bytes) -> st.SearchStrategy[bytes]:
    """Bytes, and such as the reader half understands."""
    return st.binary(max_size=300) | st.lists(st.sampled_from(parts) | st.binary(max_size=5), max_size=40).map(b"".join)


JSON = (b'{"id":', b'"text":', b'"a"', b"1e99", b"NaN", b"[", b"]", b"{", b"}", b",", b":", b'"\\ud800"', b"\n", b"\\", b'"')
CSV = (b"id", b"text", b",", b"\t", b'"', b'""', b"\n", b"\r", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf")
HTML = (
    *(b"<p>", b"</p>", b"<script>", b"<", b">", b"&", b"&#x110000;", b"&#xd800;", b"<!--", b"-->", b"<![CDATA[", b"<!", b"<?"),
    *(b"<table><tr><td colspan=99999999>", b"<ol start=x>", b"<li>", b"<h1>", b"<title>", b"<a href='", b"<img src=x>", b"<pre>"),
    b"text",
)
PIECES = {"jsonl": JSON, "csv": CSV, "tsv": CSV, "html": HTML, "markdown": (b"# ", b"```", b"~~~", b"===", b"\n", b"text")}


@anyhow
@given(data=st.data())
@pytest.mark.parametrize("form", [*PIECES, "jsonl.gz", "jsonl.zst", "parquet", "text", "code:python"])
def test_whatever_a_file_holds_it_is_read_rejected_or_refused(tmp_path: Path, form: str, data: st.DataObject) -> None:
    path = tmp_path / "file"
    path.write_bytes(data.draw(fragments(*PIECES.get(form, JSON))))
    try:
        items = read(path, format=form, max_record_bytes=1024)
    except SourceError as exc:
        assert "\n" not in str(exc)  # noqa: PT017  whether it fails depends on the input
    else:
        for item in items:
            shown = item.reason if isinstance(item, Rejected) else item.id + item.text
            shown.encode()  # can be stored and shown


@anyhow
@given(st.binary(max_size=60), st.integers(0, 2**32))
def test_a_parquet_with_damage_anywhere_is_read_or_refused(tmp_path: Path, junk: bytes, seed: int) -> None:
    chance = random.Random(seed)
    at = chance.randrange(len(PARQUET) - FOOTER)
    path = tmp_path / "a.parquet"
    path.write_bytes(PARQUET[:at] + junk + PARQUET[at + len(junk) :])
    try:
        assert len(read(path)) <= 500
    except SourceError as exc:
        assert "\n" not in str(exc)  # noqa: PT017  as above


# --- what users write: conditions, settings, manifests

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@anyhow
@given(st.dictionaries(st.text(max_size=6), anything, max_size=3))
def test_conditions_of_any_values_are_read_or_refused(where: Mapping[str, Any]) -> None:
    refused_or_done(lambda: parse_where(where), ConfigurationError)


@pytest.mark.parametrize(
    "expression", ["(" * 100_000, "a=" + "[" * 100_000, "a=" + '"' * 99_999, "a=1&" * 100_000 + "b", "!" * 100_000]
)
def test_a_long_expression_takes_no_long_time(expression: str) -> None:
    refused_or_done(lambda: parse_expression(expression), ConfigurationError)


def toml(value: Any) -> str:
    """A value as TOML has it, for what JSON has too."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return (
        {True: "true", False: "false", None: "''"}.get(value, json.dumps(value)) if not isinstance(value, float) else repr(value)
    )


NAMES = (
    *(
        "dense",
        "sparse",
        "weights",
        "store",
        "api_key",
        "timeout",
        "models",
        "fields",
        "layout",
        "jobs",
        "max_rejects",
        "precision",
    ),
    *("chunk_tokens", "delete_after", "collections", "daemon_port", "jobs_dir", "trust_remote_code", "unknown", ""),
)


@anyhow
@given(
    st.dictionaries(st.sampled_from(NAMES), anything | st.sampled_from(["10%", "7d", "none", "1e400d", "-1", "nan%"]), max_size=4)
)
def test_a_settings_file_of_any_values_is_read_or_refused(tmp_path: Path, values: Mapping[str, Any]) -> None:
    file = tmp_path / "ingest.toml"
    file.write_text("".join(f"{json.dumps(name)} = {toml(value)}\n" for name, value in values.items()), errors="replace")
    refused_or_done(lambda: Invocation(file).settings().model_dump_json(), ConfigurationError)


@anyhow
@given(fragments(b"[jobs.", b"]", b"dense", b" = ", b'"', b"[", b"{", b"\n", b"'''", b"1e9", b"2026-01-01", b"\xff", b"#", b"."))
def test_a_settings_file_of_any_bytes_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ingest.toml"
    file.write_bytes(content)
    refused_or_done(lambda: Invocation(file).settings(), ConfigurationError)


def test_a_settings_file_nested_without_end_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ingest.toml"
    file.write_text("dense = " + "[" * 100_000)
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        Invocation(file).settings()


@anyhow
@given(st.data())
def test_a_manifest_of_any_values_is_read_or_refused(data: st.DataObject) -> None:
    whole = json.loads(json.dumps(manifest_to_json(manifest("docs"))))
    place: Any = whole
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        place[key] = data.draw(anything)
    else:
        del place[key]
    refused_or_done(lambda: manifest_from_json(whole, "docs"), StoreError)
    refused_or_done(lambda: manifest_from_json(data.draw(anything), "docs"), StoreError)


def refused_or_done(call: Callable[[], object], refusal: type[IngestError]) -> None:
    try:
        call()
    except refusal as exc:
        assert "\n" not in str(exc)  # noqa: PT017  whether it fails depends on the input

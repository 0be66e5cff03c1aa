"""Files, folders, globs and URLs as sources."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.errors import ConfigurationError, IngestError, SourceError
from ingest.records import Document, Rejected
from ingest.source import open_source

Item = Document | Rejected
LINE = '{"id": "1", "text": "a record"}\n'


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def read(location: Path | str, **options: Any) -> list[Item]:
    return list(open_source(str(location), **options).read())


def ids(items: list[Item]) -> list[str]:
    assert not [item for item in items if isinstance(item, Rejected)]
    return [item.id for item in items if isinstance(item, Document)]


def only(items: list[Item]) -> Document:
    (item,) = items
    assert isinstance(item, Document), item
    return item


def refused(items: list[Item]) -> Rejected:
    (item,) = items
    assert isinstance(item, Rejected), item
    return item


def test_a_folder_is_read_in_sorted_order_without_hidden_junk_and_unknown_files(tmp_path: Path) -> None:
    wanted = "b.md a/z.TXT a/b/c.rst a.txt"
    left_out = ".hidden.md .git/x.md .venv/x.py node_modules/x.js a/__pycache__/x.py picture.png LICENSE x.bin"
    tree(tmp_path, dict.fromkeys([*wanted.split(), *left_out.split()], "text"))
    assert ids(read(tmp_path)) == ["a/b/c.rst", "a/z.TXT", "a.txt", "b.md"]


def test_a_hidden_folder_can_be_named(tmp_path: Path) -> None:
    assert ids(read(tree(tmp_path, {".notes/a.md": "text"}) / ".notes")) == ["a.md"]


def test_links_pipes_and_loops_are_left_out(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", {"a.md": "text", "sub/b.md": "text"})
    tree(tmp_path / "elsewhere", {"secret.md": "text"})
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "file.md").symlink_to(tmp_path / "elsewhere" / "secret.md")
    (root / "broken.md").symlink_to(tmp_path / "nowhere")
    (root / "sub" / "loop").symlink_to(root)
    os.mkfifo(root / "pipe.md")
    assert ids(read(root)) == ["a.md", "sub/b.md"]


def test_a_named_link_is_followed(tmp_path: Path) -> None:
    tree(tmp_path, {"real/a.md": "text"})
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "b.md").symlink_to(tmp_path / "real" / "a.md")
    assert ids(read(tmp_path / "folder")) == ["a.md"]
    source = open_source(str(tmp_path / "b.md"))
    assert source.name == f"{tmp_path}/real/a.md"
    assert ids(list(source.read())) == ["b.md"]


def test_a_file_is_a_document(tmp_path: Path) -> None:
    tree(tmp_path, {"docs/guide.md": "\ufeff# The *Guide*\n\nText.\n", "docs/plain.txt": "# no heading"})
    assert only(read(tmp_path / "docs/guide.md")) == Document(
        "guide.md",
        "# The *Guide*\n\nText.\n",
        "The *Guide*",
        {"path": "guide.md"},
        "markdown",
        f"{tmp_path}/docs/guide.md",
        first_line=1,
    )
    assert only(read(tmp_path / "docs/plain.txt")).title is None
    found = read(tmp_path)[0]
    assert isinstance(found, Document)
    assert (found.id, found.metadata, found.position) == (
        "docs/guide.md",
        {"path": "docs/guide.md"},
        f"{tmp_path}/docs/guide.md",
    )


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("text\n\n## Second level ##\n", "Second level"),
        ("Underlined\n==========\n\ntext", "Underlined"),
        ("```sh\n# comment\n```\n\n# Real\n", "Real"),
        ("~~~\n```\n# comment\n~~~\n# Real\n", "Real"),
        ("#hashtag\n\ntext", None),
        ("text\n\n===\n", None),
        ("    # code\n", None),
        ("```\n# never closed\n", None),
    ],
)
def test_the_first_heading_of_markdown_is_the_title(tmp_path: Path, text: str, title: str | None) -> None:
    assert only(read(tree(tmp_path, {"a.md": text}) / "a.md")).title == title


def test_source_code_knows_its_language(tmp_path: Path) -> None:
    tree(tmp_path, dict.fromkeys(["a.py", "b.rs", "c.tsx", "d.h", "e.go", "f.java", "g.mjs", "h.sh"], "text"))
    assert [item.format for item in read(tmp_path) if isinstance(item, Document)] == [
        f"code:{language}" for language in ("python", "rust", "tsx", "c", "go", "java", "javascript", "bash")
    ]


def test_html_becomes_markdown(tmp_path: Path) -> None:
    html = """<html><head><title>The
        title</title><style>p { color: red }</style></head><body><script>alert(1)</script>
        <h1>Heading</h1><p>One <b>bold</b> &amp; <a href="/x">link</a>.</p><ul><li>item</li></ul></body></html>"""
    found = only(read(tree(tmp_path, {"a.html": html}) / "a.html"))
    assert found.title is not None
    assert found.title.split() == ["The", "title"]
    assert found.format == "markdown"
    assert found.text.startswith("# Heading\n\nOne **bold** & [link](/x).")
    for dropped in ("alert", "color", "title"):
        assert dropped not in found.text
    assert only(read(tree(tmp_path, {"b.htm": "<h2>Only a heading</h2>x"}) / "b.htm")).title == "Only a heading"


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.md", b"x\xff\xfey", "the file is not UTF-8 (byte 2)"),
        ("a.py", b"\x7fELF\0\0", "the file is binary: it contains NUL bytes"),
        ("a.txt", b" \n", "the text is empty"),
        ("a.md", b"", "the text is empty"),
        ("a.html", b"<p></p>", "the text is empty"),
        ("a.html", b"<div>" * 5_000 + b"x", "the HTML is nested too deeply"),
        ("a.txt", b"x" * 100_001, "the file is larger than 100,000 bytes: raise max_record_bytes to accept it"),
        ("a.docx", b"not a zip file", "the file cannot be read as docx: "),
        ("a.pdf", b"not a PDF", "the file cannot be read as pdf: "),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_rejected(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    tree(tmp_path, {f"sub/{name}": data, "sub/z.txt": "fine"})
    for root, doc_id in ((tmp_path, f"sub/{name}"), (tmp_path / "sub", name)):
        bad, fine = read(root, max_record_bytes=100_000)
        assert isinstance(bad, Rejected)
        assert (bad.position, bad.doc_id) == (f"{tmp_path}/sub/{name}", doc_id)
        assert bad.reason.startswith(reason)
        assert isinstance(fine, Document)
    assert refused(read(tmp_path / "sub" / name, max_record_bytes=100_000)).doc_id == name


def test_a_large_file_is_not_held(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        file.truncate(2**40)
    assert refused(read(tmp_path / "a.txt")).reason.startswith("the file is larger than 16,777,216 bytes")


def test_a_name_that_is_not_utf8_is_rejected(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"x\xff.md")).write_text("text")
    (tmp_path / os.fsdecode(b"y\xff.jsonl")).write_text(LINE)
    items = read(tmp_path)
    for name, bad in zip(("x\\udcff.md", "y\\udcff.jsonl:1"), items, strict=True):
        assert isinstance(bad, Rejected)
        assert bad.reason == "the id is not valid Unicode: not UTF-8, or a lone surrogate"
        assert bad.position == f"{tmp_path}/{name}"
    source = open_source(str(tmp_path / os.fsdecode(b"y\xff.jsonl")))
    assert source.name == f"{tmp_path}/y\\udcff.jsonl"
    assert ids(list(source.read())) == ["1"]


def test_tables_in_a_folder_are_records_whose_ids_name_their_file(tmp_path: Path) -> None:
    tree(tmp_path, {"a.jsonl": LINE, "sub/a.jsonl": LINE + "{", "sub/b.csv": "text\nwithout id\n", "c.md": "text"})
    pq.write_table(pa.table({"id": [1], "text": ["t"]}), tmp_path / "d.parquet")
    items = read(tmp_path)
    found = [item.id for item in items if isinstance(item, Document)]
    assert found[:4] == ["a.jsonl//1", "c.md", "d.parquet//1", "sub/a.jsonl//1"]
    assert found[4].startswith("sub/b.csv//")
    assert [item.position for item in items if isinstance(item, Rejected)] == [f"{tmp_path}/sub/a.jsonl:2"]


def test_a_table_in_a_folder_that_can_be_no_documents_is_rejected_as_a_whole(tmp_path: Path) -> None:
    tree(tmp_path, {"a.csv": "x,y\n1,2\n", "b.md": "text"})
    bad, fine = read(tmp_path)
    assert isinstance(bad, Rejected)
    assert "has no column named text" in bad.reason
    assert isinstance(fine, Document)


def test_a_compressed_table_in_a_folder_that_breaks_is_rejected_and_holds_deletes_back(tmp_path: Path) -> None:
    tree(tmp_path, {"a.jsonl.gz": gzip.compress(LINE.encode() * 1_000)[:-9], "b.md": "text"})
    *_, rejected, last = read(tmp_path)
    assert isinstance(rejected, Rejected)
    assert "a.jsonl.gz" in rejected.reason
    assert (rejected.unidentified, rejected.id_prefix) == (True, "a.jsonl.gz//")
    assert isinstance(last, Document)


@pytest.mark.parametrize(("name", "content"), [("b.csv", 'id,text\n1,"open\n2,b\n'), ("b.parquet", "id,text"), ("b.parquet", "")])
def test_a_table_that_breaks_off_concerns_itself_alone_in_a_folder(tmp_path: Path, name: str, content: str) -> None:
    tree(tmp_path, {"a.md": "text", name: content, "c.md": "text"})
    found = list(open_source(tmp_path).read())
    assert [each.id for each in found if isinstance(each, Document)] == ["a.md", "c.md"]
    [rejected] = [each for each in found if isinstance(each, Rejected)]
    assert (rejected.unidentified, rejected.id_prefix) == (True, f"{name}//")  # its records may be missing, so none is deleted
    assert rejected.position.endswith(name)


@pytest.mark.parametrize(("codec", "checksums"), [("none", True), ("gzip", False)])  # gzip has checksums of its own
def test_a_parquet_file_with_a_damaged_page_is_rejected_with_the_row_before_it(
    tmp_path: Path, codec: Literal["none", "gzip"], checksums: bool
) -> None:
    path = tree(tmp_path, {"a.md": "text", "c.md": "text"}) / "b.parquet"
    columns = {"id": [f"{number:03}" for number in range(512)], "text": [f"text {number}" for number in range(512)]}
    pq.write_table(
        pa.table(columns), path, row_group_size=256, compression=codec, use_dictionary=False, write_page_checksum=checksums
    )
    data = path.read_bytes()
    second = pq.ParquetFile(path).metadata.row_group(1).column(1)
    at = second.data_page_offset + second.total_compressed_size - 1
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    found = list(open_source(tmp_path).read())
    assert [each.id for each in found if isinstance(each, Document)] == [
        "a.md",
        *(f"b.parquet//{number:03}" for number in range(256)),
        "c.md",
    ]
    [rejected] = [each for each in found if isinstance(each, Rejected)]
    assert rejected.unidentified
    assert rejected.reason.startswith(f"cannot read {path} after row 256: ")


def test_compressed_files_are_read(tmp_path: Path) -> None:
    tree(tmp_path, {"a.md.gz": gzip.compress(b"# Title\n"), "b.PY.GZ": gzip.compress(b"pass\n")})
    first, second = read(tmp_path)
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.id, first.title, second.format) == ("a.md.gz", "Title", "code:python")


def test_a_file_that_goes_away_while_the_folder_is_read_keeps_its_id(tmp_path: Path) -> None:
    reading = open_source(str(tree(tmp_path, {"a.md": "text", "b.md": "text"}))).read()
    next(reading)
    (tmp_path / "b.md").unlink()
    (gone,) = reading
    assert isinstance(gone, Rejected)
    assert gone.doc_id == "b.md"
    assert gone.reason.startswith("the file cannot be opened")


def test_a_table_that_goes_away_while_the_folder_is_read_breaks_the_source(tmp_path: Path) -> None:
    reading = open_source(str(tree(tmp_path, {"a.md": "text", "b.jsonl": LINE}))).read()
    next(reading)
    (tmp_path / "b.jsonl").unlink()
    with pytest.raises(SourceError, match=r"cannot open .*b\.jsonl"):
        list(reading)


def test_patterns_choose_files(tmp_path: Path) -> None:
    tree(tmp_path, dict.fromkeys(["a.md", "sub/b.md", "sub/deep/c.md", "sub/d.py", "other/e.py"], "text"))
    assert ids(read(tmp_path, include=["*.md"])) == ["a.md", "sub/b.md", "sub/deep/c.md"]
    assert ids(read(tmp_path, include=["sub/*"])) == ["sub/b.md", "sub/d.py"]
    assert ids(read(tmp_path, include=["*.md", "*.py"], exclude=["sub/**"])) == ["a.md", "other/e.py"]
    assert ids(read(tmp_path, include=["*.rs"])) == []


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, dict.fromkeys(["a.md", "sub/b.md", "sub/deep/c.md", "sub/d.py", "we[i]rd.md"], "text"))
    assert ids(read(tmp_path / "*.md")) == ["a.md", "we[i]rd.md"]
    assert ids(read(tmp_path / "**/*.md")) == ["a.md", "sub/b.md", "sub/deep/c.md", "we[i]rd.md"]
    assert ids(read(tmp_path / "sub" / "[bd].*")) == ["b.md", "d.py"]
    assert ids(read(tmp_path / "**" / "*.??", exclude=["*.md"])) == ["sub/d.py"]
    assert ids(read(tmp_path / "we[i]rd.md")) == ["we[i]rd.md"], "a file of that very name comes first"
    monkeypatch.chdir(tmp_path)
    assert open_source("*/**/c.md").name == f"{tmp_path}/*/**/c.md"
    assert ids(read("s*/b.md")) == ["sub/b.md"]


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("nowhere", SourceError, "there is no .*nowhere: check the path"),
        ("nowhere/*.md", SourceError, "there is no folder .*nowhere"),
        ("picture.png", ConfigurationError, "the format of .* is unknown: name it with --format"),
        ("pipe", SourceError, "neither a file nor a folder"),
        ("nope://x/y.md", ConfigurationError, "nope://x/y.md"),
        ("memory://nothing/here.md", SourceError, "there is no memory://nothing/here.md"),
    ],
)
def test_what_cannot_be_opened_says_why(tmp_path: Path, location: str, error: type[IngestError], message: str) -> None:
    tree(tmp_path, {"picture.png": "x"})
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(error, match=message) as caught:
        open_source(location if "://" in location else f"{tmp_path}/{location}")
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_an_unknown_format_is_a_wrong_request(tmp_path: Path) -> None:
    tree(tmp_path, {"a.md": "text"})
    for location in (tmp_path, tmp_path / "a.md"):
        with pytest.raises(ConfigurationError, match="no format is called 'excel': use jsonl"):
            open_source(str(location), format="excel")


def test_a_forced_format_is_that_of_every_file(tmp_path: Path) -> None:
    tree(tmp_path, {"LICENSE": "text", "a.conf": "text"})
    assert ids(read(tmp_path, format="text")) == ["LICENSE", "a.conf"]


def test_a_folder_without_files_is_an_empty_source(tmp_path: Path) -> None:
    source = open_source(str(tree(tmp_path, {"a.md": "text"})))
    (tmp_path / "a.md").unlink()
    assert list(source.read()) == []
    assert list(open_source(str(tmp_path)).read()) == []
    assert list(open_source(f"{tmp_path}/*.md").read()) == []


def test_names_are_resolved_and_can_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree(tmp_path, {"docs/a.md": "text"})
    monkeypatch.chdir(tmp_path / "docs")
    for location in (".", "../docs", "../docs/", str(tmp_path / "docs"), f"file://{tmp_path}/docs"):
        assert open_source(location).name == f"{tmp_path}/docs"
    assert open_source("a.md").name == f"{tmp_path}/docs/a.md"
    assert open_source(".", name="handbook").name == "handbook"

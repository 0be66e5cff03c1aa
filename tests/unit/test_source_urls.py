"""URLs as sources: what they are called, and what is never shown of them."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import fsspec  # type: ignore[import-untyped]
import pytest

from ingest.errors import ConfigurationError, SourceError
from ingest.records import Document, Rejected
from ingest.source import open_source
from ingest.source.places import public_url
from ingest.source.streams import first_line  # inner seams: no server here speaks these protocols

LINE = '{"id": "1", "text": "a record"}\n'


def read(location: str, **options: Any) -> list[Document | Rejected]:
    return list(open_source(location, **options).read())


def ids(items: list[Document | Rejected]) -> list[str]:
    assert not [item for item in items if isinstance(item, Rejected)]
    return [item.id for item in items if isinstance(item, Document)]


def test_urls_of_any_file_system() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/a.md": b"# T\n", "/bucket/sub/b.jsonl": LINE.encode(), "/bucket/sub/.hidden.md": b"x"})
    try:
        assert ids(read("memory://bucket")) == ["a.md", "sub/b.jsonl//1"]
        assert ids(read("memory://bucket/**/*.md")) == ["a.md"]
        source = open_source("memory://bucket/sub/b.jsonl")
        assert source.name == "memory://bucket/sub/b.jsonl"
        assert ids(list(source.read())) == ["1"]
        assert ids(read("memory://*/a.md")) == ["bucket/a.md"]
    finally:
        memory.rm("/bucket", recursive=True)


def test_names_of_urls_hold_no_secrets() -> None:
    assert public_url("ftp://me:secret@host/a//b.md") == "ftp://host/a//b.md"
    assert public_url("https://host/a.jsonl?signature=secret#x") == "https://host/a.jsonl"
    assert public_url("s3://bucket/what?.md") == "s3://bucket/what?.md"
    assert public_url("s3://bucket/a.md?versionId=secret") == "s3://bucket/a.md"
    assert public_url("github://owner:project@main/docs") == "github://owner:project@main/docs"
    assert public_url("zip://a.txt::https://me:secret@host/x.zip?sig=secret") == "zip://a.txt::https://host/x.zip"
    assert public_url("filecache::https://host/x?token=secret::secret") == "filecache::https://host/x"
    assert public_url("zip://a@b.md::simplecache::ftp://me:se@cret@host/x.zip") == "zip://a@b.md::simplecache::ftp://host/x.zip"
    assert public_url("abfs://container@account.dfs.core.windows.net/x/") == "abfs://container@account.dfs.core.windows.net/x"


@pytest.mark.parametrize(
    "location",
    ["https://host/export.jsonl?team=1", "zip://a.txt::https://me:PASS@host/x.zip?sig=PASS", "s3://bucket/a.md?versionId=1"],
)
def test_a_url_with_a_query_must_be_named(location: str) -> None:
    with pytest.raises(ConfigurationError, match="--name") as caught:
        open_source(location)
    assert "PASS" not in str(caught.value)


def test_files_of_urls_are_named_and_shown_without_secrets() -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("a@b.md", "# Zipped")
    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/a.md?token=secret": b"# T", "/bucket/x.zip": data.getvalue()})
    try:
        (found,) = read("memory://bucket/a.md?token=secret", name="export")
        assert isinstance(found, Document)
        assert (found.id, found.metadata, found.position) == ("a.md", {"path": "a.md"}, "export")
        zipped = open_source("zip://a@b.md::memory://bucket/x.zip")
        assert zipped.name == "zip://a@b.md::memory://bucket/x.zip"
        assert ids(list(zipped.read())) == ["a@b.md"]
        for location in ("memory://bucket/b.md?token=secret", "zip://c.md::memory://bucket/y.zip?token=secret"):
            with pytest.raises(SourceError) as caught:
                open_source(location, name="export")
            assert "secret" not in str(caught.value)
    finally:
        memory.rm("/bucket", recursive=True)


def test_messages_of_file_systems_hold_no_secrets() -> None:
    for message, shown in [
        ("404, url='https://me:se@cret@host/x?token=secret'", "404, url='https://host/x'"),
        ("zip://a.txt::ftp://me:secret@host/x.zip?sig=a::b is gone", "zip://a.txt::ftp://host/x.zip is gone"),
        ("why? see a@b or https://host/x", "why? see a@b or https://host/x"),
    ]:
        assert first_line(OSError(message)) == shown


@pytest.mark.parametrize("location", ["", " ", "\n"])
def test_an_empty_location_is_a_wrong_request(location: str) -> None:
    with pytest.raises(ConfigurationError, match="the location is empty"):
        open_source(location)


def test_a_location_of_a_plugin_that_is_not_installed_says_so() -> None:
    with pytest.raises(
        SourceError, match=r"check the path, or install the plugin that reads wiki: \(plugins that are installed "
    ):
        open_source("wiki:Python")

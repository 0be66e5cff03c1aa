"""Buckets of a real S3 server as sources: what is asked of it, and what happens if objects change while they are read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import S3Server, s3_server
from sync_bench import SyncBench, counts

from ingest.errors import SourceError
from ingest.records import Document, Rejected, Source
from ingest.source import open_source
from ingest.store import open_store

ODD = "sub/a b+c %41 é?.md"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture
def bucket(server: S3Server, collection: str) -> str:
    """A bucket of four documents, two records, and what consoles make of a folder."""
    name = collection.replace("_", "-")
    documents = {"a.md": b"# Tea\n\nGreen tea.", "b.txt": b"Black coffee.", "c.md": b"Juice.", ODD: b"Cold water."}
    server.make_bucket(name, {**documents, "rows.jsonl": lines(b"word", 2), "sub/": b""})
    return name


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    """Nothing stored."""
    with open_store(tmp_path / "store") as store:
        yield SyncBench(store, "test", tmp_path)


def lines(word: bytes, number: int) -> bytes:
    return b"".join(b'{"id": "%d", "text": "%b"}\n' % (each, word) for each in range(number))


def source(server: S3Server, path: str) -> Source:
    return open_source(f"s3://{path}", storage_options=server.options)


def texts(items: list[Document | Rejected]) -> dict[str | None, str]:
    return {item.id: item.text for item in items if isinstance(item, Document)} | {
        item.doc_id: item.reason for item in items if isinstance(item, Rejected)
    }


def versions(items: list[Document | Rejected]) -> dict[str, str | None]:
    return {item.id: item.version for item in items if isinstance(item, Document)}


def test_a_bucket_a_prefix_and_an_object(server: S3Server, bucket: str) -> None:
    assert [*texts(list(source(server, bucket).read()))] == ["a.md", "b.txt", "c.md", "rows.jsonl//0", "rows.jsonl//1", ODD]
    assert [*texts(list(source(server, f"{bucket}/sub").read()))] == [ODD.removeprefix("sub/")]
    assert source(server, f"{bucket}/rows.jsonl").name == f"s3://{bucket}/rows.jsonl"
    for path in (f"{bucket}/absent", "no-such-bucket"):
        with pytest.raises(SourceError, match=f"there is no s3://{path}: check the path"):
            source(server, path)


def test_an_unchanged_bucket_is_only_listed(server: S3Server, bucket: str, bench: SyncBench) -> None:
    server.files.rm(f"{bucket}/rows.jsonl")
    bench.full([source(server, bucket)])
    server.forget_requests()
    receipt = bench.full([source(server, bucket)])
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 4, "unchanged": 4}, 4)
    assert {request.partition("&")[0] for request in server.requests()} == {f"HEAD /{bucket}", f"GET /{bucket}?list-type=2"}
    server.write({f"{bucket}/b.txt": b"White coffee."})
    server.files.rm(f"{bucket}/a.md")
    server.forget_requests()
    receipt = bench.full([source(server, bucket)])
    assert counts(receipt) == {"read": 3, "updated": 1, "unchanged": 2, "soft_deleted": 1}
    assert [request for request in server.requests() if "list-type" not in request] == [f"HEAD /{bucket}", f"GET /{bucket}/b.txt"]


def test_an_unchanged_object_of_records_is_not_read(server: S3Server, bucket: str, bench: SyncBench) -> None:
    bench.full([source(server, bucket)])
    server.forget_requests()
    receipt = bench.full([source(server, bucket)])
    assert (counts(receipt), receipt.skipped_unread) == ({"read": 6, "unchanged": 6}, 6)
    assert {request.partition("&")[0] for request in server.requests()} == {f"HEAD /{bucket}", f"GET /{bucket}?list-type=2"}
    server.write({f"{bucket}/rows.jsonl": lines(b"x", 1)})
    server.forget_requests()
    receipt = bench.full([source(server, bucket)])
    assert (receipt.read, receipt.skipped_unread) == (5, 4)
    assert [request for request in server.requests() if request.startswith("GET") and "list-type" not in request] == [
        f"GET /{bucket}/rows.jsonl"
    ]


def test_an_object_that_changes_after_it_was_listed_is_read_as_it_is_now(server: S3Server, bucket: str) -> None:
    reading = iter(source(server, bucket).read())
    found = [next(reading)]
    server.write({f"{bucket}/b.txt": b"White coffee."})
    server.files.rm(f"{bucket}/c.md")
    found += reading
    assert texts(found)["b.txt"] == "White coffee."
    assert "cannot be opened" in texts(found)["c.md"]
    assert versions(found)["b.txt"] == versions(list(source(server, bucket).read()))["b.txt"]


def test_records_that_change_while_they_are_read_break_the_source(server: S3Server, bucket: str) -> None:
    path = f"{bucket}/many.jsonl"
    many = lines(b"x" * 1_000, 5_000)
    server.write({path: many})
    reading = source(server, path).read()
    assert isinstance(next(reading), Document)
    server.write({path: many.replace(b"x", b"y")})
    with pytest.raises(SourceError, match=r"cannot read s3://.*/many\.jsonl after [\d,]+ bytes: "):
        list(reading)

"""Rows whose version has not changed are not read, and everything else is as if they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sync_bench import SyncBench, counts

from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, SourceError
from ingest.records import Document, Rejected, Source, Unread, Versioned
from ingest.source import FieldMap, open_source
from ingest.source.sql import KeyRange, SqlSource
from ingest.source.versions import row_version
from ingest.store import open_store

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
VERSIONED = FieldMap(version="version")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    """Nothing stored."""
    with open_store(tmp_path / "store") as store:
        yield SyncBench(store, "test", tmp_path)


class Table:
    """The table `docs` of an SQLite database, with 300 rows."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.db"
        self.run("CREATE TABLE docs (id, text TEXT, version)")
        self.run(*(f"INSERT INTO docs VALUES ({number}, 'Text {number}', 1)" for number in range(300)))

    def run(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def source(self, fields: FieldMap = VERSIONED, query: str = "SELECT * FROM docs") -> Source:
        return open_source(f"sqlite:///{self.path}", query=query, name="docs", fields=fields)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


def test_rows_with_the_same_version_are_not_read(bench: SyncBench, table: Table) -> None:
    bench.full([table.source()])
    table.run("UPDATE docs SET text = 'Unnoticed' WHERE id = 7", "UPDATE docs SET text = 'New', version = 2 WHERE id IN (8, 270)")
    table.run("DELETE FROM docs WHERE id > 295", "INSERT INTO docs VALUES ('new', 'Text', 1)")
    receipt = bench.full([table.source()])
    assert counts(receipt) == {"read": 297, "written": 1, "updated": 2, "unchanged": 294, "soft_deleted": 4}
    assert receipt.skipped_unread == 294
    table.run("DELETE FROM docs WHERE id > 100")
    with pytest.raises(DeletionBrakeError):
        bench.full([table.source()])
    assert len(bench.live()) == 297
    assert counts(bench.run([table.source()], check="content")) == {"read": 101, "updated": 1, "unchanged": 100}


def test_a_row_without_a_version_is_read(bench: SyncBench, table: Table) -> None:
    table.run("UPDATE docs SET version = NULL WHERE id = 5", "UPDATE docs SET version = '' WHERE id = 6")
    bench.run([table.source()])
    assert bench.run([table.source()]).skipped_unread == 298
    table.run("UPDATE docs SET text = 'New' WHERE id IN (5, 6)")
    assert counts(bench.run([table.source()])) == {"read": 300, "updated": 2, "unchanged": 298}


def test_a_row_that_goes_away_after_it_was_listed_is_rejected_under_its_id(table: Table) -> None:
    source = table.source()
    assert isinstance(source, SqlSource)

    def delete(documents: Sequence[Versioned]) -> set[str]:
        table.run("DELETE FROM docs WHERE id = 8")
        return {each.id for each in documents} - {"8"}

    (lost,) = (item for item in source.read_changed(delete) if not isinstance(item, Unread))
    assert isinstance(lost, Rejected)
    assert (lost.doc_id, "not found by its id" in lost.reason) == ("8", True)


def test_a_part_of_the_rows_is_read_as_a_whole(table: Table) -> None:
    source = table.source()
    assert isinstance(source, SqlSource)
    part = replace(source, keys=KeyRange("id", 10, 20))
    read = list(part.read_changed(lambda documents: {each.id for each in documents}))
    assert [item.id for item in read if isinstance(item, Document)] == [str(number) for number in range(10, 20)]
    assert len(read) == 10


ODD = (
    "INSERT INTO docs VALUES (NULL, 'No id', 1), (NULL, 'No id', 2), (1.5, 'No id', 1), (x'00', 'No id', 1)",
    "INSERT INTO docs VALUES ('nul' || char(0), 'No id', 1), ('', 'No id', 1)",
    "INSERT INTO docs VALUES (4, 'Text 4', 1), (5, 'Other', 2), (6, 'Other', NULL), ('7', 'Text 7', 1)",
    "UPDATE docs SET text = NULL, version = 2 WHERE id = 9",
    "UPDATE docs SET version = NULL WHERE id = 11",
    "UPDATE docs SET version = 2 WHERE id = 12",
)


def test_the_receipt_is_that_of_a_run_that_reads_everything(bench: SyncBench, table: Table, tmp_path: Path) -> None:
    plain = SyncBench(bench.store, "plain", tmp_path)
    fields = FieldMap(metadata=())
    for statements in (
        (),
        ODD,
        ("DELETE FROM docs WHERE id > 290 AND typeof(id) = 'integer'", "DELETE FROM docs WHERE id IS NULL"),
    ):
        table.run(*statements)
        for number in range(2):
            one = bench.full([table.source(FieldMap(**{**asdict(fields), "version": "version"}))])
            other = plain.full([table.source(fields)])
            assert counts(one) == counts(other)
            assert one.errors == other.errors
            assert bench.live() == plain.live()
            assert bench.soft_deleted() == plain.soft_deleted()
            assert one.skipped_unread >= 270 * number


def test_whatever_else_decides_the_document_makes_its_row_be_read(bench: SyncBench, table: Table) -> None:
    bench.run([table.source()])
    assert bench.run([table.source()]).skipped_unread == 300
    other: list[dict[str, Any]] = [
        {"query": "SELECT *, 1 AS price FROM docs"},
        {"fields": FieldMap(version="version", metadata=())},
        {"fields": FieldMap(version="id")},
    ]
    for options in other:
        assert bench.run([table.source(**options)]).skipped_unread == 0
        assert bench.run([table.source(**options)]).skipped_unread == 300


def test_a_query_is_listed_whatever_is_in_it(bench: SyncBench, table: Table) -> None:
    query = "SELECT id AS Id, text, version AS \"the %s version\", ':x' AS colon, '%' AS percent FROM docs -- all"
    source = table.source(FieldMap(version="the %s version"), query)
    bench.run([source])
    table.run("UPDATE docs SET version = 2 WHERE id = 8")
    assert bench.run([source]).skipped_unread == 299


@pytest.mark.parametrize(
    ("fields", "query", "message"),
    [
        (FieldMap(version="changed"), "SELECT * FROM docs", r"has no column 'changed' \(its columns: id, text, version\)"),
        (VERSIONED, "SELECT text, version FROM docs", "has no column with ids, by which changed rows are read"),
    ],
)
def test_a_version_that_cannot_be_had_says_why(
    bench: SyncBench, table: Table, fields: FieldMap, query: str, message: str
) -> None:
    bench.run([table.source()])
    with pytest.raises(SourceError, match=message):
        bench.run([table.source(fields, query)])


def test_a_version_field_is_for_databases(tmp_path: Path) -> None:
    error: type[IngestError] = ConfigurationError
    with pytest.raises(error, match="the version field 'version' is for databases"):
        open_source(tmp_path, fields=VERSIONED)


@pytest.mark.parametrize(
    "value",
    [
        *(1, 2**40, 1.5, Decimal(7), b"\x01", "a", "2026-06-01 10:00:00", datetime(2026, 6, 1), date(2026, 6, 1)),  # noqa: DTZ001
        *(datetime(2026, 6, 15, 11, 59, 59, 250_000, UTC), "2026-06-15T11:59:59.250"),
        *(4_000_000_000, NOW.timestamp() - 200_000, (NOW - timedelta(days=3)).astimezone(timezone(timedelta(hours=9)))),
    ],
)
def test_a_value_that_tells_every_change_is_a_version(value: Any) -> None:
    assert row_version(value, "", NOW) is not None
    assert row_version(value, "", NOW) != row_version(value, "another query", NOW)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", [1], {"a": 1}),
        *(NOW, NOW.replace(tzinfo=None), NOW - timedelta(days=1), NOW + timedelta(days=9), date(2026, 6, 15)),
        *("2026-06-15 11:00:00", "2026-06-15", "2026-06-15T11:00:00+09:00", NOW.timestamp(), int(NOW.timestamp()) - 86_400),
    ],
)
def test_a_value_that_may_stay_the_same_when_the_row_changes_is_none(value: Any) -> None:
    assert row_version(value, "", NOW) is None

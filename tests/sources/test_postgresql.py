"""A real PostgreSQL as a source: its types, a connection that dies, rows without an id, and what is never written."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from command import DEADLINE
from postgresql_server import NoPostgresqlError, postgresql
from sync_bench import SyncBench, counts

from ingest.cli.interruption import StopRequest
from ingest.cli.watching import open_watches
from ingest.errors import SourceError
from ingest.records import Document, Rejected, Source
from ingest.source import FieldMap, open_source
from ingest.source.notifications import Notifications
from ingest.source.sql import SqlSource
from ingest.store import open_store
from ingest.testing import FakeClock

Item = Document | Rejected


@pytest.fixture(scope="module")
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    try:
        with postgresql() as running:
            yield running
    except NoPostgresqlError as exc:
        request.session.shouldfail = str(exc)
        pytest.fail(str(exc), pytrace=False)


@pytest.fixture
def database(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that commits, to a database with nothing in its schema."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        yield connection


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[SyncBench]:
    """Nothing stored."""
    with open_store(tmp_path / "store") as store:
        yield SyncBench(store, "test", tmp_path)


def read(url: str, query: str) -> list[Item]:
    return list(open_source(url, query=query).read())


VALUES = {
    "19.90::numeric": 19.9,
    "12345678901234567890.123::numeric": "12345678901234567890.123",
    "'NaN'::numeric": None,
    "9223372036854775807": 2**63 - 1,
    "1.1::real": 1.1,
    "true": True,
    "'2026-03-29 01:30+00'::timestamptz": "2026-03-29T03:30:00+02:00",
    "'2026-03-29 00:30+00'::timestamptz": "2026-03-29T01:30:00+01:00",
    "'2026-03-29 02:30'::timestamp": "2026-03-29T02:30:00",
    "'infinity'::timestamptz": "infinity",
    "'-infinity'::date": "-infinity",
    "'0044-03-15 BC'::date": "0044-03-15 BC",
    "'2026-01-31'::date": "2026-01-31",
    "'12:30+02'::timetz": "12:30:00+02:00",
    "'1 day 02:03:04.5'::interval": 93784.5,
    "'6f1c8d2e-0000-4000-8000-000000000001'::uuid": "6f1c8d2e-0000-4000-8000-000000000001",
    "ARRAY['a', NULL, 'b c']": ["a", None, "b c"],
    "ARRAY[[1, 2], [3, 4]]": [[1, 2], [3, 4]],
    """'{"b": [true, null], "a": 1.5}'::jsonb""": {"a": 1.5, "b": [True, None]},
    "'calm'::mood": "calm",
    "ARRAY['calm', 'loud']::mood[]": ["calm", "loud"],
    "'10.0.0.1'::inet": "10.0.0.1",
    "'10.0.0.0/8'::cidr": "10.0.0.0/8",
    "'[1,5)'::int4range": "[1,5)",
    "'[2026-01-01,2026-02-01)'::daterange": "[2026-01-01,2026-02-01)",
    "'<a>b</a>'::xml": "<a>b</a>",
    "NULL": None,
}


def test_every_type_becomes_metadata(url: str, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('calm', 'loud')")
    columns = ", ".join(f"{value} AS c{number}" for number, value in enumerate(VALUES))
    (found,) = read(url, f"SELECT 1::bigint AS id, 'words' AS body, {columns}")
    assert isinstance(found, Document), found
    assert dict(zip(VALUES, found.metadata.values(), strict=True)) == VALUES
    assert found.position == "postgresql:///postgres: row 1"


def test_rows_that_can_be_no_documents_are_rejected_alone(url: str, database: psycopg.Connection[Any]) -> None:
    values = "(7.0, 'a', NULL), (NULL, 'b', NULL), (1.5, 'c', NULL), (8, NULL, NULL), (9, 'd', '\\x00'::bytea)"
    query = f"SELECT * FROM (VALUES {values}) AS rows (id, text, picture)"
    whole, *bad = read(url, query)
    assert isinstance(whole, Document)
    assert whole.id == "7"
    assert [(item.doc_id, item.reason.partition(",")[0].partition(":")[0]) for item in bad if isinstance(item, Rejected)] == [
        (None, "the id (id) is null"),
        (None, "the id (id) is of type Decimal"),
        ("8", "the text (text) is null"),
        ("9", "metadata.picture is binary"),
    ]


def test_rows_are_streamed_from_a_cursor_of_the_server(url: str, database: psycopg.Connection[Any]) -> None:
    endless = "SELECT generate_series(1, 1000000000000) AS id, 'text' AS text"
    assert [item.id for item in islice(open_source(url, query=endless).read(), 600) if isinstance(item, Document)][-1] == "600"


def test_nothing_is_written(url: str, database: psycopg.Connection[Any]) -> None:
    database.execute("CREATE TABLE docs AS SELECT 1 AS id, 'text' AS text")
    database.execute("CREATE FUNCTION emptied() RETURNS text LANGUAGE sql AS $$ DELETE FROM docs; SELECT 'text' $$")
    for query in ("DELETE FROM docs RETURNING id, text", "SELECT 1 AS id, emptied() AS text"):
        with pytest.raises(SourceError, match=r"syntax error|in a read-only transaction"):
            read(url, query)
    assert database.execute("SELECT count(*) FROM docs").fetchone() == (1,)


def test_a_connection_that_dies_in_the_middle_deletes_nothing(
    url: str, database: psycopg.Connection[Any], bench: SyncBench
) -> None:
    database.execute("CREATE TABLE docs AS SELECT id, 'Text ' || id AS text FROM generate_series(1, 700) AS id")
    end = "pg_terminate_backend(CASE id WHEN 600 THEN pg_backend_pid() END)"

    def docs(columns: str) -> Source:
        query = f"SELECT {columns} FROM docs ORDER BY id"
        return open_source(url, query=query, name="docs", fields=FieldMap(metadata=()))

    bench.full([docs("id, text")])
    database.execute("DELETE FROM docs WHERE id > 690; UPDATE docs SET text = 'New' WHERE id < 5")
    with pytest.raises(SourceError, match=r"cannot read postgresql:///postgres after row 512: .*administrator command"):
        bench.full([docs(f"id, text, {end}")])
    assert len(bench.live()) == 700
    receipt = bench.full([docs("id, text")])
    assert counts(receipt) == {"read": 690, "updated": 4, "unchanged": 686, "soft_deleted": 10}


@pytest.mark.parametrize(
    ("id_type", "ids"),
    [
        ("bigint", ["1", str(2**40), "7"]),
        ("numeric", ["1", "100000000000000000000", "7"]),
        ("uuid", [f"6f1c8d2e-0000-4000-8000-00000000000{number}" for number in range(3)]),
        ("mood", ["calm", "loud", "odd"]),
        ("varchar(9)", ["a", "A", "%s"]),
    ],
)
def test_only_rows_with_a_new_version_are_read(
    url: str, database: psycopg.Connection[Any], bench: SyncBench, id_type: str, ids: list[str]
) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('calm', 'loud', 'odd')")
    database.execute(f"CREATE TABLE docs (id {id_type} PRIMARY KEY, text text, changed timestamptz DEFAULT now())")
    for each in ids:
        database.execute("INSERT INTO docs VALUES (%s, 'Text')", [each])
    docs = open_source(url, table="docs", name="docs", fields=FieldMap(version="changed"))
    bench.full([docs])
    assert bench.full([docs]).skipped_unread == 3
    database.execute("UPDATE docs SET text = 'New', changed = now() WHERE id = %s", [ids[0]])
    database.execute("DELETE FROM docs WHERE id = %s", [ids[2]])
    receipt = bench.full([docs])
    assert (counts(receipt), receipt.skipped_unread) == (
        {"read": 2, "updated": 1, "unchanged": 1, "soft_deleted": 1},
        1,
    )


def test_the_transaction_that_wrote_a_row_can_be_its_version(
    url: str, database: psycopg.Connection[Any], bench: SyncBench
) -> None:
    database.execute("CREATE TABLE docs AS SELECT id, 'Text' AS text FROM generate_series(1, 600) AS id")
    docs = open_source(url, query="SELECT *, xmin FROM docs", name="docs", fields=FieldMap(version="xmin", metadata=()))
    bench.full([docs])
    database.execute("UPDATE docs SET text = 'New' WHERE id IN (2, 599)")
    receipt = bench.full([docs])
    assert (receipt.updated, receipt.skipped_unread) == (2, 598)


def test_a_connection_that_is_dead_when_it_is_closed_is_a_broken_source(url: str, database: psycopg.Connection[Any]) -> None:
    reading = open_source(url, query="SELECT generate_series(1, 600) AS id, 'text' AS text").read()
    next(reading)
    database.execute(
        "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state LIKE 'idle in%'"
    )
    with pytest.raises(SourceError, match="cannot close postgresql:///postgres: "):
        reading.close()  # type: ignore[attr-defined]


def test_a_server_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    source = open_source(f"postgres://me:secret@/db?host={tmp_path}", table="docs")
    with pytest.raises(SourceError, match="cannot query postgresql:///db: connection") as caught:
        list(source.read())
    assert "secret" not in str(caught.value)


def test_a_notification_makes_its_source_be_read_and_so_does_a_lost_connection(
    url: str, database: psycopg.Connection[Any], tmp_path: Path
) -> None:
    database.execute("CREATE TABLE docs AS SELECT 1 AS id, 'text' AS text")
    database.execute("CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NOTIFY ingest; RETURN NULL; END $$")
    database.execute(
        "CREATE TRIGGER tell AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON docs FOR EACH STATEMENT EXECUTE FUNCTION tell()"
    )
    (tmp_path / "docs").mkdir()
    docs, others, stop = open_source(url, table="docs", name="docs"), open_source(tmp_path / "docs"), StopRequest()
    watches = open_watches({"rows": ([docs], "full"), "files": ([others], "full")}, stop)

    def is_noticed() -> bool:
        watches.wait(DEADLINE)
        job = watches.due()
        assert job in (None, "rows")
        if job is None:
            return False
        with watches.batch(job) as batch:
            assert batch.parts is None
        return True

    for change in ("INSERT INTO docs VALUES (2, 'x')", "UPDATE docs SET text = 'y'", "TRUNCATE docs"):
        database.execute(change)
        assert is_noticed()
    watches.wait(0.1)
    assert watches.due() is None
    database.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query = 'LISTEN ingest'")
    assert is_noticed()
    database.execute("INSERT INTO docs VALUES (3, 'z')")
    assert is_noticed()


def test_a_server_that_is_gone_delays_no_other_changes_and_is_tried_every_few_seconds(
    url: str, database: psycopg.Connection[Any]
) -> None:
    database.execute("CREATE DATABASE other")
    docs, clock = open_source(url.replace("/postgres?", "/other?"), table="docs", name="docs"), FakeClock()
    assert isinstance(docs, SqlSource)
    notifications = Notifications(docs, pause=clock.sleep, clock=clock)
    database.execute("ALTER DATABASE other ALLOW_CONNECTIONS false")
    database.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = 'other'")
    for _ in range(8):  # it is lost, cannot be opened, and waits; again after five seconds
        assert notifications.wait(2.0) == frozenset()
    assert clock.slept == [2.0, 2.0, 1.0, 2.0, 2.0]
    database.execute("ALTER DATABASE other ALLOW_CONNECTIONS true")
    assert [notifications.wait(2.0) for _ in range(2)] == [frozenset(), frozenset(["docs"])]

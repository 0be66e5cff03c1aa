"""Databases as sources. SQLite is the one that is everywhere; the others differ in their drivers alone."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ingest.errors import ConfigurationError, IngestError, MissingExtraError, SourceError
from ingest.records import Document, Rejected
from ingest.source import FieldMap, open_source
from ingest.source.sql import database_name
from ingest.source.sql_text import how_to_convert, without_end


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "with space & %41.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE docs (id INTEGER, text TEXT, year INTEGER, picture BLOB)")
        connection.executemany("INSERT INTO docs VALUES (?, ?, ?, NULL)", [(n, f"text {n}", 2000 + n % 9) for n in range(1_000)])
    connection.close()
    return path


def url(path: Path) -> str:
    return f"sqlite:///{str(path).replace('%', '%25')}"


def read(path: Path, **options: Any) -> list[Document | Rejected]:
    return list(open_source(url(path), **options).read())


def run(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()


def test_a_query(path: Path) -> None:
    items = read(path, query="SELECT id, text, year FROM docs WHERE text LIKE '%99%' AND ':x' <> '' ORDER BY id")
    assert items[0] == Document("99", "text 99", None, {"year": 2000}, "text", f"sqlite:///{path}: row 1")
    assert len(items) == 19


def test_a_table(path: Path) -> None:
    items = read(path, table="docs")
    assert [item.id for item in items if isinstance(item, Document)] == [str(n) for n in range(1_000)]
    assert read(path, table="main.docs") == items


def test_fields_are_mapped(path: Path) -> None:
    (found,) = read(path, query="SELECT 'k' AS key, 'words' AS words, 1 AS x", fields=FieldMap(id="key", text="words"))
    assert isinstance(found, Document)
    assert (found.id, found.text, found.metadata) == ("k", "words", {"x": 1})


BINARY = "metadata.picture is binary, which JSON cannot represent: choose the metadata fields without it"


def as_text(column: str) -> str:
    return f"in the query, write hex({column}), or CAST({column} AS TEXT) if it is text"


def test_bad_rows_are_rejected_alone(path: Path) -> None:
    run(path, "UPDATE docs SET text = CAST(x'78ff' AS TEXT) WHERE id = 3")
    run(path, "UPDATE docs SET text = NULL WHERE id = 4")
    run(path, "UPDATE docs SET picture = x'00' WHERE id = 5")
    run(path, "UPDATE docs SET text = x'00' WHERE id = 6")
    bad = [item for item in read(path, table="docs") if isinstance(item, Rejected)]
    assert [(item.doc_id, item.position, item.reason) for item in bad] == [
        ("3", f"sqlite:///{path}: row 4", "the text is not valid Unicode: not UTF-8, or a lone surrogate"),
        ("4", f"sqlite:///{path}: row 5", "the text (text) is null, not a string"),
        (
            "5",
            f"sqlite:///{path}: row 6",
            f"{BINARY}; {as_text('picture')}",
        ),
        (
            "6",
            f"sqlite:///{path}: row 7",
            f"the text (text) is of type bytes, not a string; {as_text('text')}",
        ),
    ]


@pytest.mark.parametrize("end", [";", " ; -- all of them", ";\n/* it's; */ -- all\n", " -- it's; all", ""])
def test_a_query_may_end_as_in_a_console(path: Path, end: str) -> None:
    query = f"SELECT id, text || ';' AS text, year FROM docs WHERE text <> '; -- no end' AND id < 9{end}"
    plain = read(path, query=query)
    versioned = open_source(url(path), query=query, fields=FieldMap(version="year"))
    listed = list(versioned.read_changed(lambda _: ()))  # type: ignore[attr-defined]
    assert [each.id for each in listed] == [each.id for each in plain if isinstance(each, Document)]
    assert len(plain) == 9


@pytest.mark.parametrize(
    ("query", "statement"),
    [
        ("SELECT 1; SELECT 2;", "SELECT 1; SELECT 2;"),
        ("SELECT $q$; -- $q$ ; -- c", "SELECT $q$; -- $q$"),
        ("SELECT 'it\\'s; -- x' ;", "SELECT 'it\\'s; -- x' "),
        ('SELECT "a;b", `c;--` FROM t;', 'SELECT "a;b", `c;--` FROM t'),
    ],
)
def test_only_the_end_of_a_query_is_left_out(query: str, statement: str) -> None:
    assert without_end(query) == statement


@pytest.mark.parametrize(
    ("dialect", "way"), [("mariadb", "c + 0 if it is BIT"), ("postgresql", "encode(c, 'hex')"), ("x", "c as text")]
)
def test_each_database_has_its_own_way_to_convert_bytes(dialect: str, way: str) -> None:
    assert way in how_to_convert("c", dialect)


def test_the_database_is_never_written(path: Path) -> None:
    before = path.read_bytes()
    for statement in ("DELETE FROM docs", "DROP TABLE docs", "INSERT INTO docs VALUES (1, 'x', 1, NULL) RETURNING id, text"):
        with pytest.raises(SourceError, match="attempt to write a readonly database"):
            read(path, query=statement)
    assert path.read_bytes() == before


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"there is no database .*missing\.db"):
        open_source(f"sqlite:///{tmp_path}/missing.db", table="docs")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "endless.db"
    sqlite3.connect(path).close()
    endless = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) SELECT id, 'text' AS text FROM n"
    reading = iter(open_source(url(path), query=endless).read())
    assert [next(reading) for _ in range(600)][-1] == Document("600", "text", position=f"sqlite:///{path}: row 600")


def test_a_database_that_dies_is_a_broken_source(path: Path) -> None:
    query = "SELECT id, text FROM docs WHERE id < 600 OR abs(-9223372036854775808 + id - 700) > 0"
    found: list[Document | Rejected] = []
    with pytest.raises(SourceError, match=r"cannot read sqlite:.* after row \d+: integer overflow; fix it and run again"):
        found.extend(open_source(url(path), query=query).read())
    assert len(found) > 500


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigurationError, "either a query or a table"),
        ({"query": "SELECT 1", "table": "docs"}, ConfigurationError, "either a query or a table"),
        ({"query": "SELECT id FROM docs"}, SourceError, "has no column named text"),
        ({"query": "SELECT id, id, text FROM docs"}, SourceError, "several columns named id"),
        ({"query": "PRAGMA temp_store = MEMORY"}, SourceError, "returns no rows: use a SELECT"),
        ({"query": "SELEKT"}, SourceError, 'syntax error; fix it|near "SELEKT": syntax error'),
        ({"table": "absent"}, SourceError, "no such table: absent"),
        ({"table": "docs; DROP TABLE docs"}, SourceError, "no such table"),
    ],
)
def test_what_cannot_be_asked_says_why(path: Path, options: dict[str, str], error: type[IngestError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        read(path, **options)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("location", "error", "message"),
    [
        ("sqlite://", ConfigurationError, "in memory"),
        ("sqlite:///:memory:", ConfigurationError, "in memory"),
        ("mysql+nothing://me:secret@host/db", ConfigurationError, "check the dialect"),
        ("mssql+pymssql://me:secret@host/db", MissingExtraError, "install the database's driver"),
        ("corpus.jsonl", ConfigurationError, "a query or table requires a database"),
    ],
)
def test_databases_that_cannot_be_opened_say_why(location: str, error: type[IngestError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        open_source(location, query="SELECT 1")
    assert "secret" not in str(caught.value)


def test_names_are_stable_and_say_which_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_source(url(path), table="docs").name == f"sqlite:///{path}#docs"
    one, other = (open_source(url(path), query=f"SELECT {n}").name for n in (1, 2))
    assert one.startswith(f"sqlite:///{path}#")
    assert one != other
    monkeypatch.chdir(path.parent)
    assert open_source(f"sqlite:///{path.name.replace('%', '%25')}", table="docs").name == f"sqlite:///{path}#docs"
    assert open_source(url(path), table="docs", name="wiki").name == "wiki"


def test_names_tell_databases_apart_by_the_options_of_their_urls() -> None:
    def name(location: str) -> str:
        found = database_name(location, None, "docs")
        assert "secret" not in found
        return found

    assert name("postgresql://h/db") == "postgresql://h/db#docs"
    for same in ("postgres://h/db", "postgresql+psycopg://me@h/db", "postgresql+asyncpg://me:secret@h/db"):
        assert name(same) == name("postgresql://h/db")
    assert name("postgresql:///db?host=/a") != name("postgresql:///db?host=/b")
    assert name("postgresql:///db?host=/a&port=1") == name("postgresql:///db?port=1&host=/a")
    assert name("postgresql:///db?host=/a&user=me&password=secret") == name("postgresql:///db?host=/a")
    odbc = "mssql+pyodbc:///?odbc_connect=Server%3D{}%3BDatabase%3Dd%3BUID%3D{}%3BPWD%3D{}"
    assert name(odbc.format("a", "me", "secret")) == name(odbc.format("a", "you", "{secret%3Bsecret}"))
    assert name(odbc.format("a", "me", "secret")) != name(odbc.format("b", "me", "secret"))


def test_connections_are_closed_when_reading_stops_early(path: Path) -> None:
    closed: list[object] = []
    event.listen(Engine, "close", lambda connection, _: closed.append(connection))
    reading = open_source(url(path), table="docs").read()
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(closed) == 1


def test_without_the_extra_a_database_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtraError, match=r"qdrant-ingest\[sql\]"):
        open_source(url(path), table="docs")

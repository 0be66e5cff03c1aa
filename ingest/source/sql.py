"""Rows of a database into documents, through SQLAlchemy, as the server sends them. Nothing is ever written or committed."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingest.errors import ConfigurationError, IngestError, MissingExtraError, SourceError
from ingest.records import Document, Rejected
from ingest.source.fields import Unusable
from ingest.source.streams import first_line
from ingest.source.tables import Table

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, CursorResult, Engine

DIALECTS = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql")
"""What a URL's scheme may be to be taken for a database without more ado; with a query any dialect will do."""

_ROWS = 256
_LOGIN = re.compile(r"user|username|uid|.*(password|passwd|pwd|passphrase|secret|token)", re.IGNORECASE)
_ODBC_LOGIN = re.compile(r"\b(uid|user id|user|pwd|password)\s*=\s*(\{([^}]|\}\})*\}|[^;]*);?", re.IGNORECASE)


def is_database(location: str) -> bool:
    """Whether the location is an SQLAlchemy URL by its scheme."""
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.partition("+")[0] in DIALECTS


@dataclass(frozen=True, slots=True)
class SqlSource:
    """What a query returns, or a whole table.

    Attributes:
        location: SQLAlchemy URL; may hold a password, so it is not shown.
        query: sent as it is. Exactly one of `query` and `from_table` is given.
        from_table: `table` or `schema.table`.
    """

    name: str
    location: str = field(repr=False)
    query: str | None
    from_table: str | None
    table: Table

    def read(self) -> Iterator[Document | Rejected]:
        """Raises `SourceError` where the database fails at any point, or its rows can be no documents."""
        url = _url(self.location)
        shown = _shown(url)
        number = 0
        with _translated(f"open {shown}"):
            engine = _engine(url)
        try:
            with _translated(f"query {shown}"):
                connection = engine.connect()
            with connection:
                with _translated(f"query {shown}"):
                    rows = self._rows(connection, shown)
                    batches = rows.partitions(_ROWS)
                while True:
                    with _translated(f"read {shown} after row {number}"):
                        batch = next(batches, None)
                    if batch is None:
                        return
                    for row in batch:
                        number += 1
                        yield self.table.document(dict(row), f"{shown}: row {number}")
        finally:
            engine.dispose()

    def _rows(self, connection: Connection, shown: str) -> Any:
        import sqlalchemy  # noqa: PLC0415  an extra

        connection = connection.execution_options(stream_results=True, yield_per=_ROWS, no_parameters=True)
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
        if self.from_table is not None:
            schema, _, name = self.from_table.rpartition(".")
            chosen = sqlalchemy.table(name, schema=schema or None)
            result: CursorResult[Any] = connection.execute(sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(chosen))
        else:
            # As it is: a colon or percent sign in it is no parameter.
            result = connection.exec_driver_sql(self.query or "")
        if not result.returns_rows:
            raise SourceError(f"the query on {shown} returns no rows: ask with a SELECT")
        try:
            self.table.fields.check(list(result.keys()), f"the query on {shown}")
        except Unusable as exc:
            raise SourceError(str(exc)) from exc
        return result.mappings()


def database_name(location: str, query: str | None, from_table: str | None) -> str:
    """The URL without user and password, its options as a digest, and which rows of it: the table, or a digest of the query."""
    url = _url(location)
    rows = from_table if query is None else _short_digest(query)
    options = "" if _sqlite_path(url) else _options(url)
    return f"{_shown(url)}{options and '?'}{options}#{rows}"


def _options(url: URL) -> str:
    """A digest of those that may say which database it is, without users and passwords; "" where there are none."""
    options = {
        key: [_ODBC_LOGIN.sub("", value) for value in values]
        for key, values in sorted(url.normalized_query.items())
        if not _LOGIN.fullmatch(key)
    }
    return _short_digest(json.dumps(options)) if options else ""


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_database(location: str) -> None:
    """Raises `SourceError` where an SQLite file does not exist, `ConfigurationError` where no driver takes the URL."""
    path = _sqlite_path(_url(location))
    if path is not None and not path.is_file():
        raise SourceError(f"there is no database {path}: check the path (an absolute one has four slashes: sqlite:////srv/x.db)")
    with _translated("open the database"):
        _engine(_url(location)).dispose()


def _url(location: str) -> URL:
    try:
        import sqlalchemy  # noqa: PLC0415  an extra
    except ImportError as exc:
        raise MissingExtraError("reading a database needs the extra sql: pip install 'qdrant-ingest[sql]'") from exc
    try:
        return sqlalchemy.make_url(location)
    except sqlalchemy.exc.ArgumentError as exc:
        raise ConfigurationError("the database URL cannot be understood: write dialect://user:password@host/database") from exc


def _sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite database read with Python's own driver. Raises `ConfigurationError` where there is none to be."""
    if url.get_backend_name() != "sqlite" or url.drivername not in ("sqlite", "sqlite+pysqlite"):
        return None
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("an SQLite database in memory has no rows to read: name a file, sqlite:///x.db")
    return Path(url.database).resolve()


def _shown(url: URL) -> str:
    path = _sqlite_path(url)
    if path is not None:
        return f"sqlite:///{path.as_posix()}"
    return url.set(username=None, password=None, query={}).render_as_string()


def _engine(url: URL) -> Engine:
    import sqlalchemy  # noqa: PLC0415  an extra

    path = _sqlite_path(url)
    if path is None:
        return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(path.as_posix())}?mode=ro", uri=True)
        # A text that is not UTF-8 spoils its own row, found there by its lone surrogates, and not the whole query.
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        # Opened to be read or not, VACUUM INTO would write another file.
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK
        )
        return connection

    return sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=sqlalchemy.NullPool)


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    import sqlalchemy  # noqa: PLC0415  an extra

    try:
        yield
    except IngestError:
        raise
    except sqlalchemy.exc.NoSuchModuleError as exc:
        raise ConfigurationError(f"cannot {doing}: {first_line(exc)}; check the dialect in the URL") from exc
    except ImportError as exc:
        raise MissingExtraError(f"cannot {doing}: {first_line(exc)}; install the database's driver") from exc
    except sqlalchemy.exc.DBAPIError as exc:
        raise SourceError(f"cannot {doing}: {first_line(exc.orig or exc)}; mend it and run again") from exc
    except Exception as exc:  # SQLAlchemy's own, and what a driver raises beside the exceptions it declares
        raise SourceError(f"cannot {doing}: {first_line(exc)}; mend it and run again") from exc

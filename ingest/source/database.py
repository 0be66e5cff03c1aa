"""Connections to databases, over SQLAlchemy: read-only, and with their errors translated."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingest.errors import ConfigurationError, IngestError, MissingExtraError, SourceError
from ingest.source.postgresql import read_as_plain_values
from ingest.source.streams import first_line

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

_DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The drivers of URLs that name none."""

FETCHED_ROWS = 256
"""Rows fetched at a time."""


def parse_url(location: str) -> URL:
    """Return the URL, with a driver. Raise `ConfigurationError` if it is none, `MissingExtraError` without SQLAlchemy."""
    try:
        import sqlalchemy  # noqa: PLC0415  an extra
    except ImportError as exc:
        raise MissingExtraError("reading a database requires the extra sql: pip install 'qdrant-ingest[sql]'") from exc
    try:
        url = sqlalchemy.make_url(location)
    except sqlalchemy.exc.ArgumentError as exc:
        raise ConfigurationError("the database URL cannot be parsed: write dialect://user:password@host/database") from exc
    return url.set(drivername=_DRIVERS.get(url.drivername, url.drivername))


def sqlite_path(url: URL) -> Path | None:
    """Return the file of an SQLite database, or None for other drivers. Raise `ConfigurationError` for one in memory."""
    if url.get_backend_name() != "sqlite" or url.drivername not in ("sqlite", "sqlite+pysqlite"):
        return None
    if not url.database or url.database == ":memory:":
        raise ConfigurationError("an SQLite database in memory has no rows to read: use a file, sqlite:///x.db")
    return Path(url.database).resolve()


def shown_url(url: URL) -> str:
    """Return the URL without driver, user and password."""
    path = sqlite_path(url)
    if path is not None:
        return f"sqlite:///{path.as_posix()}"
    return url.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database).render_as_string()


@contextmanager
def connected(url: URL, shown: str) -> Iterator[Connection]:
    """Yield a connection that streams rows. `shown`: the database, for error messages."""
    with translated(f"open {shown}"):
        engine = open_engine(url)
    try:
        with translated(f"query {shown}"):
            connection = engine.connect().execution_options(stream_results=True, yield_per=FETCHED_ROWS, no_parameters=True)
        try:
            if connection.dialect.name == "postgresql":
                connection.execution_options(postgresql_readonly=True)
            yield connection
        finally:
            with translated(f"close {shown}"):
                connection.close()
    finally:
        engine.dispose()


def open_engine(url: URL) -> Engine:
    """Return an engine whose connections cannot write. It opens none."""
    import sqlalchemy  # noqa: PLC0415  an extra

    path = sqlite_path(url)
    if path is None:
        engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
        if engine.dialect.driver == "psycopg":
            sqlalchemy.event.listen(engine, "connect", lambda connection, _: read_as_plain_values(connection))
        elif engine.dialect.name in ("mysql", "mariadb"):
            sqlalchemy.event.listen(engine, "connect", lambda connection, _: _refuse_writes(connection))
        return engine

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{quote(path.as_posix())}?mode=ro", uri=True)
        # A text that is not UTF-8 gets lone surrogates, so that its row is rejected and the query goes on.
        connection.text_factory = lambda data: data.decode(errors="surrogateescape")
        # Even on a read-only database, VACUUM INTO would write another file.
        connection.set_authorizer(
            lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_ATTACH else sqlite3.SQLITE_OK
        )
        return connection

    return sqlalchemy.create_engine("sqlite://", creator=connect, poolclass=sqlalchemy.NullPool)


def _refuse_writes(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Translate the errors of SQLAlchemy and of drivers; the one border for that. `doing`: what cannot be done then."""
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
        raise SourceError(f"cannot {doing}: {first_line(exc.orig or exc)}; fix it and run again") from exc
    except Exception as exc:  # SQLAlchemy's own errors, and those a driver does not declare
        raise SourceError(f"cannot {doing}: {first_line(exc)}; fix it and run again") from exc

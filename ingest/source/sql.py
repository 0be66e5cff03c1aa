"""Rows of a database into documents, through SQLAlchemy, as the server sends them. Nothing is ever written or committed."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ingest.errors import ConfigurationError, IngestError, MissingExtraError, SourceError
from ingest.records import Document, Rejected
from ingest.source.fields import ID_FIELDS, Unusable
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
class KeyRange:
    """Rows by the value of one column: from `low` on (None: from the least, and those without one), below `high` (None: all)."""

    column: str
    low: Any
    high: Any

    def __str__(self) -> str:
        low = "the first" if self.low is None else f"{self.low!r}"
        return f"rows with {self.column} from {low} to {'the last' if self.high is None else f'below {self.high!r}'}"


@dataclass(frozen=True, slots=True)
class SqlSource:
    """What a query returns, or a whole table; or some of the rows.

    Attributes:
        location: SQLAlchemy URL; may hold a password, so it is not shown.
        query: sent as it is. Exactly one of `query` and `from_table` is given.
        from_table: `table` or `schema.table`.
        origin: see `Source`.
    """

    name: str
    location: str = field(repr=False)
    query: str | None
    from_table: str | None
    table: Table
    keys: KeyRange | None = None
    origin: str | None = None

    def read(self) -> Iterator[Document | Rejected]:
        """Raises `SourceError` where the database fails at any point, or its rows can be no documents."""
        url = _url(self.location)
        shown = _shown(url)
        where = shown if self.keys is None else f"{shown}, {self.keys}"
        number = 0
        with _connected(url, shown) as connection:
            with _translated(f"query {shown}"):
                rows = self._rows(connection, shown)
                batches = rows.partitions(_ROWS)
            while True:
                with _translated(f"read {where} after row {number}"):
                    batch = next(batches, None)
                if batch is None:
                    return
                for row in batch:
                    number += 1
                    yield self.table.document(dict(row), f"{where}: row {number}")

    def ranges(self, parts: int, least: int) -> list[KeyRange]:
        """Of the ids, about as many with about as many rows each, at least `least`; none where the rows have no id column.

        Raises `SourceError` where the database fails, or cannot say.
        """
        import sqlalchemy  # noqa: PLC0415  an extra

        url = _url(self.location)
        shown = _shown(url)
        with _connected(url, shown) as connection, _translated(f"split the rows of {shown}"):
            all_rows = self._all_rows()
            key = self._id_column(connection)
            if key is None:
                return []
            count = connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(all_rows)).scalar_one()
            step = max(-(-count // parts), least)
            if count <= step:
                return []
            column: Any = sqlalchemy.column(key)
            numbered = (
                sqlalchemy.select(column.label("bound"), sqlalchemy.func.row_number().over(order_by=column).label("place"))
                .select_from(all_rows)
                .where(column.is_not(None))
                .subquery()
            )
            first_of_each = sqlalchemy.select(numbered.c.bound).where(numbered.c.place % step == 1).order_by(numbered.c.bound)
            bounds = list(dict.fromkeys(connection.execute(first_of_each).scalars()))[1:]
        return [KeyRange(key, low, high) for low, high in pairwise([None, *bounds, None])]

    def _id_column(self, connection: Connection) -> str | None:
        import sqlalchemy  # noqa: PLC0415  an extra

        no_rows: Any = sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(self._all_rows()).limit(0)
        names = list(connection.execute(no_rows).keys())
        mapped = self.table.fields.id
        return next((name for name in (ID_FIELDS if mapped is None else (mapped,)) if name in names), None)

    def _all_rows(self) -> Any:
        """As something that can be selected from."""
        import sqlalchemy  # noqa: PLC0415  an extra

        if self.from_table is not None:
            schema, _, name = self.from_table.rpartition(".")
            return sqlalchemy.table(name, schema=schema or None)
        # As it is: a colon in it is no parameter, and what stands behind a last comment mark is not part of the comment.
        query = (self.query or "").rstrip().rstrip(";").replace(":", r"\:")
        return sqlalchemy.text(f"({query}\n) ingest_rows")

    def _rows_in(self, keys: KeyRange) -> Any:
        import sqlalchemy  # noqa: PLC0415  an extra

        column: Any = sqlalchemy.column(keys.column)
        chosen: Any = sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(self._all_rows())
        bounds = [column >= keys.low] if keys.low is not None else []
        if keys.high is not None:
            bounds.append(column < keys.high)
        within = sqlalchemy.and_(*bounds)
        return chosen.where(within if keys.low is not None else sqlalchemy.or_(within, column.is_(None)))

    def _rows(self, connection: Connection, shown: str) -> Any:
        import sqlalchemy  # noqa: PLC0415  an extra

        connection = connection.execution_options(stream_results=True, yield_per=_ROWS, no_parameters=True)
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(postgresql_readonly=True)
        if self.keys is not None:
            result: CursorResult[Any] = connection.execute(self._rows_in(self.keys))
        elif self.from_table is not None:
            result = connection.execute(sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(self._all_rows()))
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


@contextmanager
def _connected(url: URL, shown: str) -> Iterator[Connection]:
    with _translated(f"open {shown}"):
        engine = _engine(url)
    try:
        with _translated(f"query {shown}"):
            connection = engine.connect()
        with connection:
            yield connection
    finally:
        engine.dispose()


def absolute_location(location: str) -> str:
    """The same database from whatever working directory: the path of an SQLite file made absolute."""
    url = _url(location)
    path = _sqlite_path(url)
    return location if path is None else url.set(database=path.as_posix()).render_as_string(hide_password=False)


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

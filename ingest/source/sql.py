"""From the rows of a database to documents, through SQLAlchemy, streaming. Never writes or commits anything."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ingest.errors import SourceError
from ingest.records import Document, Rejected, Unchanged, Unread
from ingest.source.database import FETCHED_ROWS, connected, open_engine, parse_url, shown_url, sqlite_path, translated
from ingest.source.fields import ID_FIELDS, Unusable, named
from ingest.source.row_versions import ListedRow, RowVersions, groups, unchanged_ids
from ingest.source.sql_text import without_end
from ingest.source.tables import Table

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, CursorResult

DIALECTS = ("sqlite", "postgresql", "postgres", "mysql", "mariadb", "oracle", "mssql")
"""The URL schemes that mean a database; with a query or table, any SQLAlchemy dialect is accepted."""

_LOGIN = re.compile(r"user|username|uid|.*(password|passwd|pwd|passphrase|secret|token)", re.IGNORECASE)
_ODBC_LOGIN = re.compile(r"\b(uid|user id|user|pwd|password)\s*=\s*(\{([^}]|\}\})*\}|[^;]*);?", re.IGNORECASE)


def is_database(location: str) -> bool:
    """Return whether the scheme of a location is that of an SQLAlchemy URL."""
    scheme, separator, _ = location.partition("://")
    return bool(separator) and scheme.partition("+")[0] in DIALECTS


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The rows whose value in one column is at least `low` (None: any value, or NULL) and below `high` (None: any value)."""

    column: str
    low: Any
    high: Any

    def __str__(self) -> str:
        low = "the first" if self.low is None else f"{self.low!r}"
        return f"rows with {self.column} from {low} to {'the last' if self.high is None else f'below {self.high!r}'}"


@dataclass(frozen=True, slots=True)
class SqlSource:
    """The rows of a query or of a table.

    Attributes:
        location: SQLAlchemy URL; may contain a password, so it is not shown.
        query: a query, sent unchanged. Exactly one of `query` and `from_table` is set.
        from_table: `table` or `schema.table`.
        keys: the rows to read; None: all.
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
        """Yield the documents. Raise `SourceError` if the database fails at any point, or the columns cannot yield documents."""
        url = parse_url(self.location)
        shown = shown_url(url)
        where = shown if self.keys is None else f"{shown}, {self.keys}"
        number = 0
        with connected(url, shown) as connection:
            versions = self._versions(connection)
            with translated(f"query {shown}"):
                rows = self._rows(connection, shown)
            for row in _streamed(rows, where):
                number += 1
                yield versions.document(row, f"{where}: row {number}")

    def read_changed(self, unchanged: Unchanged) -> Iterator[Document | Rejected | Unread]:
        """Read the rows but for those whose version has not changed. See `Source`.

        Ids and versions are listed first. The changed rows are read by their ids meanwhile, over another connection, because not
        every driver can do both over one. A part of the rows is read as a whole.
        """
        if self.table.fields.version is None or self.keys is not None:
            yield from self.read()
            return
        url = parse_url(self.location)
        shown = shown_url(url)
        with connected(url, shown) as listing, connected(url, shown) as reading:
            versions = self._versions(listing)
            with translated(f"query {shown}"):
                key = self._checked_id_column(listing, shown)
                rows = self._listed(listing, key)
            listed = (versions.listed(key, row["id"], row["version"], f"{shown}: a row") for row in _streamed(rows, shown))
            for group in groups(listed):
                yield from (row for row in group if isinstance(row, Rejected))
                usable = [row for row in group if isinstance(row, ListedRow)]
                same = unchanged_ids(usable, unchanged)
                yield from (Unread(doc_id, f"{shown}: {key} {doc_id}") for doc_id in same)
                changed = {row.key: row.doc_id for row in usable if row.doc_id not in same}
                if changed:
                    yield from self._read_listed(reading, shown, key, changed, versions)

    def _read_listed(
        self, connection: Connection, shown: str, key: str, listed: Mapping[Any, str], versions: RowVersions
    ) -> Iterator[Document | Rejected]:
        """Yield the rows with these ids. One that is not found is `Rejected`, so that it does not count as missing."""
        with translated(f"query {shown}"):
            rows = self._rows_with(connection, key, listed)
        missing = dict(listed)
        for row in _streamed(rows, shown):
            if row[key] in listed:  # a database may take other ids for equal: a and A
                missing.pop(row[key], None)
                yield versions.document(row, f"{shown}: {key} {row[key]}")
        for doc_id in missing.values():
            reason = (
                "the row was listed, but is not found by its id: it was deleted meanwhile, or --version-field does not fit it"
            )
            yield Rejected(f"{shown}: {key} {doc_id}", reason, doc_id=doc_id)

    def _versions(self, connection: Connection) -> RowVersions:
        dialect = connection.dialect
        read_by = (dialect.driver, getattr(dialect.dbapi, "__version__", ""))
        return RowVersions(self.table, self.query, self.from_table, *read_by, dialect=dialect.name)

    def _checked_id_column(self, connection: Connection, shown: str) -> str:
        """Return the column with the ids. Raise `SourceError` if there is none, or a column of another field is missing."""
        names = self._column_names(connection)
        self._check_columns(names, shown)
        key = self._id_column(names)
        if key is None:
            raise SourceError(
                f"the query on {shown} has no column with ids, by which changed rows are read: map the id field to one,"
                " or leave the version field out"
            )
        return key

    def _listed(self, connection: Connection, key: str) -> Any:
        """Return ids and versions of the rows, those with one id together."""
        import sqlalchemy  # noqa: PLC0415  an extra

        columns: list[Any] = [sqlalchemy.column(key), sqlalchemy.column(str(self.table.fields.version))]
        chosen = sqlalchemy.select(columns[0].label("id"), columns[1].label("version")).select_from(self._all_rows())
        return connection.execute(chosen.order_by(columns[0])).mappings()

    def _rows_with(self, connection: Connection, key: str, values: Collection[Any]) -> Any:
        """Return the rows with these ids. The database finds out their type: that of a column may be one of its own."""
        import sqlalchemy  # noqa: PLC0415  an extra

        column: Any = sqlalchemy.column(key)
        within = column.in_([sqlalchemy.bindparam(None, value, sqlalchemy.types.NULLTYPE) for value in values])
        chosen: Any = sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(self._all_rows())
        return connection.execute(chosen.where(within)).mappings()

    def ranges(self, parts: int, least: int) -> list[KeyRange]:
        """Return about `parts` ranges of ids with about equally many rows, at least `least`; none if there is no id column.

        Raises `SourceError` if the database fails or cannot number rows.
        """
        import sqlalchemy  # noqa: PLC0415  an extra

        url = parse_url(self.location)
        shown = shown_url(url)
        with connected(url, shown) as connection, translated(f"split the rows of {shown}"):
            all_rows = self._all_rows()
            key = self._id_column(self._column_names(connection))
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

    def _column_names(self, connection: Connection) -> list[str]:
        import sqlalchemy  # noqa: PLC0415  an extra

        no_rows: Any = sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(self._all_rows()).limit(0)
        return list(connection.execute(no_rows).keys())

    def _id_column(self, names: Sequence[str]) -> str | None:
        mapped = self.table.fields.id
        return named(names, ID_FIELDS) if mapped is None else mapped if mapped in names else None

    def _check_columns(self, names: Sequence[str], shown: str) -> None:
        try:
            self.table.fields.check(names, f"the query on {shown}")
        except Unusable as exc:
            raise SourceError(str(exc)) from exc

    def _all_rows(self) -> Any:
        """Return the table, or the query as a subquery, to select from."""
        import sqlalchemy  # noqa: PLC0415  an extra

        if self.from_table is not None:
            schema, _, name = self.from_table.rpartition(".")
            return sqlalchemy.table(name, schema=schema or None)
        query = without_end(self.query or "").replace(":", r"\:")  # a colon is no parameter
        return sqlalchemy.text(f"({query}\n) ingest_rows")  # the line break ends a comment

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

        if self.keys is not None:
            result: CursorResult[Any] = connection.execute(self._rows_in(self.keys))
        elif self.from_table is not None:
            result = connection.execute(sqlalchemy.select(sqlalchemy.literal_column("*")).select_from(self._all_rows()))
        else:
            # Unchanged: a colon or percent sign is no parameter.
            result = connection.exec_driver_sql(self.query or "")
        if not result.returns_rows:
            raise SourceError(f"the query on {shown} returns no rows: use a SELECT")
        self._check_columns(list(result.keys()), shown)
        return result.mappings()


def _streamed(rows: Any, where: str) -> Iterator[Any]:
    """Yield the rows of a result. Raise `SourceError` if the database fails."""
    number = 0
    with translated(f"read {where}"):
        batches = rows.partitions(FETCHED_ROWS)
    while True:
        with translated(f"read {where} after row {number}"):
            batch = next(batches, None)
        if batch is None:
            return
        yield from batch
        number += len(batch)


def database_name(location: str, query: str | None, from_table: str | None) -> str:
    """Return the URL without driver, user and password, with a digest of its options, and the table or a digest of the query."""
    url = parse_url(location)
    options = "" if sqlite_path(url) else _options(url)
    return f"{shown_url(url)}{options and '?'}{options}#{from_table if query is None else _short_digest(query)}"


def _options(url: URL) -> str:
    """Return a digest of the options that identify the database, without users and passwords, or "" if there are none."""
    options = {
        key: [_ODBC_LOGIN.sub("", value) for value in values]
        for key, values in sorted(url.normalized_query.items())
        if not _LOGIN.fullmatch(key)
    }
    return _short_digest(json.dumps(options)) if options else ""


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def check_database(location: str) -> None:
    """Raise `SourceError` if an SQLite file does not exist, `ConfigurationError` if no driver accepts the URL."""
    path = sqlite_path(parse_url(location))
    if path is not None and not path.is_file():
        raise SourceError(f"there is no database {path}: check the path (an absolute one has four slashes: sqlite:////srv/x.db)")
    with translated("open the database"):
        open_engine(parse_url(location)).dispose()


def absolute_location(location: str) -> str:
    """Return the URL with the path of an SQLite file made absolute, so that it works in any working directory."""
    url = parse_url(location)
    path = sqlite_path(url)
    return location if path is None else url.set(database=path.as_posix()).render_as_string(hide_password=False)

"""Rows of a database that are listed, by id and version, before any of them is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from ingest.identity import digest
from ingest.records import Document, Rejected, Unchanged, Versioned
from ingest.source.fields import ImpossibleId, Unusable, prefixed_id, raw_json
from ingest.source.sql_text import how_to_convert
from ingest.source.tables import Table
from ingest.source.versions import row_version

GROUP = 256
"""Number of rows that are compared together."""


@dataclass(frozen=True, slots=True)
class ListedRow:
    """A row that can be a document. `key` is its id as the database has it, `version` as in `ingest.source.versions`."""

    key: Any
    doc_id: str
    version: str | None


class RowVersions:
    """The versions of a table's rows that are read from now on.

    Args:
        table: the reader of the rows; its `fields.version` names the column.
        reading: what else decides the document in a row: the query and the driver.
        dialect: SQLAlchemy's name of the database.
    """

    def __init__(self, table: Table, *reading: object, dialect: str = "") -> None:
        self._table = table
        self._dialect = dialect
        self._reading = digest([asdict(table.fields), table.max_bytes, *reading])
        self._now = datetime.now(UTC)

    def document(self, row: Mapping[str, Any], position: str) -> Document | Rejected:
        """Return a row that was read as a document with its version."""
        item = self._table.document(dict(row), position)
        if isinstance(item, Rejected):
            return self._explained(item, row)
        column = self._table.fields.version
        if column is None:
            return item
        return replace(item, version=self._version(row[column]))

    def _explained(self, item: Rejected, row: Mapping[str, Any]) -> Rejected:
        """Return a rejected row with a sentence about its columns of bytes, none of which a document can have."""
        used = self._table.fields.columns(list(row))
        ways = [how_to_convert(name, self._dialect) for name in used if isinstance(row[name], bytes | bytearray | memoryview)]
        return replace(item, reason=f"{item.reason}; in the query, write {', and '.join(ways)}") if ways else item

    def listed(self, column: str, key: Any, version: Any, where: str) -> ListedRow | Rejected:
        """Return a row of the list, as `Rejected` if its id can be none. `column`: the one of the ids."""
        try:
            return ListedRow(key, prefixed_id(key, column), self._version(version))
        except Unusable as exc:
            impossible = isinstance(exc, ImpossibleId)
            return Rejected(where, str(exc), raw_json({column: key}), impossible_id=impossible)

    def _version(self, value: Any) -> str | None:
        return row_version(value, self._reading, self._now)


def groups(rows: Iterable[ListedRow | Rejected]) -> Iterator[list[ListedRow | Rejected]]:
    """Yield rows in the order of their ids some hundreds at a time; those with one id together."""
    group: list[ListedRow | Rejected] = []
    for row in rows:
        if len(group) >= GROUP and (row.doc_id is None or row.doc_id != group[-1].doc_id):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def unchanged_ids(rows: Sequence[ListedRow], unchanged: Unchanged) -> set[str]:
    """Return the ids of the rows that need not be read. Those that several rows have are not among them."""
    times = Counter(row.doc_id for row in rows)
    known = [Versioned(row.doc_id, row.version) for row in rows if row.version is not None and times[row.doc_id] == 1]
    return set(unchanged(known)) if known else set()

"""What a location means: the one way to a source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.errors import ConfigurationError, SourceError
from ingest.parameters import checked, optional, parse_instance, parse_integer, parse_text, parse_texts
from ingest.records import Source
from ingest.source.conversion import check_office
from ingest.source.fields import GUESSED, FieldMap
from ingest.source.files import FileSource, FolderSource, StdinSource, matcher
from ingest.source.kinds import FORMATS, OFFICE, kind_named, kind_of
from ingest.source.sql import SqlSource, check_database, database_name, is_database
from ingest.source.streams import HTTP, Place, has_query, place_of, public_url
from ingest.source.tables import Table

MAX_RECORD_BYTES = 16 * 2**20
_MAGIC = re.compile(r"[*?\[]")


def open_source(
    location: str | Path,
    *,
    name: str | None = None,
    format: str | None = None,  # noqa: A002  the users' word
    fields: FieldMap = GUESSED,
    query: str | None = None,
    table: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_record_bytes: int = MAX_RECORD_BYTES,
    storage_options: Mapping[str, Any] | None = None,
) -> Source:
    """The source at a location; it is found and looked at, but not read yet.

    Args:
        location: a folder, a glob, a file, `-` for standard input, any URL fsspec takes, or an SQLAlchemy URL.
        name: part of every id, so it must stay the same; by default the resolved path, or the URL without secrets. A URL
            with a query, `?key=value`, must be given one.
        format: what the file, or every file, is taken for: one of `kinds.FORMATS` or `code:<language>`, perhaps with `.gz`
            or `.zst`; by default its suffix says it, and standard input is JSON Lines.
        fields: which field of a record is what.
        query, table: which rows of a database; one of them.
        include, exclude: patterns of a folder's files, see `files.matcher`.
        max_record_bytes: a bigger record or file is rejected without being held.
        storage_options: of the fsspec file system.

    Raises `SourceError` where there is nothing to read, `ConfigurationError` where it cannot be read as asked, and
    `MissingExtraError` where that takes an optional dependency.
    """
    location = checked("location", parse_instance, str(location) if isinstance(location, Path) else location, str)
    for parameter, text in (("name", name), ("format", format), ("query", query), ("table", table)):
        checked(parameter, optional(parse_text), text)
    checked("fields", parse_instance, fields, FieldMap)
    checked("max_record_bytes", parse_integer, max_record_bytes, least=1)
    include, exclude = checked("include", parse_texts, include), checked("exclude", parse_texts, exclude)
    if not location.strip():
        raise ConfigurationError("the location is empty, perhaps from a variable that is not set: give a path (. is this folder)")
    records = Table(fields, max_record_bytes)
    if query is not None or table is not None or is_database(location):
        return _database(location, name, query, table, records)
    if location == "-":
        return _stdin(name, format, records)
    if name is None and has_query(location):
        raise ConfigurationError(
            f"{public_url(location)} was given with a query, which may hold secrets and so cannot be part of its name: "
            "give it a name of its own, --name"
        )
    place = place_of(location, storage_options)
    found = place.kind()
    pattern = None
    if found is None:
        place, pattern = _glob(place, location, storage_options)
    elif found == "file":
        return _file(place, name, format, records, origin=None if has_query(location) else place.name)
    elif found == "other":
        raise SourceError(f"{place.name} is neither a file nor a folder: pipe what it yields into standard input, -")
    origin = place.name if pattern is None else f"{place.name}/{pattern}"
    folder = FolderSource(
        name=name or origin,
        place=place,
        kind=kind_named(format) if format else None,
        table=records,
        wanted=matcher(pattern, include, exclude),
        origin=None if include or exclude or has_query(location) else origin,  # which do not show in it
    )
    next(folder.files(), None)  # a folder that cannot be listed shows now
    return folder


def _database(location: str, name: str | None, query: str | None, table: str | None, records: Table) -> Source:
    if "://" not in location:
        raise ConfigurationError(
            f"a query or table is of a database, and {location} is none: give an SQLAlchemy URL, or no query"
        )
    if (query is None) == (table is None):
        raise ConfigurationError("a database needs either a query or a table, to say which rows are the documents")
    check_database(location)
    origin = database_name(location, query, table)
    return SqlSource(name or origin, location, query, table, records, origin=origin)


def _stdin(name: str | None, format: str | None, records: Table) -> Source:  # noqa: A002  as above
    kind = kind_named(format or "jsonl")
    if kind.format in OFFICE:
        check_office(kind.format)
    return StdinSource(name or "stdin", kind, records)


def _file(
    place: Place,
    name: str | None,
    format: str | None,  # noqa: A002  as above
    records: Table,
    *,
    origin: str | None,
) -> Source:
    file_name = place.file_name
    kind = kind_named(format, file_name) if format else kind_of(file_name)
    if kind is None:
        hint = "; an array becomes JSON Lines with jq -c '.[]'" if file_name.endswith(".json") else ""
        raise ConfigurationError(
            f"what {place.name} holds does not show in its name: give its format ({', '.join(FORMATS)}){hint}"
        )
    if kind.format in OFFICE:
        check_office(kind.format)
    return FileSource(name or place.name, place, kind, records, file_name, origin=origin)


def _glob(nothing: Place, location: str, storage_options: Mapping[str, Any] | None) -> tuple[Place, str]:
    """The folder before the first pattern, and the pattern from there."""
    scheme, separator, path = location.rpartition("://")
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), None)
    if first is None or has_query(location) or scheme.rpartition("::")[2] in HTTP:
        raise SourceError(f"there is no {nothing.name}: check the path")
    root = "/" if path.startswith("/") else "" if scheme else "."
    place = place_of(scheme + separator + ("/".join(parts[:first]) or root), storage_options)
    if place.kind() != "directory":
        raise SourceError(f"there is no folder {place.name}: check the path before the pattern")
    return place, "/".join(parts[first:])

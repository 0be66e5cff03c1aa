"""From a location to a source: `open_source`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.errors import ConfigurationError, SourceError
from ingest.parameters import checked, optional, parse_instance, parse_integer, parse_text, parse_texts
from ingest.plugins import Plugin
from ingest.records import Source
from ingest.source.convert import check_format
from ingest.source.fields import GUESSED, MAX_RECORD_BYTES, FieldMap
from ingest.source.files import FileSource, FolderSource, StdinSource, matcher
from ingest.source.formats import FORMATS, VALUES, as_records, format_named, format_of_path
from ingest.source.places import HTTP, Place, has_query, place_of, public_url
from ingest.source.plugin_source import PluginSource, find_source, plugin_hint
from ingest.source.read_options import AS_FOUND, ReadOptions
from ingest.source.sql import SqlSource, check_database, database_name, is_database
from ingest.source.tables import Table

_MAGIC = re.compile(r"[*?\[]")


def open_source(
    location: str | Path,
    *,
    name: str | None = None,
    format: str | None = None,  # noqa: A002  as in `Document.format`
    fields: FieldMap = GUESSED,
    query: str | None = None,
    table: str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_record_bytes: int = MAX_RECORD_BYTES,
    storage_options: Mapping[str, Any] | None = None,
    options: ReadOptions = AS_FOUND,
) -> Source:
    """Return the source at a location. Checks that it exists; does not read it yet.

    Args:
        location: a folder, a glob, a file, `-` for standard input, any fsspec URL, an SQLAlchemy URL, or `name:…` of a plugin.
        name: the source's name, part of every id, so it must stay the same; default: the resolved path, or the URL without
            secrets. Required for a URL with a query, `?key=value`.
        format: the format of the file, or of every file: one of `formats.FORMATS` or `code:<language>`, optionally followed by
            `.gz` or `.zst`; default: by suffix, and JSON Lines for standard input.
        fields: the fields of a record that hold id, text, title and metadata; of a row also its version.
        query, table: the rows of a database; exactly one of the two.
        include, exclude: patterns for the files of a folder, see `files.matcher`.
        max_record_bytes: the size above which a record or file is rejected, without loading it.
        storage_options: options for the fsspec file system.
        options: how to read files whose content does not tell: encoding, delimiter, columns, types.

    Raises `SourceError` if the location does not exist, `ConfigurationError` if the arguments do not fit it,
    `MissingExtraError` if reading it requires an optional dependency, and `PluginError`.
    """
    location = checked("location", parse_instance, str(location) if isinstance(location, Path) else location, str)
    for parameter, text in (("name", name), ("format", format), ("query", query), ("table", table)):
        checked(parameter, optional(parse_text), text)
    checked("fields", parse_instance, fields, FieldMap)
    checked("max_record_bytes", parse_integer, max_record_bytes, least=1)
    include, exclude = checked("include", parse_texts, include), checked("exclude", parse_texts, exclude)
    if not location.strip():
        raise ConfigurationError("the location is empty, perhaps from a variable that is not set: use a path (. is this folder)")
    checked("options", parse_instance, options, ReadOptions)
    records = Table(fields, max_record_bytes, options=options)
    if (plugin := find_source(location)) is not None:
        return _of_plugin(plugin, location, name, records, (format, query, table, fields.version))
    if query is not None or table is not None or is_database(location):
        return _database(location, name, query, table, records)
    _check_no_version(fields, location)
    if location == "-":
        return _stdin(name, format, records)
    if name is None and has_query(location):
        raise ConfigurationError(
            f"{public_url(location)} has a query, which may contain secrets and so cannot be part of the source's name: "
            "name the source with --name"
        )
    place = place_of(location, storage_options)
    entry_type = place.kind()
    pattern = None
    if entry_type is None:
        place, pattern = _glob(place, location, storage_options)
    elif entry_type == "file":
        return _file(place, name, format, records, origin=None if has_query(location) else place.name)
    elif entry_type == "other":
        raise SourceError(f"{place.name} is neither a file nor a folder: pipe its content into standard input, -")
    origin = place.name if pattern is None else f"{place.name}/{pattern}"
    folder = FolderSource(
        name=name or origin,
        place=place,
        file_format=format_named(format) if format else None,
        table=records,
        matches=matcher(pattern, include, exclude),
        origin=None if include or exclude or has_query(location) else origin,  # parts the origin does not show
    )
    next(folder.files(), None)  # raises now if the folder cannot be listed
    return folder


def _of_plugin(plugin: Plugin, location: str, name: str | None, records: Table, others: Sequence[str | None]) -> Source:
    if any(other is not None for other in others):
        raise ConfigurationError(
            f"{location} is read by {plugin}, which takes no format, query, table or version field: leave it out"
        )
    return PluginSource(name or location, location.partition(":")[2], plugin, records.fields, records.max_bytes)


def _database(location: str, name: str | None, query: str | None, table: str | None, records: Table) -> Source:
    if "://" not in location:
        raise ConfigurationError(
            f"a query or table requires a database, and {location} is none: use an SQLAlchemy URL, or leave the query out"
        )
    if (query is None) == (table is None):
        raise ConfigurationError("a database requires either a query or a table that selects the rows to read")
    check_database(location)
    origin = database_name(location, query, table)
    return SqlSource(name or origin, location, query, table, records, origin=origin)


def _check_no_version(fields: FieldMap, location: str) -> None:
    if fields.version is not None:
        raise ConfigurationError(f"the version field {fields.version!r} is for databases, and {location} is none: leave it out")


def _stdin(name: str | None, format: str | None, records: Table) -> Source:  # noqa: A002  as above
    file_format = format_named(format or "jsonl")
    if records.options.records is not None:
        file_format = as_records(file_format)
    check_format(file_format.name)
    return StdinSource(name or "stdin", file_format, records)


def _file(
    place: Place,
    name: str | None,
    format: str | None,  # noqa: A002  as above
    records: Table,
    *,
    origin: str | None,
) -> Source:
    file_name = place.file_name
    file_format = format_named(format, file_name) if format else format_of_path(file_name)
    if file_format is None:
        raise ConfigurationError(f"the format of {place.name} is unknown: name it with --format ({', '.join(FORMATS)})")
    if records.options.records is not None:
        file_format = as_records(file_format)
        if file_format.name not in VALUES:
            raise ConfigurationError(f"--records is for JSON, YAML and XML, and {place.name} is {file_format.name}: leave it out")
    check_format(file_format.name)
    return FileSource(name or place.name, place, file_format, records, file_name, origin=origin)


def _glob(nothing: Place, location: str, storage_options: Mapping[str, Any] | None) -> tuple[Place, str]:
    """Return the folder before the first pattern, and the pattern from there."""
    scheme, separator, path = location.rpartition("://")
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), None)
    if first is None or has_query(location) or scheme.rpartition("::")[2] in HTTP:
        raise SourceError(f"there is no {nothing.name}: check the path{plugin_hint(location)}")
    root = "/" if path.startswith("/") else "" if scheme else "."
    place = place_of(scheme + separator + ("/".join(parts[:first]) or root), storage_options)
    if place.kind() != "directory":
        raise SourceError(f"there is no folder {place.name}: check the path before the pattern")
    return place, "/".join(parts[first:])

"""How to read files whose content does not tell it for certain."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ingest.parameters import normalize, optional, parse_choice, parse_mapping, parse_text, parse_texts
from ingest.source.column_types import COLUMN_TYPES, ColumnType

HtmlContent = Literal["main", "all"]
HTML_CONTENTS: tuple[HtmlContent, ...] = ("main", "all")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read files whose content does not tell it for certain.

    Attributes:
        encoding: the encoding of text, HTML, CSV and JSON Lines; None: found in each file.
        delimiter: the delimiter of CSV, one character; None: found in each file.
        columns: the names of the columns of CSV files without a header; None: they have a header.
        types: column of CSV files → its type; the other columns are guessed.
        records: the names that lead to the list of records in JSON, YAML and XML, as in `data.items`; in XML they begin below the
            root. None: a JSON or YAML file is the list, or one record; an XML file is one document.
        html_content: `main`: HTML files without navigation, page footers and cookie banners, and only the main content where the
            page says which it is; `all`: everything.
    """

    encoding: str | None = None
    delimiter: str | None = None
    columns: tuple[str, ...] | None = None
    types: Mapping[str, ColumnType] = field(default_factory=dict)
    html_content: HtmlContent = "main"
    records: str | None = None

    def __post_init__(self) -> None:
        normalize(self, "encoding", optional(_parse_encoding))
        normalize(self, "delimiter", optional(_parse_delimiter))
        normalize(self, "columns", optional(parse_texts))
        normalize(self, "types", parse_mapping, _parse_type)
        normalize(self, "html_content", _parse_html_content)
        normalize(self, "records", optional(_parse_path))

    @property
    def record_path(self) -> tuple[str, ...]:
        """The names of `records`; empty if there are none."""
        return tuple(self.records.split(".")) if self.records else ()


def _parse_encoding(value: object) -> str:
    name = parse_text(value)
    try:
        "".encode(name)  # refuses codecs that are no text encodings, such as base64
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("it must be an encoding such as utf-8, cp1252, utf-16 or gb18030") from None


def _parse_delimiter(value: object) -> str:
    delimiter = {"tab": "\t", "\\t": "\t"}.get(text := parse_text(value) if value != "\t" else "\t", text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError("it must be one character, or tab")
    return delimiter


def _parse_type(value: object) -> ColumnType:
    return parse_choice(value, COLUMN_TYPES)


def _parse_path(value: object) -> str:
    path = parse_text(value)
    if not all(path.split(".")):
        raise ValueError("it must be names joined by dots, such as data.items")
    return path


def _parse_html_content(value: object) -> HtmlContent:
    return parse_choice(value, HTML_CONTENTS)


AS_FOUND = ReadOptions()

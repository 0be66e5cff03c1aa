"""From a record to a document: the mapping of fields, and the limits of ids, texts and metadata."""

from __future__ import annotations

import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

from ingest.parameters import normalize, optional, parse_text, parse_texts
from ingest.records import RAW_LIMIT, Document, Rejected
from ingest.source.column_types import is_exact

ID_FIELDS = ("id", "_id", "doc_id")
TEXT_FIELDS = ("text", "content", "body", "page_content")
TITLE_FIELDS = ("title",)

MAX_RECORD_BYTES = 16 * 2**20
"""The default of the size above which a record or file is rejected."""

MAX_ID = 1_000
"""Characters."""
MAX_DEPTH = 64
"""Levels of lists and objects in metadata; the JSON parsers of the engines fail at about twice that."""
_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class FieldMap:
    """The fields of a record that hold id, text, title and metadata.

    Attributes:
        id: the field with the id; None: the first one present of `ID_FIELDS`.
        text: the field with the text, or several whose texts are joined by a blank line; None: the first one present of
            `TEXT_FIELDS`.
        title: the field with the title; None: `TITLE_FIELDS`.
        metadata: the fields that become metadata; None: all others. An object in a field named `metadata` is merged into
            the metadata; fields of the record itself take precedence.
        version: the column of a database whose value changes with every change of a row; None: rows are compared by their
            content. See `ingest.source.versions`.

    `doc.text` is the field `text` in the object `doc`, unless a field has that very name. Fields that are not given are looked
    for in any case: `Text` and `ID` are found, too.
    """

    id: str | None = None
    text: str | tuple[str, ...] | None = None
    title: str | None = None
    metadata: tuple[str, ...] | None = None
    version: str | None = None

    def __post_init__(self) -> None:
        for name in ("id", "title", "version"):
            normalize(self, name, optional(parse_text))
        if not isinstance(self.text, str):
            normalize(self, "text", lambda value: parse_texts(value) or None if value is not None else None)
        normalize(self, "text", optional(lambda value: parse_text(value) if isinstance(value, str) else value))
        normalize(self, "metadata", optional(parse_texts))

    @property
    def texts(self) -> tuple[str, ...]:
        """The fields with the text; none if they are looked for."""
        return (self.text,) if isinstance(self.text, str) else self.text or ()

    def taken(self, columns: Sequence[str]) -> set[str]:
        """Return the columns of a table that hold id, text and title."""
        found = (
            self.id or named(columns, ID_FIELDS),
            *(self.texts or (named(columns, TEXT_FIELDS),)),
            self.title or named(columns, TITLE_FIELDS),
        )
        return {name for name in found if name is not None}

    def fits(self, columns: Sequence[str]) -> bool:
        """Return whether a table with these columns can yield documents."""
        mapped = (self.id, self.title, *self.texts, *(self.metadata or ()))
        return all(name is None or _has(columns, name) for name in mapped) and bool(self.texts or named(columns, TEXT_FIELDS))

    def check(self, columns: Sequence[str], where: str) -> None:
        """Raise `Unusable` if a table with these columns cannot yield documents."""
        if twice := sorted(name for name, times in Counter(columns).items() if times > 1):
            raise Unusable(f"{where} has several columns named {_listed(twice)}: rename all but one")
        listed = _listed(columns) or "none"
        for name in (self.id, *self.texts, self.title, *(self.metadata or ()), self.version):
            if name is not None and not _has(columns, name):
                raise Unusable(f"{where} has no column {name!r} (its columns: {listed}): map the fields to columns it has")
        if not self.fits(columns):
            raise Unusable(f"{where} has no column named {', '.join(TEXT_FIELDS)} (its columns: {listed}): map the text field")

    def columns(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of a table that a document is made of."""
        if self.metadata is None:
            return list(columns)
        chosen = self.taken(columns) | set(self.metadata)
        return [name for name in columns if any(name == each or each.startswith(f"{name}.") for each in chosen)]


GUESSED = FieldMap()


class Unusable(Exception):  # noqa: N818  internal: it becomes a `Rejected` or a `SourceError`
    """A record, file or table that cannot become documents; the message is the reason."""


class NoRecordsError(Unusable):
    """A file that was not given as a file of records, and that holds none."""


class ImpossibleId(Unusable):
    """An id that no document can have."""


def document_from(
    record: Any,
    *,
    fields: FieldMap,
    position: str,
    max_bytes: int,
    raw: Callable[[], str],
    prefix: str = "",
) -> Document | Rejected:
    """Return the record as a document, or as `Rejected` with a reason.

    Args:
        record: the parsed record.
        fields: the fields of the record.
        position: where the record is, for messages.
        max_bytes: the size above which the record is rejected, in bytes.
        raw: returns the original record; called only for a rejected one.
        prefix: put before the record's id.
    """
    doc_id: str | None = None
    try:
        if not isinstance(record, dict):
            raise Unusable(f"the record is {_kind(record)}, not an object")  # noqa: TRY301
        rest = dict(record)
        doc_id = _take_id(rest, fields, prefix)
        text = _take_text(rest, fields, max_bytes)
        title = _take_title(rest, fields)
        if doc_id is None:
            doc_id = checked_id(prefix + sha256(text.encode()).hexdigest()[:32])
        return Document(doc_id, text, title, _metadata(rest, fields, max_bytes), position=position)
    except Unusable as exc:
        return Rejected(position, str(exc), raw(), doc_id, isinstance(exc, ImpossibleId))


def named(names: Iterable[str], guesses: Sequence[str]) -> str | None:
    """Return the name that is the first of the guesses to be there, exactly or in another case."""
    names = list(names)
    if exact := next((guess for guess in guesses if guess in names), None):
        return exact
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.casefold() if isinstance(name, str) else "", name)
    return next((folded[guess] for guess in guesses if guess in folded), None)


def _has(columns: Sequence[str], name: str) -> bool:
    return name in columns or any(name.startswith(f"{column}.") for column in columns)


def _listed(columns: Sequence[str]) -> str:
    """Return the first 20 names on one line."""
    return " ".join(", ".join(columns[:20]).split())


def raw_of(data: bytes) -> str:
    """Return the start of a rejected record as text of at most `RAW_LIMIT` bytes."""
    text = data[:RAW_LIMIT].decode(errors="replace")
    return text.encode()[:RAW_LIMIT].decode(errors="ignore")


def raw_json(record: Any) -> str:
    """Return the start of a parsed record as JSON of at most `RAW_LIMIT` bytes."""
    try:
        text = json.dumps(record, default=repr, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):  # a key of another type, a cycle, or nested too deep
        text = reprlib.repr(record)
    return raw_of(text.encode(errors="replace"))


def checked_id(doc_id: str) -> str:
    """Return the id. Raise `ImpossibleId` if no document can have it, `Unusable` if it is empty."""
    if not doc_id:
        raise Unusable("the id is empty")
    if len(doc_id) > MAX_ID:
        raise ImpossibleId(f"the id has {len(doc_id):,} characters: at most {MAX_ID:,} are allowed")
    try:
        return checked_string(doc_id, "the id")
    except Unusable as exc:
        raise ImpossibleId(str(exc)) from exc


def checked_text(text: str) -> str:
    """Return the text. Raise `Unusable` if it is empty or contains characters that no store accepts."""
    if not text or text.isspace():
        raise Unusable("the text is empty")
    return checked_string(text, "the text")


def one_line_end(text: str) -> str:
    r"""Return the text with `\n` at the ends of its lines, so that the same text has the same identity on every system."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def checked_string(value: str, what: str) -> str:
    """Return the value. Raise `Unusable` if it contains characters that no store accepts."""
    if "\0" in value:
        raise Unusable(f"{what} contains a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Unusable(f"{what} is not valid Unicode: not UTF-8, or a lone surrogate") from None
    return value


_ABSENT, _ABSENT_VALUE = object(), object()


def _taken(record: dict[str, Any], name: str, absent: Any = _ABSENT) -> Any:
    """Remove a field from a record and return its value; `a.b` is the field `b` of the object `a`. The record is copied there."""
    if name in record:
        return record.pop(name)
    first, dot, rest = name.partition(".")
    inner = record.get(first)
    if dot and isinstance(inner, dict):
        record[first] = inner = dict(inner)
        value = _taken(inner, rest, absent)
        if not inner:
            del record[first]
        return value
    if absent is _ABSENT:
        raise Unusable(f"there is no field {name!r}")
    return absent


def _chosen(record: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a record that have these names, nested as they are."""
    chosen: dict[str, Any] = {}
    for name in names:
        value = _taken(dict(record), name, _ABSENT_VALUE)
        if value is _ABSENT_VALUE:
            continue
        at, within = chosen, record
        rest = name
        while rest not in within:
            first, _, rest = rest.partition(".")
            at, within = at.setdefault(first, {}), within[first]
        at[rest] = value
    return chosen


def _take_id(rest: dict[str, Any], fields: FieldMap, prefix: str) -> str | None:
    name = fields.id or named(rest, ID_FIELDS)
    if name is None:
        return None
    return prefixed_id(_taken(rest, name), name, prefix)


def prefixed_id(value: Any, name: str, prefix: str = "") -> str:
    """Return the id of a document from the value of a field. Raise `Unusable` or `ImpossibleId` if it can be none."""
    if isinstance(value, (int, UUID)) and not isinstance(value, bool):
        value = str(value)
    elif isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value():
        value = str(int(value))
    if not isinstance(value, str):
        raise Unusable(f"the id ({name}) is {_kind(value)}, not a string or an integer")
    return checked_id(prefix + value if value else value)


def _take_text(rest: dict[str, Any], fields: FieldMap, max_bytes: int) -> str:
    names = fields.texts or (named(rest, TEXT_FIELDS),)
    texts = []
    for name in names:
        if name is None:
            raise Unusable(f"there is no text: no field {', '.join(TEXT_FIELDS)}")
        text = _taken(rest, name)
        if text is None and len(names) > 1:
            continue
        if not isinstance(text, str):
            raise Unusable(f"the text ({name}) is {_kind(text)}, not a string")
        if len(names) == 1 or not text.isspace():
            texts.append(text)
    text = "\n\n".join(filter(None, texts)) if len(names) > 1 else texts[0]
    _check_size(text, max_bytes)
    return checked_text(one_line_end(text))


def _take_title(rest: dict[str, Any], fields: FieldMap) -> str | None:
    # A mapped title may be missing: many records have none.
    name = fields.title or named(rest, TITLE_FIELDS) or TITLE_FIELDS[0]
    title = _taken(rest, name, None)
    if title is None or (isinstance(title, float) and math.isnan(title)):  # as pandas writes a text that is missing
        return None
    if not isinstance(title, str):
        raise Unusable(f"the title ({name}) is {_kind(title)}, not a string")
    return checked_string(title, "the title").strip() or None


def _metadata(rest: dict[str, Any], fields: FieldMap, max_bytes: int) -> dict[str, Any]:
    if fields.metadata is not None:
        rest = _chosen(rest, fields.metadata)
    nested = rest.get("metadata")
    if nested is None:
        rest.pop("metadata", None)
    elif isinstance(nested, dict):
        del rest["metadata"]
        rest = {**nested, **rest}
    return {_key(name): _plain(value, name, MAX_DEPTH, max_bytes) for name, value in rest.items()}


def plain_metadata(facts: Mapping[str, Any], max_bytes: int = 2**20) -> dict[str, Any]:
    """Return facts that a file states about itself as metadata. Raise `Unusable` for one that JSON cannot represent."""
    return {_key(name): _plain(value, name, MAX_DEPTH, max_bytes) for name, value in facts.items()}


def _key(name: Any) -> str:
    if not isinstance(name, str):
        raise Unusable(f"a metadata name is {_kind(name)}, not a string")
    return checked_string(name, "a metadata name")


def _plain(value: Any, name: str, depth: int, max_bytes: int) -> Any:
    """Return the value as JSON: dates and times in ISO 8601, decimals as floats, durations in seconds."""
    if isinstance(value, str):
        _check_size(value, max_bytes)
        return checked_string(value, f"metadata.{name}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float, Decimal, timedelta)):
        return _plain_number(value, name)
    if isinstance(value, (dict, list, tuple)):
        if depth == 0:
            raise Unusable(f"metadata.{name} is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, dict):
            return {_key(key): _plain(each, name, depth - 1, max_bytes) for key, each in value.items()}
        return [_plain(each, name, depth - 1, max_bytes) for each in value]
    return _plain_other(value, name)


def _plain_number(value: float | Decimal | timedelta, name: str) -> float | str | None:
    """Return a number that JSON has: NaN is null, and a decimal that no float equals is text."""
    if isinstance(value, int):
        if not -_INT64 <= value < _INT64:
            raise Unusable(f"metadata.{name} is an integer beyond 64 bits: make it a string")
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        number = float(value)
        return number if is_exact(value, number) else str(value)
    if math.isinf(value):
        raise Unusable(f"metadata.{name} is {value}: JSON has no such number")
    return None if math.isnan(value) else value


def _plain_other(value: Any, name: str) -> str:
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    what = "binary" if isinstance(value, (bytes, bytearray, memoryview)) else _kind(value)
    raise Unusable(f"metadata.{name} is {what}, which JSON cannot represent: choose the metadata fields without it")


def _check_size(text: str, max_bytes: int) -> None:
    if len(text) > max_bytes or (len(text) * 4 > max_bytes and len(text.encode(errors="replace")) > max_bytes):
        raise Unusable(f"the record is larger than {max_bytes:,} bytes: raise max_record_bytes to accept it")


_KINDS = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), f"of type {type(value).__name__}")

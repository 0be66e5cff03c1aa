"""Records in files that are one value: JSON, YAML, XML. JSON and YAML are parsed as a whole, so the size of a file is bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any
from xml.parsers import expat

import yaml

from ingest.source.fields import FieldMap, NoRecordsError, Unusable
from ingest.source.streams import BLOCK, ByteStream, first_line
from ingest.source.xml_parser import XmlReader
from ingest.source.yaml_text import load_yaml

_DEEPEST = 1_000


def read_values(stream: ByteStream, format: str, path: Sequence[str], *, fields: FieldMap, max_bytes: int) -> Iterator[Any]:  # noqa: A002
    """Return an iterator over the records of a JSON, YAML or XML file.

    Args:
        path: the names that lead to the list of records; lists on the way are followed into each item. Empty: the value itself.
        fields: the fields of a record; they tell whether a file holds records at all.

    Raises `Unusable` for a file that is malformed, too large, or without that list, and `NoRecordsError` for one that was
    not given as a file of records, and whose first value has no text.
    """
    if format == "xml-records":
        return _xml_records(stream, path, max_bytes)
    return iter(_plain_records(stream, format, path, fields, max_bytes))


def _plain_records(stream: ByteStream, format: str, path: Sequence[str], fields: FieldMap, max_bytes: int) -> list[Any]:  # noqa: A002
    data = stream.read_all(max_bytes)
    if data is None:
        raise Unusable(f"the file is larger than {max_bytes:,} bytes: raise max_record_bytes, or write JSON Lines")
    records = _items(_parsed(data, format))
    for number, name in enumerate(path):
        inner = [each[name] for each in records if isinstance(each, dict) and name in each]
        if records and not inner:
            found = sorted({str(key) for each in records if isinstance(each, dict) for key in each})
            where = ".".join(path[:number]) or "the file"
            raise Unusable(f"{where} has no {name} (it has {', '.join(found[:20]) or 'no fields'}): --records names the list")
        records = _items(inner)
    if records and not path and not fields.texts and not (isinstance(records[0], dict) and fields.fits(list(records[0]))):
        raise NoRecordsError(
            "the file holds no records with a text: --records names the list where it is nested, --text-field the text"
        )
    return records


def _items(values: list[Any]) -> list[Any]:
    """Return the values with the items of lists in their place."""
    return [item for value in values for item in (value if isinstance(value, list) else [value])]


def _parsed(data: bytes, format: str) -> list[Any]:  # noqa: A002
    try:
        text = data.decode().removeprefix("\ufeff")
        return load_yaml(text) if format == "yaml" else [json.loads(text, object_pairs_hook=unique_names)]
    except UnicodeDecodeError as exc:
        reason = f"the file is not UTF-8 (byte {exc.start + 1}): --encoding names another encoding"
    except RecursionError:
        reason = f"the {format} is nested too deeply"
    except (yaml.YAMLError, ValueError) as exc:  # also integers of thousands of digits
        reason = f"the file is not {format}: {first_line(exc)}"
    raise Unusable(reason)


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the names and values of a JSON object. Raise `ValueError` if a name is there twice."""
    record = dict(pairs)
    if len(record) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} is there twice in one object")
    return record


def _xml_records(stream: ByteStream, path: Sequence[str], max_bytes: int) -> Iterator[dict[str, Any]]:
    if not path:
        raise Unusable("--records must name the elements that are records, below the root: channel.item")
    reader = _XmlReader(tuple(path))
    parser = reader.parser(None if stream.encoding.startswith("utf-8") else "utf-8")
    found, since, done = False, 0, False
    while not done:
        data = stream.read(BLOCK)
        done = not data
        try:
            parser.Parse(data, done)
        except (expat.ExpatError, ValueError, LookupError) as exc:
            raise Unusable(f"the file cannot be read as XML: {exc}") from None
        since = 0 if reader.records else since + len(data)
        if since > max_bytes:
            raise Unusable(f"{max_bytes:,} bytes have no complete record: raise max_record_bytes, or name other elements")
        found = found or bool(reader.records)
        yield from reader.records
        reader.records.clear()
    if not found:
        below = ", ".join(sorted(reader.below)) or "none"
        raise Unusable(f"no element is at {'.'.join(path)} below the root (the elements there: {below}): --records names them")


class _XmlReader(XmlReader):
    """A builder of records. An open element has fields, and text with the text of the elements in it.

    Attributes:
        records: the complete records.
        below: names of elements below the root.
    """

    def __init__(self, path: tuple[str, ...]) -> None:
        self.records: list[dict[str, Any]] = []
        self.below: set[str] = set()
        self._path = path
        self._names: list[str] = []
        self._open: list[_Element] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._names) >= _DEEPEST:
            raise Unusable("the XML is nested too deeply")
        self._names.append(_local(name))
        if len(self._names) == 2 and len(self.below) < 20:  # noqa: PLR2004
            self.below.add(self._names[1])
        if self._open or tuple(self._names[1:]) == self._path:
            self._open.append(_Element(attributes))

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].add_text(data)

    def end(self, _name: str) -> None:
        name = self._names.pop()
        if not self._open:
            return
        element = self._open.pop()
        if self._open:
            self._open[-1].add_element(name, element)
        else:
            self.records.append(element.record())


class _Element:
    def __init__(self, attributes: dict[str, str]) -> None:
        self.attributes = {_local(name): value for name, value in attributes.items() if name.partition(":")[0] != "xmlns"}
        self.fields: dict[str, list[Any]] = {}
        self.parts: list[str] = []
        self.own_text = False

    def add_text(self, data: str) -> None:
        self.parts.append(data)
        self.own_text = self.own_text or not data.isspace()

    def add_element(self, name: str, element: _Element) -> None:
        self.parts.append("".join(element.parts))
        if element.own_text or not (element.fields or element.attributes):
            self._add(name, "".join(element.parts).strip() or None)
            for attribute, value in element.attributes.items():
                self._add(f"{name}@{attribute}", value)
        else:
            self._add(name, element.record())

    def record(self) -> dict[str, Any]:
        """Return the fields: attributes and elements, lists where there are several of a name; `text` for text beside them."""
        for name, value in self.attributes.items():
            self._add(name, value)
        if self.own_text:
            self.fields = {name: values for name, values in self.fields.items() if name in self.attributes}
            self._add("text", "".join(self.parts).strip())
        return {name: values[0] if len(values) == 1 else values for name, values in self.fields.items()}

    def _add(self, name: str, value: Any) -> None:
        self.fields.setdefault(name, []).append(value)


def _local(name: str) -> str:
    return name.rpartition(":")[2]

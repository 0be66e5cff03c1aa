"""Office, OpenDocument and e-book files: ZIP archives of XML parts, read within bounds."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from ingest.source.fields import Unusable
from ingest.source.streams import first_line

_UNPACKED = 2**29  # most bytes of an archive after unpacking
_PART = 2**26  # most bytes of one XML part: as a tree it takes about ten times as much memory
_MAGIC = b"PK"
_ESCAPED = re.compile("_x([0-9A-Fa-f]{4})_")  # a character that XML cannot hold
_COMPOUND = b"\xd0\xcf\x11\xe0"  # of old and of encrypted Office files


@dataclass(frozen=True, slots=True)
class Archive:
    """An open archive.

    Attributes:
        format: the name of the format, for messages.
    """

    zip: zipfile.ZipFile
    format: str

    def names(self) -> list[str]:
        """Return the names of all parts."""
        return self.zip.namelist()

    def read(self, name: str) -> bytes | None:
        """Return a part, or None if the archive has no part of that name."""
        try:
            part = self.zip.getinfo(name)
        except KeyError:
            return None
        if part.file_size > _PART:
            raise Unusable(f"{name} in the {self.format} unpacks to more than {_PART:,} bytes")
        return self.zip.read(part)

    def xml(self, name: str) -> Element | None:
        """Return an XML part, or None if the archive has no part of that name."""
        data = self.read(name)
        return None if data is None else parse_xml(data, self.format)

    def relations(self, name: str) -> dict[str, tuple[str, str]]:
        """Return the relations of an Office part by id: the last word of their type, and the part or address they lead to."""
        folder, file_name = posixpath.split(name)
        relations = self.xml(f"{folder}/_rels/{file_name}.rels".lstrip("/"))
        found = {}
        for each in relations if relations is not None else ():
            target = each.get("Target", "")
            if each.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join(folder, unquote(target))) if target[:1] != "/" else target[1:]
            found[each.get("Id", "")] = (each.get("Type", "").rpartition("/")[2], target)
        return found


class _NoDoctype(TreeBuilder):
    """A builder that refuses document types: they only serve to declare entities, and no Office file needs them."""

    def doctype(self, *_: str | None) -> None:
        raise Unusable("the XML has a document type, which may hide a bomb")


def parse_xml(data: bytes, format: str) -> Element:  # noqa: A002  as in `Document.format`
    """Return the root of an XML document. Raise `Unusable` if it is malformed or has a document type."""
    parser = XMLParser(target=_NoDoctype())  # noqa: S314  document types are refused
    try:
        parser.feed(data)
        root: Any = parser.close()
    except (ParseError, ValueError, LookupError) as exc:
        raise Unusable(f"the file cannot be read as {format}: {first_line(exc)}") from None
    return root  # type: ignore[no-any-return]


@contextmanager
def opened(data: bytes, format: str) -> Iterator[Archive]:  # noqa: A002  as above
    """Open an archive. Whatever is wrong with it raises `Unusable`, also while its parts are read."""
    if data.startswith(_COMPOUND):
        raise Unusable(f"the file is not a {format}: it is encrypted, or in the format of Office 97")
    if not data.startswith(_MAGIC):
        raise Unusable(f"the file cannot be read as {format}: it is not a ZIP archive")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(part.file_size for part in archive.infolist()) > _UNPACKED:
                raise Unusable(f"the {format} unpacks to more than {_UNPACKED:,} bytes")
            yield Archive(archive, format)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, RuntimeError, ValueError, OSError) as exc:
        if isinstance(exc, RecursionError):
            raise Unusable(f"the {format} is nested too deeply") from None
        raise Unusable(f"the file cannot be read as {format}: {first_line(exc)}") from None


def main_part(archive: Archive, root: str) -> tuple[str, Element]:
    """Return the name and the root element of the main part of an Office file; its name without namespace must be `root`."""
    name = next((target for kind, target in archive.relations("").values() if kind == "officeDocument"), "")
    element = archive.xml(name)
    if element is None or local(element) != root:
        raise Unusable(f"the file cannot be read as {archive.format}: it has no {root} part")
    return name, element


def core_properties(archive: Archive) -> tuple[str | None, dict[str, str]]:
    """Return the title and the other facts that an Office file states about itself."""
    core = next((target for kind, target in archive.relations("").values() if kind == "core-properties"), "docProps/core.xml")
    return stated(archive.xml(core))


def stated(properties: Element | None) -> tuple[str | None, dict[str, str]]:
    """Return the title and the other facts in an element of Dublin Core properties."""
    names = {
        "creator": "author",
        "initial-creator": "author",
        "subject": "subject",
        "description": "description",
        "language": "language",
        "keywords": "keywords",
        "created": "created",
        "creation-date": "created",
        "title": "title",
    }
    facts: dict[str, str] = {}
    for each in properties.iter() if properties is not None else ():
        name, value = names.get(local(each)), " ".join((each.text or "").split())
        if name and value:
            facts[name] = value if name not in facts or name != "author" else f"{facts[name]}, {value}"
    return facts.pop("title", None), facts


def unescaped(text: str) -> str:
    """Return a text of an Office file with the characters that it writes as `_x000B_`."""
    return _ESCAPED.sub(lambda character: chr(int(character[1], 16)), text)


def local(element: Element) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: Element | None, name: str) -> str | None:
    """Return an attribute by its name without namespace, or None."""
    if element is None:
        return None
    return next((value for key, value in element.items() if key.rpartition("}")[2] == name), None)


def child(element: Element | None, *path: str) -> Element | None:
    """Return the first descendant along a path of local names, or None."""
    for name in path:
        element = next((each for each in element if local(each) == name), None) if element is not None else None
    return element


def children(element: Element | None, *path: str) -> Iterable[Element]:
    """Return the children of the first descendant along a path of local names, none without it."""
    found = child(element, *path)
    return () if found is None else found

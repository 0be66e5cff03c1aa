"""XML as events, without anything that its author could hide in entities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from html.entities import html5
from xml.parsers import expat

from ingest.source.fields import Unusable


class XmlReader(ABC):
    """A reader of the elements and texts of an XML document. Raises `Unusable` for one that declares entities."""

    def parser(self, encoding: str | None) -> expat.XMLParserType:
        """Return a parser that calls this reader. `encoding`: None for the one that the document declares."""
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.UseForeignDTD(True)  # an unknown entity is then skipped, not malformed
        parser.StartElementHandler = self.start
        parser.EndElementHandler = self.end
        parser.CharacterDataHandler = self.text
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._skipped
        return parser

    @abstractmethod
    def start(self, name: str, attributes: dict[str, str]) -> None:
        """Begin an element."""

    @abstractmethod
    def text(self, data: str) -> None:
        """Add text to the open element."""

    @abstractmethod
    def end(self, name: str) -> None:
        """End the open element."""

    def _entity(self, *_: object) -> None:
        raise Unusable("the XML declares entities, which may hide a bomb")

    def _skipped(self, name: str, _is_parameter: bool) -> None:
        """Add the character of an entity that HTML knows."""
        self.text(html5.get(f"{name};", f"&{name};"))

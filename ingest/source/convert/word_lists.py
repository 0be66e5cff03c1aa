"""The numbered lists of Word documents: their definitions, and the label of each item."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element

from ingest.source.convert.archives import attribute, child, local
from ingest.source.convert.numbering import counted


@dataclass(frozen=True, slots=True)
class _Level:
    """A level of a numbered list.

    Attributes:
        family: its abstract definition.
        legal: whether the numbers of the levels above are decimal in its labels.
        restarts: whether the list starts anew where it is first used.
    """

    format: str
    text: str
    start: int
    family: str
    legal: bool = False
    restarts: bool = False


class Lists:
    """The lists of a document, and the items counted so far.

    Args:
        root: the numbering part of the document, if it has one.
    """

    def __init__(self, root: Element | None) -> None:
        self._lists = _levels(root) if root is not None else {}
        self._counts: Counter[tuple[str, int]] = Counter()
        self._started: set[tuple[str, int]] = set()

    def label(self, number: str, depth: int) -> tuple[str, str] | None:
        """Count an item of a list. Return the format of its number, and its label, or None if there is no such list."""
        levels = self._lists.get(number)
        if levels is None:
            return None
        level = levels.get(depth)
        if level is None or level.format in {"bullet", "none"}:
            return ("bullet", "")
        family = level.family  # lists of one definition go on counting, unless they state where they start
        if level.restarts and (number, depth) not in self._started:
            self._started.add((number, depth))
            self._counts[family, depth] = 0
        self._counts[family, depth] += 1
        for key in [key for key in self._counts if key[0] == family and key[1] > depth]:
            del self._counts[key]
        label = level.text
        for at in range(depth + 1):
            own = levels.get(at, level)
            count = own.start + max(self._counts[family, at], 1) - 1
            label = label.replace(f"%{at + 1}", counted(count, "decimal" if level.legal else own.format))
        return (level.format, label)


def small_number(value: str | None, default: int) -> int:
    """Return a count of an Office file, or the default if it is none."""
    return int(value) if value and value.isdigit() and len(value) < 6 else default  # noqa: PLR2004  no table is that wide


def _levels(root: Element) -> dict[str, dict[int, _Level]]:
    """Return the levels of each list by its id."""
    abstract = _definitions(root)
    lists = {}
    for each in root:
        if local(each) == "num":
            family = attribute(child(each, "abstractNumId"), "val") or ""
            levels = dict(abstract.get(family, {}))
            for override in each:
                start, depth = attribute(child(override, "startOverride"), "val"), small_number(attribute(override, "ilvl"), 0)
                own = child(override, "lvl")
                if own is not None:
                    levels[depth] = _level(own, family)[1]
                if start and depth in levels:
                    levels[depth] = replace(levels[depth], start=small_number(start, 1), restarts=True)
            lists[attribute(each, "numId") or ""] = levels
    return lists


def _definitions(root: Element) -> dict[str, dict[int, _Level]]:
    """Return the levels of each abstract definition. One may stand for another by way of a numbering style."""
    abstract: dict[str, dict[int, _Level]] = {}
    linked: dict[str, str] = {}  # the definition behind a numbering style
    for each in root:
        if local(each) == "abstractNum":
            family = attribute(each, "abstractNumId") or ""
            abstract[family] = dict(_level(level, family) for level in each if local(level) == "lvl")
            linked[attribute(child(each, "styleLink"), "val") or ""] = family
    for each in root:
        if link := attribute(child(each, "numStyleLink"), "val"):
            abstract[attribute(each, "abstractNumId") or ""] = abstract.get(linked.get(link, ""), {})
    return abstract


def _level(element: Element, family: str) -> tuple[int, _Level]:
    return small_number(attribute(element, "ilvl"), 0), _Level(
        attribute(child(element, "numFmt"), "val") or "decimal",
        attribute(child(element, "lvlText"), "val") or "",
        small_number(attribute(child(element, "start"), "val"), 1),
        family,
        child(element, "isLgl") is not None,
    )

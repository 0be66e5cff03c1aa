"""Charts and diagrams (SmartArt) in Office files: a chart becomes its title and a table of its values, a diagram a list."""

from __future__ import annotations

from datetime import date, timedelta
from html import escape
from itertools import zip_longest
from xml.etree.ElementTree import Element

from ingest.source.convert.archives import Archive, attribute, child, local
from ingest.source.convert.markup import Block, Item, Paragraph, Table, TableCell

_EPOCH = date(1899, 12, 30)
_MOST_DAYS = 100_000
_MOST_POINTS = 10_000


def drawn(archive: Archive, element: Element, links: dict[str, tuple[str, str]]) -> list[Block]:
    """Return the blocks of the chart or diagram that an element of a drawing refers to, if it does."""
    name = local(element)
    if name not in {"chart", "relIds"}:
        return []
    wanted = {"chart": ("id", "chart"), "relIds": ("dm", "diagramData")}[name]
    kind, target = links.get(attribute(element, wanted[0]) or "", ("", ""))
    root = archive.xml(target) if kind == wanted[1] else None
    if root is None:
        return []
    return _chart(root) if name == "chart" else _diagram(root)


def _diagram(root: Element) -> list[Block]:
    points = (each for each in root.iter() if local(each) == "pt")
    texts = (" ".join(_words(child(point, "t")).split()) for point in points)
    return [Item(escape(text, quote=False), 0) for text in texts if text]


def _chart(root: Element) -> list[Block]:
    titles = [" ".join(_words(each).split()) for each in root.iter() if local(each) == "title"]
    blocks: list[Block] = [Paragraph(escape(title, quote=False)) for title in titles if title]
    series = [each for each in root.iter() if local(each) == "ser"]
    names = [next(iter(_values(child(each, "tx"))), "") for each in series]
    columns = [_values(next((part for part in each if local(part) in {"val", "yVal", "bubbleSize"}), None)) for each in series]
    first = max((_values(next((part for part in each if local(part) in {"cat", "xVal"}), None)) for each in series), key=len)
    rows = [["", *names], *([*row] for row in zip_longest(first, *columns, fillvalue=""))] if series else []
    if len(rows) > 1:
        blocks.append(Table([[TableCell([Paragraph(escape(value, quote=False))]) for value in row] for row in rows]))
    return blocks


def _values(source: Element | None) -> list[str]:
    """Return the stored values of a source of data, in order."""
    if source is None:
        return []
    format_code = next((each.text or "" for each in source.iter() if local(each) == "formatCode"), "")
    dated = any(sign in format_code.lower() for sign in ("yy", "mm", "dd", "d/m", "m/d"))
    points: dict[int, str] = {}
    for each in source.iter():
        at = attribute(each, "idx") or ""
        if local(each) == "pt" and at.isdigit() and int(at) < _MOST_POINTS:
            levels = [points[int(at)]] if int(at) in points else []  # categories of several levels
            value = child(each, "v")
            points[int(at)] = " ".join([_shown((value.text if value is not None else "") or "", dated=dated), *levels])
    if not points:  # a name that is text and no reference
        return [text for each in source if local(each) == "v" and (text := each.text or "")]
    return [points.get(at, "") for at in range(max(points) + 1)]


def _shown(value: str, *, dated: bool) -> str:
    try:
        number = float(value)
    except ValueError:
        return value
    if dated and 0 < number < _MOST_DAYS and number.is_integer():
        return (_EPOCH + timedelta(days=int(number))).isoformat()
    return f"{number:.15g}"


def _words(element: Element | None) -> str:
    """Return the text of an element, with a space between paragraphs."""
    paragraphs = (each for each in element.iter() if local(each) == "p") if element is not None else ()
    return " ".join("".join(each.text or "" for each in paragraph.iter() if local(each) == "t") for paragraph in paragraphs)

"""Jupyter notebooks: text cells, code cells as fenced code, and their outputs without pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ingest.source.convert.html import html_page
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode, markdown_anchors, markdown_title, shown_in_terminal, without_data_addresses
from ingest.source.fields import Unusable

_SAYS_NOTHING = re.compile(r"\s*(?:<[\w.]+ object(?: at 0x[0-9a-f]+)?>)?\s*")
_BACKTICKS = re.compile(r"`{3,}")


def notebook_page(data: bytes) -> Page:
    """Return the cells of a notebook as Markdown, with its first heading as title."""
    try:
        notebook = json.loads(decode(data))
    except ValueError as exc:
        raise Unusable(f"the file cannot be read as ipynb: {exc}") from None
    cells = _cells(notebook)
    if not isinstance(cells, list):
        raise Unusable("the file cannot be read as ipynb: it has no cells")
    about = _mapping(_mapping(notebook).get("metadata"))
    language = _mapping(about.get("language_info")).get("name") or _mapping(about.get("kernelspec")).get("language") or "python"
    parts = [part.strip("\n") for cell in cells for part in _parts(_mapping(cell), str(language))]
    text = without_data_addresses("\n\n".join(part for part in parts if part.strip()))
    title = about.get("title")
    title = (title if isinstance(title, str) else "").strip() or markdown_title(text)
    return Page(text, title=title, anchors=markdown_anchors(text))


def fenced(text: str, language: str) -> str:
    """Return text as a code block of Markdown."""
    longest = max((len(ticks) for ticks in _BACKTICKS.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def _cells(notebook: Any) -> Any:
    """Return the cells; before version 4 they are in worksheets."""
    sheets = _mapping(notebook).get("worksheets")
    if isinstance(sheets, list):
        return [cell for sheet in sheets for cell in _mapping(sheet).get("cells", ())]
    return _mapping(notebook).get("cells")


def _parts(cell: Mapping[str, Any], language: str) -> Iterator[str]:
    source = _text(cell.get("source", cell.get("input")))
    if cell.get("cell_type") == "heading":
        yield f"{'#' * int(cell.get('level', 1))} {source}"
    elif cell.get("cell_type") != "code":
        yield source
    elif source.strip():
        yield fenced(source, language)
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        yield _output(_mapping(output))


def _output(output: Mapping[str, Any]) -> str:
    data = _mapping(output.get("data"))
    if output.get("output_type") == "error":
        return fenced(_shown(f"{output.get('ename')}: {output.get('evalue')}"), "text")
    if "text/markdown" in data:
        return _text(data["text/markdown"])
    text = _text(output.get("text") or data.get("text/plain") or data.get("text/latex"))
    markup = _text(data.get("text/html"))
    if "<table" in markup or (markup and _SAYS_NOTHING.fullmatch(text)):  # as plain text the columns of a table run together
        return html_page(markup.encode("utf-8-sig")).text
    plain = _shown(text)
    pictured = any(name.startswith("image/") for name in data)  # the text then only names the object
    return fenced(plain, "text") if plain.strip() and not pictured else ""


def _shown(text: str) -> str:
    """Return what a terminal shows of an output: no control sequences, and of a line that was written over the last version."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in shown_in_terminal(text).split("\n"))
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

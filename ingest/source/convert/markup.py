"""Blocks of text as HTML, the way from Office files to Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph: inline HTML, and the level of a heading from 1. Consecutive ones that are `code` are one block of it."""

    html: str
    level: int | None = None
    code: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """An item of a list: inline HTML, depth from 0, the format of its number (`bullet`, `decimal` …) and its label."""

    html: str
    depth: int
    format: str = "bullet"
    label: str = ""


@dataclass(frozen=True, slots=True)
class TableCell:
    """A cell: its blocks, and the columns it spans. `follows`: it belongs to the cell above it."""

    blocks: list[Block]
    span: int = 1
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table."""

    rows: list[list[TableCell]]


Block = Paragraph | Item | Table


def markup_of(blocks: Iterable[Block]) -> str:
    """Return an HTML document."""
    return f"<meta charset=utf-8><body>{''.join(_parts(blocks))}</body>"


def _parts(blocks: Iterable[Block]) -> Iterator[str]:
    items: list[Item] = []
    code: list[str] = []
    for block in blocks:
        if isinstance(block, Paragraph) and block.code:
            yield from _list(items)
            items = []
            code.append(block.html)
            continue
        yield from _code(code)
        code = []
        if isinstance(block, Item):
            if block.html.strip() or block.label:
                items.append(block)
            continue
        yield from _list(items)
        items = []
        if isinstance(block, Table):
            yield _table(block)
        elif block.html.strip():
            tag = f"h{min(block.level, 6)}" if block.level else "p"
            yield f"<{tag}>{block.html}</{tag}>"
    yield from _list(items)
    yield from _code(code)


def _code(lines: list[str]) -> Iterator[str]:
    """Yield lines of code as one block."""
    if any(line.strip() for line in lines):
        yield f"<pre>{chr(10).join(lines)}</pre>"


def _list(items: list[Item]) -> Iterator[str]:
    """Yield nested lists for consecutive items."""
    if not items:
        return
    depth = min(item.depth for item in items)
    at = expected = 0
    tag = ""
    while at < len(items):
        end = at + 1
        while end < len(items) and items[end].depth > depth:
            end += 1
        item, deeper = items[at], items[at + 1 : end]
        if item.depth > depth:  # no item to hang it on
            deeper, item = [item, *deeper], replace(item, html="", format="bullet", label="")
        start = item.label.rstrip(".)")
        numbered = item.format == "decimal" and start.isdigit()
        wanted = "ol" if numbered else "ul"
        if wanted != tag or (numbered and int(start) != expected):
            yield f"</{tag}>" if tag else ""
            yield f"<ol start={start}>" if numbered else "<ul>"
            tag = wanted
        expected = int(start) + 1 if numbered else 0
        label = f"{escape(item.label)} " if item.label and not numbered else ""
        yield f"<li>{label}{item.html}{''.join(_list(deeper))}</li>"
        at = end
    yield f"</{tag}>"


def _table(table: Table) -> str:
    rows = [row for row in table.rows if row]
    if len(rows) == 1 and len(rows[0]) == 1:  # a frame around text
        return "".join(_parts(rows[0][0].blocks))
    heights = _heights(rows)
    lines = []
    for number, row in enumerate(rows):
        cells = []
        column = 0
        for cell in row:
            if not cell.follows:
                height = heights[number, column]
                spans = (f" colspan={cell.span}" if cell.span > 1 else "") + (f" rowspan={height}" if height > 1 else "")
                cells.append(f"<td{spans}>{'<br>'.join(_flat(cell.blocks))}</td>")
            column += cell.span
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _heights(rows: list[list[TableCell]]) -> dict[tuple[int, int], int]:
    """Return the number of rows of each cell by row and column."""
    heights: dict[tuple[int, int], int] = {}
    owners: dict[int, tuple[int, int]] = {}
    for number, row in enumerate(rows):
        column = 0
        for cell in row:
            if cell.follows and column in owners:
                heights[owners[column]] += 1
            else:
                owners[column] = (number, column)
                heights[number, column] = 1
            column += cell.span
    return heights


def _flat(blocks: Iterable[Block]) -> Iterator[str]:
    """Yield the lines of a cell, which has room for text only."""
    for block in blocks:
        if isinstance(block, Table):
            for row in block.rows:
                yield " / ".join(" ".join(_flat(cell.blocks)) for cell in row if not cell.follows)
        elif block.html.strip():
            label = block.label if isinstance(block, Item) else ""
            yield f"{escape(label)} {block.html}" if label else block.html

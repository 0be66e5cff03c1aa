"""Spreadsheets: a Markdown table per visible sheet, below the sheet's name. The values of `xlsx` are read with openpyxl.

Cells are shown as they were typed, dates in ISO 8601, percentages and padded numbers as the sheet shows them. Blank cells are
empty. Left out: hidden sheets, empty sheets, comments, pictures and charts.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from importlib.util import find_spec
from typing import Any

from ingest.errors import MissingExtraError
from ingest.source.convert.archives import core_properties, main_part, opened
from ingest.source.convert.page import Page
from ingest.source.fields import Unusable
from ingest.source.streams import first_line

_MOST_CELLS = 2**21
_PADDED = re.compile(r"(0{2,})(?:;.*|)")
_PERCENT = re.compile(r"0(?:\.(0+))?\s?%")
_MARKUP = str.maketrans({"|": r"\|", "\n": " ", "\r": " "})


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet: its name, and its rows of text."""

    name: str
    rows: Iterable[list[str]]


def sheets_page(sheets: Iterable[Sheet], title: str | None, metadata: dict[str, str]) -> Page:
    """Return the sheets of a workbook as Markdown."""
    parts = []
    for sheet in sheets:
        rows = [[" ".join(value.translate(_MARKUP).split()) for value in row] for row in sheet.rows]
        rows = [row for row in rows if any(row)]
        if rows:
            width = max(len(row) for row in rows)
            lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
            parts.append("\n".join([f"## {sheet.name}", "", lines[0], f"|{' --- |' * width}", *lines[1:]]))
    return Page("\n\n".join(parts), title=title, metadata=metadata)


def check_workbooks() -> None:
    """Raise `MissingExtraError` if the library for Excel workbooks is not installed."""
    if find_spec("openpyxl") is None:
        raise MissingExtraError("reading .xlsx requires the extra formats: pip install 'qdrant-ingest[formats]'")


def workbook_page(data: bytes) -> Page:
    """Return the sheets of an Excel workbook as Markdown tables, with its title and metadata."""
    check_workbooks()
    with opened(data, "xlsx") as archive:
        main_part(archive, "workbook")
        title, facts = core_properties(archive)
        try:
            with warnings.catch_warnings(action="ignore"):  # about styles and extensions that do not matter here
                return sheets_page(_sheets(data), title, facts)
        except (Unusable, MemoryError):
            raise
        except Exception as exc:  # noqa: BLE001  openpyxl raises whatever a malformed part leads to
            raise Unusable(f"the file cannot be read as xlsx: {first_line(exc)}") from None


def _sheets(data: bytes) -> Iterator[Sheet]:
    import openpyxl  # type: ignore[import-untyped]  # noqa: PLC0415  an extra, and slow to import

    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    for sheet in workbook.worksheets:
        if sheet.sheet_state == "visible":
            sheet.reset_dimensions()  # those the file states may be wrong
            yield Sheet(sheet.title, _rows(sheet.iter_rows()))


def _rows(rows: Iterable[Iterable[Any]]) -> Iterator[list[str]]:
    budget = _MOST_CELLS
    for row in rows:
        values = [shown(cell.value, str(getattr(cell, "number_format", ""))) if cell.value is not None else "" for cell in row]
        while values and not values[-1]:
            values.pop()
        budget -= max(1, len(values))
        if budget < 0:
            raise Unusable(f"the xlsx has a sheet of more than {_MOST_CELLS:,} cells")
        yield values


def shown(value: Any, number_format: str) -> str:  # noqa: PLR0911  one return a type of value
    """Return a cell's value as text.

    Args:
        value: the value.
        number_format: the format of the cell; only padding with zeros and percentages have an effect.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if not isinstance(value, int | float):
        return str(value)
    if percent := _PERCENT.fullmatch(number_format):
        return f"{value * 100:.{len(percent[1] or '')}f}%"
    if isinstance(value, float):
        value = int(value) if value.is_integer() and abs(value) < 1e15 else value  # noqa: PLR2004  the digits Excel keeps
    padded = _PADDED.fullmatch(number_format)
    return f"{value:0{len(padded[1])}d}" if padded and isinstance(value, int) else repr(value)

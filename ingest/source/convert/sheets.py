"""Spreadsheets: a Markdown table per visible sheet, below the sheet's name. The values of `xlsx` are read with openpyxl.

Cells are shown as they were typed, dates in ISO 8601, percentages, padded numbers and units as the sheet shows them, a formula
without a stored value as it is written. Blank cells are empty. Left out: hidden and empty sheets, blank rows, blank columns if
they are the most, comments, pictures and charts.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from importlib.util import find_spec
from itertools import zip_longest
from typing import Any

from ingest.errors import MissingExtraError
from ingest.source.convert.archives import Archive, core_properties, main_part, opened, unescaped
from ingest.source.convert.page import Page
from ingest.source.fields import Unusable
from ingest.source.streams import first_line

_MOST_CELLS = 2**21
_PERCENT = re.compile(r"[#0,?]*0(?:\.([0#?]+))?\s?%")
_FORMAT_PART = re.compile(r"""\[\$([^\]-]*)[^\]]*\]|\[[^\]]*\]|"([^"]*)"|\\(.)|_.|\*.|([#0?,.]+)|(.)""", re.DOTALL)
_PARTS = re.compile(r';(?=(?:[^"]*"[^"]*")*[^"]*$)')
_CONDITION = re.compile(r"\[[<>=]")
_NO_TEXT = re.compile(r"\[(?!\$)[^\]]*\]|_.")  # colors, and space as wide as a character
_NO_VALUE = re.compile(rb"(?:</f>|<f[^<>]*/>)\s*(?:<v\s*/>|<v></v>)?\s*</c>")
_LITERAL = " $€£¥+-():!^&'~{}<>="
_SIGNS = " -+()"
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
        rows = _without_blank_columns([row for row in rows if any(row)])
        if rows:
            width = max(len(row) for row in rows)
            lines = [f"| {' | '.join(row + [''] * (width - len(row)))} |" for row in rows]
            parts.append("\n".join([f"## {sheet.name}", "", lines[0], f"|{' --- |' * width}", *lines[1:]]))
    return Page("\n\n".join(parts), title=title, metadata=metadata)


def _without_blank_columns(rows: list[list[str]]) -> list[list[str]]:
    """Return the rows without columns that are blank in all of them, if most are: cells may be thousands of columns apart."""
    used = sorted({column for row in rows for column, value in enumerate(row) if value})
    if 2 * len(used) >= max(map(len, rows), default=0):
        return rows
    return [[row[column] if column < len(row) else "" for column in used] for row in rows]


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
                return sheets_page(_sheets(data, has_formulas=_lacks_values(archive)), title, facts)
        except (Unusable, MemoryError):
            raise
        except Exception as exc:  # noqa: BLE001  openpyxl raises whatever a malformed part leads to
            raise Unusable(f"the file cannot be read as xlsx: {first_line(exc)}") from None


def _sheets(data: bytes, *, has_formulas: bool) -> Iterator[Sheet]:
    import openpyxl  # type: ignore[import-untyped]  # noqa: PLC0415  an extra, and slow to import

    workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
    written = openpyxl.load_workbook(io.BytesIO(data), read_only=True).worksheets if has_formulas else ()
    for sheet, formulas in zip_longest(workbook.worksheets, written):
        if sheet.sheet_state == "visible":
            sheet.reset_dimensions()  # those the file states may be wrong
            if formulas is not None:
                formulas.reset_dimensions()
            yield Sheet(sheet.title, _rows(sheet.iter_rows(), formulas.iter_rows() if formulas is not None else ()))


def _rows(rows: Iterable[Iterable[Any]], formulas: Iterable[Iterable[Any]]) -> Iterator[list[str]]:
    """Yield the rows of a sheet. A formula without a stored value is shown itself."""
    budget = _MOST_CELLS
    for row, written in zip_longest(rows, formulas, fillvalue=()):
        values = [_cell(cell, formula) for cell, formula in zip_longest(row, written)]
        while values and not values[-1]:
            values.pop()
        budget -= max(1, len(values))
        if budget < 0:
            raise Unusable(f"the xlsx has a sheet of more than {_MOST_CELLS:,} cells")
        yield values


def _cell(cell: Any, formula: Any) -> str:
    if cell is not None and cell.value is not None:
        return shown(cell.value, str(getattr(cell, "number_format", "")))
    if getattr(cell, "data_type", "") == "str":  # the formula yields an empty text
        return ""
    value = getattr(formula, "value", None)
    text = str(getattr(value, "text", value))  # of an array formula
    return text if text.startswith("=") else ""


def _lacks_values(archive: Archive) -> bool:
    """Return whether the workbook has a formula without a stored value."""
    sheets = (
        archive.read(name) or b"" for name in archive.names() if name.startswith("xl/worksheets/") and name.endswith(".xml")
    )
    return any(_NO_VALUE.search(sheet) for sheet in sheets)


def shown(value: Any, number_format: str) -> str:  # noqa: PLR0911  one return a type of value
    """Return a cell's value as text.

    Args:
        value: the value.
        number_format: the format of the cell; it decides about zeros in front, percentages, and text such as a unit.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        rounded = value + timedelta(milliseconds=500)
        return rounded.date().isoformat() if rounded.time() < time(0, 0, 1) else rounded.isoformat(" ", "seconds")
    if isinstance(value, time):
        return (datetime.combine(date.min, value) + timedelta(milliseconds=500)).time().isoformat("seconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    if not isinstance(value, int | float):
        return unescaped(str(value))
    return _formatted(value, number_format)


def _formatted(value: float, number_format: str) -> str:
    """Return a number as the part of its format shows it that is for numbers of its sign."""
    positive, *others = _parts(number_format)
    if percent := _PERCENT.fullmatch(positive):
        return f"{value * 100:.{len(percent[1] or '')}f}%"
    if value < 0 and others:
        digits = plain_number(-value)
        text = _in_format(digits, others[0])
        return f"-{text}" if text in {digits, _in_format(digits, positive)} else text  # or in red, or in brackets
    zero = others[1] if value == 0 and len(others) > 1 else positive
    return _in_format(plain_number(value), zero)


@lru_cache(maxsize=1024)
def _parts(number_format: str) -> tuple[str, ...]:
    """Return the parts of a format: for positive numbers, for negative ones and for zero."""
    if _CONDITION.search(number_format):  # in thousands or millions, for example: the number is then shown as typed
        return ("",)
    return tuple(_NO_TEXT.sub("", part) for part in _PARTS.split(number_format))


def plain_number(value: float) -> str:
    """Return a number in at most the 15 digits that spreadsheets show, without the noise of binary fractions."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.15g}" if abs(value) >= 1e15 or not value.is_integer() else str(int(value))  # noqa: PLR2004  15 digits


def _in_format(number: str, number_format: str) -> str:
    """Return a number with what its format adds to the digits: zeros in front, and text such as a unit or the parts of a code."""
    texts, places = [""], []  # a text before each group of places, and one behind the last
    for part in _FORMAT_PART.finditer(number_format):
        if part[4]:
            places.append(part[4])
            texts.append("")
        elif part[5] and part[5] not in _LITERAL:
            return number  # a fraction, an exponent, or no format of numbers
        else:
            texts[-1] += next(filter(None, (part[1], part[2], part[3], part[5])), "")
    if places and set("".join(places)) == {"0"} and number.isdigit():
        digits = number.zfill(len("".join(places)))
        for group in reversed(places[1:]):
            digits, texts[-2:] = digits[: -len(group)], [f"{texts[-2]}{digits[-len(group) :]}{texts[-1]}"]
        return f"{texts[0]}{digits}{texts[1]}".strip()
    if len(places) != 1 or places[0].endswith(",") or not "".join(texts).strip(_SIGNS):  # a comma behind: in thousands
        return number
    sign, digits = ("-", number[1:]) if number.startswith("-") else ("", number)
    return f"{sign}{texts[0].lstrip()}{digits}{texts[1].rstrip()}"

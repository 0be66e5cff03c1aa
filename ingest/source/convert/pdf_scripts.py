"""Raised and lowered numbers in PDF files: `10^6^` and `CO~2~`."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from typing import Any

_NUMBER = re.compile(r"[+−–-]?\d[\d+−–-]*")
_SMALLER = 0.85
_RAISED = 0.15  # times the size of the letters
_LOWERED = 0.05


def raised_numbers(raw: Any, text: str, at: int) -> Iterator[tuple[int, int, str]]:
    """Yield start, end and mark of the numbers in smaller letters above or below a line, `^` and `~`."""
    for number in _NUMBER.finditer(text):
        start = number.start() - (number.start() > 0 and not text[number.start() - 1].isspace())
        base = _stands(raw, at + start)
        since, mark = start, ""
        for offset in range(start + 1, number.end() + 1):
            own = _stands(raw, at + offset) if offset < number.end() else None
            found = _mark(base, own) if base and own else ""
            if found != mark:
                if mark:
                    yield since, offset, mark
                since, mark = offset, found
            base = base if found else own or base


def _stands(raw: Any, index: int) -> tuple[float, float] | None:
    """Return where the foot of a character is, and its height, in points."""
    import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # noqa: PLC0415  an extra

    x, y, box = ctypes.c_double(), ctypes.c_double(), pdfium.FS_RECTF()
    own = pdfium.FPDFText_GetCharIndexFromTextIndex(raw, index)
    if own < 0 or not pdfium.FPDFText_GetCharOrigin(raw, own, ctypes.byref(x), ctypes.byref(y)):
        return None
    return (y.value, box.top - box.bottom) if pdfium.FPDFText_GetLooseCharBox(raw, own, ctypes.byref(box)) else None


def _mark(base: tuple[float, float], own: tuple[float, float]) -> str:
    """Return the mark of a character by where it and the one it belongs to stand, "" on the same line."""
    above = own[0] - base[0]
    if own[1] >= _SMALLER * base[1]:
        return ""
    return "^" if above > _RAISED * base[1] else "~" if above < -_LOWERED * base[1] else ""


def with_marks(text: str, start: int, end: int, marks: Sequence[tuple[int, int, str]]) -> str:
    """Return a part of a line with the marks of its raised and lowered numbers."""
    parts = []
    for first, last, mark in marks:
        if start <= first and last <= end:
            parts += [text[start:first], mark, text[first:last], mark]
            start = last
    return "".join([*parts, text[start:end]]).strip()

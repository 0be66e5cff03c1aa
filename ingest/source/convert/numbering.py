"""The numbers of list items, as Office files and web pages name their formats."""

from __future__ import annotations

_ROMAN = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl")),
    *((10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_MOST_ROMAN = 3999
_MOST_LETTERS = 26 * 20

FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
"""The format by the sign that HTML and OpenDocument have for it."""


def counted(count: int, style: str) -> str:
    """Return a number in a format: letters (`a`, `aa` after `z`), Roman, decimal with a leading zero, else decimal."""
    if style in {"lowerLetter", "upperLetter"} and 0 < count <= _MOST_LETTERS:
        letters = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 + 1)
        return letters.upper() if style == "upperLetter" else letters
    if style in {"lowerRoman", "upperRoman"} and 0 < count <= _MOST_ROMAN:
        text = ""
        for value, sign in _ROMAN:
            text += sign * (count // value)
            count %= value
        return text.upper() if style == "upperRoman" else text
    return str(count).zfill(2) if style == "decimalZero" else str(count)

"""Characters of the fonts Symbol and Wingdings, which Office files store as letters or in the private area of Unicode."""

from __future__ import annotations

_SYMBOL = {
    first + at: sign
    for first, signs in (
        (0x22, "∀#∃%&∋()∗+,−"),
        (0x40, "≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼"),
        (0xA0, "€ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…⏐⎯↵ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑"),
    )
    for at, sign in enumerate(signs)
}
_WINGDINGS = {
    0x28: "☎",
    0x2A: "✉",
    0x4A: "☺",
    0x4C: "☹",
    0x6C: "●",
    0x6E: "■",
    0x6F: "☐",
    0x71: "❑",
    0x75: "◆",
    0x76: "❖",
    0xA7: "▪",
    0xA8: "☐",
    0xAB: "★",
    0xB7: "•",
    0xD8: "➢",
    0xDF: "←",
    0xE0: "→",
    0xE8: "➔",
    0xF0: "⇨",
    0xFB: "✗",
    0xFC: "✓",
    0xFD: "☒",
    0xFE: "☑",
}
_FONTS = {"Symbol": {**_SYMBOL, **{code: chr(code) for code in range(0x2E, 0x40)}}, "Wingdings": _WINGDINGS}
_PRIVATE = 0xF000  # where Word stores the characters of such fonts
_BYTE = 0xFF


def symbol(font: str, code: int) -> str:
    """Return the character that a font shows for a code, `□` if it is unknown."""
    if _PRIVATE <= code <= _PRIVATE + _BYTE:
        return _FONTS.get(font, _WINGDINGS).get(code - _PRIVATE, "□")
    return chr(code) if 0x20 <= code < 0xD800 else "□"  # noqa: PLR2004  neither control nor surrogate


def in_font(text: str, font: str | None) -> str:
    """Return a text as a font shows it; only Symbol and Wingdings show other characters than those of the text."""
    if font not in _FONTS:
        return text
    return "".join(letter if letter.isspace() else _shown(letter, font) for letter in text)


def _shown(letter: str, font: str) -> str:
    code = ord(letter)
    return symbol(font, code + _PRIVATE if code <= _BYTE else code)

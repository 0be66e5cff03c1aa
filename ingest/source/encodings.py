"""The encoding of text: by byte order mark, by NUL bytes, as UTF-8, or guessed."""

from __future__ import annotations

import codecs
from typing import NamedTuple

BYTE_ORDER_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
GUESSABLE = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp874", "koi8_r"),
    *("cp932", "euc_jp", "gb18030", "big5", "euc_kr"),
)
_UTF16_ASCII_SHARE = 4  # UTF-16 without a mark: at least one character in this many is ASCII
_WESTERN = frozenset("äöüßÄÖÜéèêëàâçñáíóúìîïòôûùœæøåãõÉÈÊËÀÂÇÑÁÍÓÚÌÎÏÒÔÛÙŒÆØÅÃÕ€–—‘’‚“”„…•«»°§£¥©®™²³¹µ½¼¾¿¡·´×ºª\xa0")
_ENOUGH = 4
"""Bytes beyond ASCII, without which a guess other than Western is luck."""
_WESTERN_SHARE = 3
"""In Western text, at most one letter in this many is not ASCII."""


_WEB = {  # Python's name of a declared encoding → the encoding browsers read it in
    **{
        name: name
        for name in ("utf-8", "koi8-r", "koi8-u", "mac-roman", "mac-cyrillic", "cp866", "euc_jp", "iso2022_jp", "gb18030")
    },
    **{f"cp125{number}": f"cp125{number}" for number in range(9)},
    **{f"iso8859-{number}": f"iso8859-{number}" for number in (2, 3, 4, 5, 6, 7, 8, 10, 13, 14, 15, 16)},
    **dict.fromkeys(("ascii", "iso8859-1"), "cp1252"),
    **dict.fromkeys(("gb2312", "gbk"), "gb18030"),
    **dict.fromkeys(("big5", "big5hkscs"), "big5hkscs"),
    **dict.fromkeys(("shift_jis", "cp932"), "cp932"),
    **dict.fromkeys(("euc_kr", "cp949"), "cp949"),
    **dict.fromkeys(("iso8859-11", "tis-620", "cp874"), "cp874"),
    "iso8859-9": "cp1254",
}
_LABELS = {  # that Python does not know
    **dict.fromkeys(("iso-8859-8-i", "iso-8859-8-e", "csiso88598i", "csiso88598e", "logical", "visual"), "iso8859-8"),
    **dict.fromkeys(("x-big5", "cn-big5", "csbig5"), "big5"),
    **dict.fromkeys(("gb_2312", "gb_2312-80", "csiso58gb231280", "chinese"), "gb2312"),
    **dict.fromkeys(("ks_c_5601-1989", "iso-ir-149", "csksc56011987", "korean"), "euc_kr"),
    **dict.fromkeys(("csiso88596i", "csiso88596e", "iso-8859-6-i", "iso-8859-6-e"), "iso8859-6"),
    **dict.fromkeys(("unicode-1-1-utf-8", "unicode11utf8", "unicode20utf8", "x-unicode20utf8"), "utf-8"),
    "dos-874": "cp874",
    "csshiftjis": "shift_jis",
    "ms932": "cp932",
    "cseucpkdfmtjapanese": "euc_jp",
    "csiso2022jp": "iso2022_jp",
    "mac": "mac-roman",
    "mac-cyrillic": "mac-cyrillic",
    "mac-ukrainian": "mac-cyrillic",
    "koi": "koi8-r",
    "koi8-ru": "koi8-u",
}


class Encoding(NamedTuple):
    """The encoding of a text: its Python name, and whether it was guessed."""

    name: str
    guessed: bool = False


def web_encoding(label: str) -> str | None:
    """Return the encoding in which browsers read what declares a label, such as cp1252 for iso-8859-1, or None if unknown."""
    label = label.strip().lower().removeprefix("x-").replace("windows-", "cp")
    try:
        return _WEB.get(codecs.lookup(_LABELS.get(label, label)).name)
    except (LookupError, ValueError):
        return None


def find_encoding(data: bytes, *, whole: bool = True) -> Encoding | None:
    """Return the encoding of a text, or None if the bytes are binary.

    Args:
        data: the text, or the start of it.
        whole: whether it is the whole text; otherwise, the last character may be cut.
    """
    if marked := next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), None):
        return Encoding(marked)
    if b"\0" in data:
        name = _utf16_without_mark(data)
        return Encoding(name) if name else None
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=whole)
    except UnicodeDecodeError:
        guess = _guess(data)
        return Encoding(guess, guessed=True) if guess else Encoding("utf-8")
    return Encoding("utf-8")


def _guess(data: bytes) -> str | None:
    """Return the likely encoding of text that is not UTF-8, or None if it is damaged UTF-8 or nothing known."""
    if _has_utf8(data):
        return None
    if _is_western(data.decode("cp1252", errors="replace")):
        return "cp1252"
    if sum(byte > 0x7F for byte in data) < _ENOUGH:  # noqa: PLR2004  the last byte of ASCII
        return None
    from charset_normalizer import from_bytes  # noqa: PLC0415  rarely needed

    best = from_bytes(data, cp_isolation=list(GUESSABLE)).best()
    return best.encoding if best else None


def _has_utf8(data: bytes) -> bool:
    """Return whether most of the characters that are not ASCII are UTF-8, so that the others are damage."""
    text = data.decode(errors="surrogateescape")
    damaged = sum("\udc80" <= character <= "\udcff" for character in text)
    return sum(character > "\x7f" for character in text) > 2 * damaged


def _is_western(text: str) -> bool:
    beyond = [character for character in text if character > "\x7f"]
    letters = sum(character.isalpha() for character in text)
    return _WESTERN.issuperset(beyond) and sum(map(str.isalpha, beyond)) * _WESTERN_SHARE <= letters


def _utf16_without_mark(data: bytes) -> str | None:
    """Return the byte order of UTF-16 text without a mark, or None if the bytes are not that."""
    if len(data) % 2:
        data = data[:-1]
    first, second = data[::2].count(0), data[1::2].count(0)
    enough = len(data) // 2 // _UTF16_ASCII_SHARE
    if second > enough and not first:
        return "utf-16-le"
    return "utf-16-be" if first > enough and not second else None

"""Outlook messages (msg): like `mail`, from the properties of a compound file."""

from __future__ import annotations

import io
import struct
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

from ingest.errors import MissingExtraError
from ingest.source.convert.html import html_page
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode
from ingest.source.fields import Unusable, one_line_end
from ingest.source.streams import first_line

_SUBJECT, _BODY, _HTML, _ATTACHMENT = "0037", "1000", "1013", ("3707", "3704")
_SENDER, _ADDRESS = "0C1A", ("5D01", "0C1F")
_HEADERS = {"0E04": "to", "0E03": "cc", "1035": "message_id", "1042": "in_reply_to"}
_SENT, _CODEPAGE = 0x0039_0040, 0x3FFD_0003
_CODEPAGES = {65001: "utf-8", 20127: "ascii", 20866: "koi8-r", 20932: "euc_jp", 28591: "cp1252", 50220: "iso2022_jp"}
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_HEADER = 32  # bytes before the first property
_PROPERTY = struct.Struct("<IIQ")  # tag, flags, value


def check_outlook() -> None:
    """Raise `MissingExtraError` if the library for Outlook messages is not installed."""
    if find_spec("olefile") is None:
        raise MissingExtraError("reading .msg requires the extra formats: pip install 'qdrant-ingest[formats]'")


def outlook_page(data: bytes) -> Page:
    """Return the text of a message, its subject as title, and its headers as metadata."""
    check_outlook()
    import olefile  # type: ignore[import-untyped]  # noqa: PLC0415  an extra

    if not olefile.isOleFile(data=data):
        raise Unusable("the file cannot be read as msg: it is not a compound file")
    try:
        with olefile.OleFileIO(io.BytesIO(data), raise_defects=olefile.DEFECT_INCORRECT) as file:
            return _page(file)
    except (OSError, ValueError, IndexError, struct.error) as exc:
        raise Unusable(f"the file cannot be read as msg: {first_line(exc)}") from None


def _page(file: Any) -> Page:
    if not file.exists("__properties_version1.0"):
        raise Unusable("the file cannot be read as msg: it has no properties of a message")
    metadata = {name: value for tag, name in _HEADERS.items() if (value := _line(file, tag))}
    address = next((value for tag in _ADDRESS if "@" in (value := _line(file, tag))), "")
    sender = _line(file, _SENDER)
    if sender or address:
        metadata["from"] = f"{sender} <{address}>" if sender and address and sender != address else sender or address
    if sent := _number(_properties(file), _SENT):
        metadata["date"] = (_EPOCH + timedelta(microseconds=sent // 10)).isoformat(timespec="seconds")
    folders = sorted({path[0] for path in file.listdir() if path[0].startswith("__attach_version1.0_")})
    names = [next((name for tag in _ATTACHMENT if (name := _line(file, tag, f"{folder}/"))), "") for folder in folders]
    if any(names):
        metadata["attachments"] = ", ".join(filter(None, names))
    title = _line(file, _SUBJECT) or None
    text = _text(file, _BODY).replace("\r\n", "\n").strip()
    if text:
        return Page(text, "text", title, metadata)
    markup = _binary(file, f"__substg1.0_{_HTML}0102") or _text(file, _HTML).encode("utf-8-sig")
    if not markup:
        raise Unusable("the msg has neither a plain nor an HTML text")
    return Page(html_page(markup).text, "markdown", title, metadata)


def _text(file: Any, tag: str, folder: str = "") -> str:
    """Return a property of a type of text, or ""."""
    wide = _binary(file, f"{folder}__substg1.0_{tag}001F")
    if wide:
        return wide.decode("utf-16-le").rstrip("\0")
    narrow = _binary(file, f"{folder}__substg1.0_{tag}001E").rstrip(b"\0")
    codepage = _number(_properties(file), _CODEPAGE)
    with suppress(LookupError, UnicodeDecodeError):
        return one_line_end(narrow.decode(_CODEPAGES.get(codepage) or f"cp{codepage}"))
    return decode(narrow)


def _line(file: Any, tag: str, folder: str = "") -> str:
    return " ".join(_text(file, tag, folder).split())


def _binary(file: Any, name: str) -> bytes:
    return bytes(file.openstream(name).read()) if file.exists(name) else b""


def _properties(file: Any) -> bytes:
    return bytes(file.openstream("__properties_version1.0").read())


def _number(properties: bytes, wanted: int) -> int:
    """Return the value of a number among the properties, or 0."""
    for at in range(_HEADER, len(properties) - _PROPERTY.size + 1, _PROPERTY.size):
        tag, _, value = _PROPERTY.unpack_from(properties, at)
        if tag == wanted:
            return int(value)
    return 0

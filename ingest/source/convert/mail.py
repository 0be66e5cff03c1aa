"""E-mail: messages (`eml`) and mailboxes (`mbox`, a section per message).

Subject, sender, recipients and date are metadata, and so are the names of attachments, whose content is left out. The text is
that of all parts in order; of a message in several versions the plain one, or the HTML version if there is no plain one. A report
on a delivery has its text and the message it is about, without the part for machines.
"""

from __future__ import annotations

import codecs
import email
import email.policy
import re
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from itertools import pairwise

from ingest.source.convert.html import html_page
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode
from ingest.source.encodings import web_encoding
from ingest.source.fields import Unusable, one_line_end

_HEADERS = {"from": "from", "to": "to", "cc": "cc", "message-id": "message_id", "in-reply-to": "in_reply_to"}
_START = re.compile(rb"^From [^\n]*\d:\d\d[^\n]*\n(?=[!-9;-~]+:)", re.MULTILINE)  # the next line is a header
_HEADING = re.compile(r"^(#{1,6}\s)", re.MULTILINE)  # in Markdown
_UNDECLARED = re.compile("[\udc80-\udcff]")  # bytes beyond ASCII, without a word about their encoding
_UUENCODED = re.compile(r"^begin [0-7]{3,4} (\S[^\n]*)\n(?:[!-M][ -`]*\n)*[ `]?\n?end[ \t]*$", re.MULTILINE)
_OLD_CHARSETS = {"utf-7", "cp437", "cp850", "cp852", "cp858", "cp860", "cp861", "cp863", "cp865", "hz", "iso2022_kr", "johab"}
_QUOTED_START = re.compile(r"^>(>*From )", re.MULTILINE)


def message_page(data: bytes) -> Page:
    """Return the text of a message, its subject as title, and its headers as metadata."""
    message = _parsed(data)
    body = _body(message)
    metadata = _facts(message)
    if body.attachments:
        metadata["attachments"] = ", ".join(body.attachments)
    return Page(body.text, "markdown" if body.is_markdown else "text", _header(message, "subject") or None, metadata)


def mailbox_page(data: bytes) -> Page:
    """Return the messages of a mailbox, each below its subject."""
    starts = [*(match.start() for match in _START.finditer(data)), len(data)]
    if starts[0] != 0:
        raise Unusable("the file cannot be read as mbox: it does not begin with a line `From …`")
    sections = []
    for start, end in pairwise(starts):
        message = _parsed(data[data.index(b"\n", start) + 1 : end])
        body = _body(message)
        text = _QUOTED_START.sub(r"\1", body.text)
        text = text if body.is_markdown else _HEADING.sub(r"\\\1", text)
        facts = _facts(message)
        lines = [f"{name.title()}: {facts[name]}" for name in ("from", "to", "date") if name in facts]
        lines += [f"Attachments: {', '.join(body.attachments)}"] if body.attachments else []
        subject = _header(message, "subject") or "Without subject"
        sections.append("\n\n".join(filter(None, [f"## {subject}", "  \n".join(lines), text])))
    return Page("\n\n".join(sections))


def markup_of_message(data: bytes) -> str:
    """Return the first web page in a message, such as a page that a browser saved in one file (mht), or ""."""
    message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
    page = next((part for part in message.walk() if part.get_content_type() == "text/html"), None)
    return _text(page) if isinstance(page, EmailMessage) else ""


def _parsed(data: bytes) -> EmailMessage:
    if data[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}:
        data = data.decode("utf-16", errors="replace").encode()
    message = email.message_from_bytes(data.removeprefix(codecs.BOM_UTF8), _class=EmailMessage, policy=email.policy.default)
    if not any(name in message for name in ("from", "to", "subject", "date", "message-id")):
        raise Unusable("the file cannot be read as e-mail: it has no headers")
    return message


def _facts(message: EmailMessage) -> dict[str, str]:
    facts = {key: value for name, key in _HEADERS.items() if (value := _header(message, name))}
    if date := _header(message, "date"):
        with suppress(ValueError, TypeError, IndexError):
            date = parsedate_to_datetime(date).isoformat()
        facts["date"] = date
    return facts


def _header(message: EmailMessage, name: str) -> str:
    """Return a header as one line, or "" if there is none or it cannot be read."""
    raw = next((str(raw) for key, raw in message.raw_items() if key.lower() == name), "")
    try:
        value = decode(raw.encode(errors="surrogateescape")) if _UNDECLARED.search(raw) else str(message[name] or "")
    except Exception:  # noqa: BLE001  the parser of the standard library fails in many ways on malformed headers
        value = raw
    return " ".join(value.encode(errors="replace").decode().split())


@dataclass(frozen=True, slots=True)
class _Body:
    """The content of a message or a part: its texts with whether each is Markdown, and the names of its attachments."""

    texts: tuple[tuple[str, bool], ...] = ()
    attachments: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n\n".join(text for text, _ in self.texts)

    @property
    def is_markdown(self) -> bool:
        return any(markdown for _, markdown in self.texts)


def _body(part: EmailMessage) -> _Body:
    """Return the content of a message: of alternatives the plain text, if it is not blank; of other parts all texts in order."""
    kind = part.get_content_type()
    inner = [each for each in part.get_payload() if isinstance(each, EmailMessage)] if part.is_multipart() else []
    if kind == "message/rfc822" and inner:
        return _forwarded(inner[0])
    if part.get_content_disposition() == "attachment":
        return _Body(attachments=_name(part))
    if inner:
        bodies = [_body(each) for each in inner]
        kept = bodies
        if kind == "multipart/alternative":
            ranked = enumerate(zip(inner, bodies, strict=True))
            versions = sorted((_rank(each, body), at) for at, (each, body) in ranked if body.texts)
            kept = [bodies[at] for _, at in versions[:1]]
        return _Body(
            tuple(text for body in kept for text in body.texts), tuple(name for body in bodies for name in body.attachments)
        )
    if kind == "text/html":
        text, markdown, attached = html_page(_text(part).encode("utf-8-sig")).text, True, []
    elif _is_shown(part):
        text, markdown = _plain(part), False
        attached = [name.strip() for name in _UUENCODED.findall(text)]
        text = (_UUENCODED.sub("", text) if attached else text).strip()
    else:
        return _Body(attachments=_name(part))
    return _Body(((text, markdown),) if text else (), tuple(attached))


def _forwarded(message: EmailMessage) -> _Body:
    """Return a message in a message, below its subject, sender and date."""
    facts = _facts(message)
    head = [f"Forwarded message: {_header(message, 'subject') or 'without subject'}"]
    head += [f"{name.title()}: {facts[name]}" for name in ("from", "date") if name in facts]
    inner = _body(message)
    return _Body((("\n".join(head), False), *inner.texts), inner.attachments)


def _rank(part: EmailMessage, body: _Body) -> int:
    """Return how much of a second choice a version of a message is: plain text, then HTML, then any other text."""
    if part.get_content_maintype() == "text" and part.get_content_subtype() not in {"plain", "html"}:
        return 2
    return int(body.is_markdown)


def _is_shown(part: EmailMessage) -> bool:
    """Return whether a part is text: plain, of an unknown kind without a file name, or of several parts that nothing parts."""
    if part.get_content_type() == "text/plain" or part.get_content_maintype() == "multipart":
        return True
    return part.get_content_maintype() == "text" and not part.get_filename()


def _name(part: EmailMessage) -> tuple[str, ...]:
    name = " ".join((part.get_filename() or "").split())
    return (name,) if name else ()


def _plain(part: EmailMessage) -> str:
    """Return a plain text. Lines that were only broken for the way (`format=flowed`) are joined."""
    text = _text(part)
    if str(part.get_param("format", "")).lower() != "flowed":
        return text
    deleted = 1 if str(part.get_param("delsp", "")).lower() == "yes" else 0
    lines: list[str] = []
    open_: str | None = None  # the quote marks of a line that continues
    for line in text.split("\n"):
        quoted = line[: len(line) - len(line.lstrip(">"))]
        content = line[len(quoted) :].removeprefix(" ")
        flows = content.endswith(" ") and content != "-- "
        if open_ == quoted:
            lines[-1] += content
        else:
            lines.append(f"{quoted} {content}" if quoted else content)
        if flows and deleted:
            lines[-1] = lines[-1][:-1]
        open_ = quoted if flows else None
    return "\n".join(lines)


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    label = part.get_content_charset() or ""
    charset = web_encoding(label) or _old_charset(label)
    for name in ("utf-8", charset) if charset == "cp1252" else (charset,):  # UTF-8 is often declared as ASCII or Latin 1
        with suppress(UnicodeDecodeError):
            if name is not None:
                return one_line_end(data.decode(name))
    return decode(data)


def _old_charset(label: str) -> str | None:
    """Return the encoding of a label that only mail has, or None."""
    with suppress(LookupError, ValueError):
        name = codecs.lookup(label).name
        return name if name in _OLD_CHARSETS else None
    return None

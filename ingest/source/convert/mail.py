"""E-mail: messages (`eml`) and mailboxes (`mbox`, a section per message).

Subject, sender, recipients and date are metadata, and so are the names of attachments, whose content is left out. The text is
the plain version of the message, or the HTML version if there is no plain one.
"""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Iterator
from contextlib import suppress
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from itertools import pairwise

from ingest.source.convert.html import html_page
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode
from ingest.source.fields import Unusable

_HEADERS = {"from": "from", "to": "to", "cc": "cc", "message-id": "message_id", "in-reply-to": "in_reply_to"}
_START = re.compile(rb"^From [^\n]*\d{4}[^\n]*\n", re.MULTILINE)
_QUOTED_START = re.compile(r"^>(>*From )", re.MULTILINE)


def message_page(data: bytes) -> Page:
    """Return the text of a message, its subject as title, and its headers as metadata."""
    message = _parsed(data)
    text, is_markdown, attachments = _body(message)
    metadata = _facts(message)
    if attachments:
        metadata["attachments"] = ", ".join(attachments)
    return Page(text, "markdown" if is_markdown else "text", _header(message, "subject") or None, metadata)


def mailbox_page(data: bytes) -> Page:
    """Return the messages of a mailbox, each below its subject."""
    starts = [*(match.start() for match in _START.finditer(data)), len(data)]
    if starts[0] != 0:
        raise Unusable("the file cannot be read as mbox: it does not begin with a line `From …`")
    sections = []
    for start, end in pairwise(starts):
        message = _parsed(data[data.index(b"\n", start) + 1 : end])
        text, _, attachments = _body(message)
        facts = _facts(message)
        lines = [f"{name.title()}: {facts[name]}" for name in ("from", "to", "date") if name in facts]
        lines += [f"Attachments: {', '.join(attachments)}"] if attachments else []
        subject = _header(message, "subject") or "Without subject"
        sections.append("\n\n".join([f"## {subject}", "  \n".join(lines), _QUOTED_START.sub(r"\1", text)]))
    return Page("\n\n".join(sections))


def _parsed(data: bytes) -> EmailMessage:
    message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
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
    try:
        value = str(message[name] or "")
    except Exception:  # noqa: BLE001  the parser of the standard library fails in many ways on malformed headers
        value = next((str(raw) for key, raw in message.raw_items() if key.lower() == name), "")
    return " ".join(value.encode(errors="replace").decode().split())


def _body(message: EmailMessage) -> tuple[str, bool, list[str]]:
    """Return the text of a message, whether it is Markdown, and the names of the attachments."""
    plain: list[str] = []
    markup: list[str] = []
    attachments: list[str] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        if part.get_content_disposition() == "attachment" or kind not in {"text/plain", "text/html"}:
            name = part.get_filename() or ""
            attachments += [" ".join(name.split())] if name else []
        else:
            (plain if kind == "text/plain" else markup).append(_text(part))
    if not any(map(str.strip, plain)) and markup:
        return "\n\n".join(html_page(each.encode()).text for each in markup), True, attachments
    return "\n\n".join(text.strip() for text in plain), False, attachments


def _leaves(message: EmailMessage) -> Iterator[EmailMessage]:
    """Yield the parts that are no containers. A forwarded message is one of them only as an attachment."""
    if message.is_multipart() and message.get_content_maintype() == "multipart":
        for part in message.get_payload():
            if isinstance(part, EmailMessage):
                yield from _leaves(part)
    else:
        yield message


def _text(part: EmailMessage) -> str:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    charset = part.get_content_charset()
    if charset is not None:
        with suppress(LookupError, UnicodeDecodeError):
            return data.decode(charset).replace("\r\n", "\n")
    return decode(data).replace("\r\n", "\n")

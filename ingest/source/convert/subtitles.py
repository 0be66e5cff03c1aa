"""Subtitles (vtt, srt): the spoken lines with their speakers, without times, numbers and styles."""

from __future__ import annotations

import re
from html import unescape

from ingest.source.convert.page import Page
from ingest.source.convert.text import decode
from ingest.source.fields import Unusable

_TIMES = re.compile(r"(?:\d+:)?\d{1,2}:\d\d[.,]\d{1,3}\s+-->\s")
_BETWEEN = re.compile(rf"\n[ \t]*\n|\n(?=\d+[ \t]*\n[ \t]*{_TIMES.pattern})")  # some files have no blank lines between cues
_SPEAKER = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>")
_NO_SPEECH = re.compile(r"(?:WEBVTT|NOTE|STYLE|REGION)\b|\d+$")
_TAG = re.compile(r"</?[A-Za-z0-9.:]+[^>]*>|\{\\[^}]*\}")


def subtitles_page(data: bytes) -> Page:
    """Return the lines of subtitles as text."""
    spoken: list[str] = []
    found = False
    for block in _BETWEEN.split(decode(data)):
        lines = block.strip("\n").split("\n")
        start = next((at for at, line in enumerate(lines) if _TIMES.match(line.strip())), -1)
        if start < 0 and (not found or _NO_SPEECH.match(lines[0].strip())):
            continue  # any other block without times continues the one before it
        found = True
        texts = [text for line in lines[start + 1 :] if (text := unescape(_TAG.sub("", _SPEAKER.sub(r"\1: ", line))).strip())]
        spoken += texts[1:] if len(texts) > 1 and spoken[-1:] == texts[:1] else texts  # captions that roll repeat a line
    if not found:
        raise Unusable("the file has no subtitles: no line of times such as 00:00:01.000 --> 00:00:02.000")
    return Page("\n".join(spoken), "text")

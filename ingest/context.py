"""The text that stands in front of a chunk's text: its document's title and the headings above it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

_SEPARATOR = " > "
_OMITTED = "…"


def title_line(title: str | None) -> str:
    """Return a title on one line, as encoders read it, or "" without a title."""
    return " ".join(title.split()) if title else ""


def in_context(context: str, text: str) -> str:
    """Return a text as encoders read it, with its context in front."""
    return f"{context}\n{text}" if context else text


def heading_path(title: str | None, section: Sequence[str]) -> tuple[str, ...]:
    """Return the title and the headings of a section, each on one line, without a first heading that repeats the title."""
    path = [line for each in (title, *section) if (line := title_line(each))]
    return tuple(path[1:] if len(path) > 1 and path[0] == path[1] else path)


def path_line(path: Sequence[str], length: int) -> str:
    """Return a path as one line of at most `length` characters. A longer one loses its middle, and then the ends of its words."""
    line = _SEPARATOR.join(path)
    if len(line) <= length:
        return line
    if len(path) == 1:
        return shorten(line, length)
    middle = f"{_SEPARATOR}{_OMITTED}{_SEPARATOR}" if len(path) > 2 else _SEPARATOR  # noqa: PLR2004  more than the two ends
    room = length - len(middle)
    if room < 2:  # noqa: PLR2004  a character of either end
        return shorten(path[-1], length)
    last = shorten(path[-1], max(room // 2, room - len(path[0])))
    return f"{shorten(path[0], room - len(last))}{middle}{last}"


def shorten(text: str, length: int) -> str:
    """Return at most `length` characters of the text, cut at the end of a word if that keeps at least half."""
    if len(text) <= length:
        return text
    cut = text[:length]
    if text[length : length + 1] != " ":
        words = cut.rpartition(" ")[0]
        cut = words if len(words) * 2 > length else cut
    return cut.strip()

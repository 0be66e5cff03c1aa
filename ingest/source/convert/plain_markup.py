"""reStructuredText, Org and AsciiDoc: their headings and code blocks become those of Markdown; every other line stays as it is.

Comments, and lines that only set options, are left out. Included files are not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ingest.source.convert.notebook import fenced
from ingest.source.convert.page import Page
from ingest.source.convert.text import decode

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}\s*$")
_RST_CODE = re.compile(r"(\s*)\.\. (?:code-block|code|sourcecode|highlight)::\s*(\S*)\s*$")
_RST_COMMENT = re.compile(r"\.\.(?:\s+(?![\[_|])(?![\w:+.-]+::).*)?$")
_RST_OPTION = re.compile(r"\s+:[\w-]+:")
_ORG_HEADING = re.compile(r"(\*+)\s+(.*?)(?:\s+(:[\w@#%:]+:))?\s*$")
_ORG_BLOCK = re.compile(r"\s*#\+begin_(src|example|quote|verse|comment|export)\b\s*(\S*)", re.IGNORECASE)
_ORG_LINK = re.compile(r"\[\[([^\]]+)\](?:\[([^\]]+)\])?\]")
_ORG_TITLE = re.compile(r"#\+title:\s*(.*)", re.IGNORECASE)
_ORG_LEFT_OUT = re.compile(r"\s*(?:#(?:\s|$)|#\+(?!begin_|end_|caption)\w+:|:[\w-]+:(?:\s|$))", re.IGNORECASE)
_ADOC_HEADING = re.compile(r"(={1,6}|#{1,6})\s+(.+?)(?:\s+\1)?\s*$")
_ADOC_SOURCE = re.compile(r"\[(?:source|,)\s*,?\s*([\w+-]*)")
_ADOC_BORDER = re.compile(r"(?:={4,}|\*{4,}|_{4,}|\+{4,}|--)$")  # of a block; Markdown would make headings of them
_ADOC_ATTRIBUTE = re.compile(r":([\w-]+):\s+(.+)")
_ADOC_REFERENCE = re.compile(r"\{([\w-]+)\}")
_ADOC_LEFT_OUT = re.compile(
    r"//(?!/)|(?:include|ifdef|ifndef|ifeval|endif)::|:!?[\w-]+!?:(?:\s|$)|\[\[[^\]]*\]\]\s*$|\[[#.%][^\]]*\]\s*$"
)


def rst_page(data: bytes) -> Page:
    """Return a reStructuredText file as Markdown, with its first heading as title."""
    return _page(data, _rst)


def org_page(data: bytes) -> Page:
    """Return an Org file as Markdown, with its title."""
    text = decode(data)
    title = next((match[1].strip() for line in text.splitlines() if (match := _ORG_TITLE.match(line))), None)
    page = _page(data, _org)
    return Page(page.text, title=title or page.title)


def asciidoc_page(data: bytes) -> Page:
    """Return an AsciiDoc file as Markdown, with its first heading as title."""
    return _page(data, _asciidoc)


def _page(data: bytes, convert: Callable[[list[str]], Iterator[str | tuple[int, str]]]) -> Page:
    lines = [line.rstrip() for line in decode(data).replace("\r\n", "\n").replace("\t", "    ").split("\n")]
    title: str | None = None
    written = []
    for line in convert(lines):
        if isinstance(line, tuple):
            level, heading = line
            title = title or heading
            written.append(f"\n{'#' * min(level, 6)} {heading}\n")
        else:
            written.append(line)
    return Page(re.sub(r"\n{3,}", "\n\n", "\n".join(written)).strip("\n"), title=title)


def _escaped(line: str) -> str:
    """Return a line of prose that Markdown would take for a heading with a backslash in front."""
    return f"\\{line}" if re.match(r"#{1,6}\s", line) else line


def _rst(lines: list[str]) -> Iterator[str | tuple[int, str]]:
    styles: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        after = lines[at + 1] if at + 1 < len(lines) else ""
        last = lines[at + 2] if at + 2 < len(lines) else ""
        over = _ADORNMENT.match(line)
        if over and after.strip() and last == line and not _ADORNMENT.match(after):
            style, heading, used = f"{over[1]}{over[1]}", after.strip(), 3
        elif line.strip() and line[0] != " " and not over and (under := _ADORNMENT.match(after)) and len(after) >= len(line) - 1:
            style, heading, used = under[1], line.strip(), 2
        else:
            if over and not after.strip():  # a transition
                yield ""
                at += 1
                continue
            code = _RST_CODE.match(line)
            if code or (line.endswith("::") and not line.lstrip().startswith("..")):
                block, end = _indented(lines, at + 1, len(line) - len(line.lstrip()))
                if block:
                    if not code:
                        yield _escaped(line[:-2].rstrip() if line.endswith(" ::") or line.strip() == "::" else line[:-1])
                    yield fenced("\n".join(block), code[2] if code else "")
                    yield ""
                    at = end
                    continue
            if _RST_COMMENT.match(line):
                _, at = _indented(lines, at + 1, 0)
                continue
            yield _escaped(line)
            at += 1
            continue
        if style not in styles:
            styles.append(style)
        yield styles.index(style) + 1, heading
        at += used


def _indented(lines: list[str], start: int, indent: int) -> tuple[list[str], int]:
    """Return the lines that are indented by more than `indent`, without that and their options, and the line after them."""
    end = start
    while end < len(lines) and (not lines[end] or len(lines[end]) - len(lines[end].lstrip()) > indent):
        end += 1
    block = lines[start:end]
    while block and _RST_OPTION.match(block[0]):
        block = block[1:]
    while block and not block[-1]:
        block.pop()
    while block and not block[0]:
        block = block[1:]
    margin = min((len(line) - len(line.lstrip()) for line in block if line), default=0)
    return [line[margin:] for line in block], end


def _org(lines: list[str]) -> Iterator[str | tuple[int, str]]:  # noqa: C901  one branch a kind of line
    at = 0
    drawer = False
    while at < len(lines):
        line = lines[at]
        at += 1
        block = _ORG_BLOCK.match(line)
        if block:
            end = next(
                (number for number in range(at, len(lines)) if re.match(r"\s*#\+end_", lines[number], re.IGNORECASE)), None
            )
            if end is not None:
                kind, inside = block[1].lower(), "\n".join(lines[at:end])
                if kind in {"src", "example"}:
                    yield fenced(inside, block[2] if kind == "src" else "")
                elif kind != "comment":
                    yield inside
                at = end + 1
                continue
        if line.strip().upper() in {":PROPERTIES:", ":LOGBOOK:"}:
            drawer = True
        elif drawer:
            drawer = line.strip().upper() != ":END:"
        elif heading := _ORG_HEADING.match(line):
            yield len(heading[1]), _linked(heading[2])
        elif re.fullmatch(r"-{5,}", line):  # a rule, which Markdown would take for the underline of a heading
            yield ""
        elif not _ORG_LEFT_OUT.match(line):
            yield _linked(line)


def _linked(line: str) -> str:
    return _ORG_LINK.sub(lambda link: f"[{link[2]}]({link[1]})" if link[2] else link[1], line)


def _asciidoc(lines: list[str]) -> Iterator[str | tuple[int, str]]:
    attributes = {match[1].lower(): match[2] for line in lines if (match := _ADOC_ATTRIBUTE.fullmatch(line))}

    def filled(text: str) -> str:
        """Return a text with the values of the attributes that the file sets."""
        return _ADOC_REFERENCE.sub(lambda name: attributes.get(name[1].lower(), name[0]), text)

    at = 0
    language = ""
    while at < len(lines):
        line = lines[at]
        at += 1
        if source := _ADOC_SOURCE.match(line):
            language = source[1]
            continue
        if _ADOC_BORDER.match(line):
            yield ""
        elif line in {"----", "....", "////"} or line.startswith("```"):
            line, language = ("```", line[3:].strip()) if line.startswith("```") else (line, language)
            end = next((number for number in range(at, len(lines)) if lines[number] == line), len(lines))
            if line != "////":
                yield fenced("\n".join(lines[at:end]), language)
            at, language = end + 1, ""
        elif heading := _ADOC_HEADING.match(line):
            yield len(heading[1]), filled(heading[2])
        elif not _ADOC_LEFT_OUT.match(line):
            yield filled(line)

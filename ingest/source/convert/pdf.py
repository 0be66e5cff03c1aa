"""PDF files, read with PDFium.

Lines stay lines; words divided at a line end are joined; blank lines part the paragraphs. Headings are those of the outline, or,
without an outline, lines in larger letters. Columns are read one after the other, rows of aligned cells become a table. Lines
that are repeated at the top or bottom of many pages are left out, and so are pictures and annotations. What is filled in in the
fields of a form stands below the text of its page. Raised and lowered numbers become `10^6^` and `CO~2~`.
"""

from __future__ import annotations

import ctypes
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

from ingest.errors import MissingExtraError
from ingest.source.convert.page import Page, joined_pages
from ingest.source.convert.pdf_forms import filled_fields
from ingest.source.convert.pdf_scripts import raised_numbers, with_marks
from ingest.source.fields import Unusable
from ingest.source.streams import first_line

_HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at a line end, in place of both
_DIVIDED = re.compile(rf"(\w+){_HYPHEN}(\w+)")
_ACCENT = re.compile("([´¨˜ˆ])([A-Za-zı])")  # two glyphs of old TeX fonts
_COMBINING = {"´": "\u0301", "¨": "\u0308", "˜": "\u0303", "ˆ": "\u0302"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\ufffe\uffff\ud800-\udfff]")
_MARKUP = re.compile(r"(#{1,6}(?=\s)|=+$|-+$|\++$|[`~]{3,}|>)")
_BLANK = re.compile(r"\n{3,}")
_NUMBERED = re.compile(r"(?:[A-Za-z]+\s)?(?:[A-Z]|[IVX]+|[A-Z]?[\d.]+)\s+")
_DATE = re.compile(r"D:(\d{4})(\d\d)(\d\d)")
_GAP = 1.6  # times the size of the letters: wider than any space between words
_SPACE = 0.1  # times the size of the letters: narrower than any space between words
_COLUMN_LINES = 4
_COLUMN_CHARACTERS = 18
_LARGER = 1.15
_HEADING_CHARACTERS = 160
_REPEATED_PAGES = 3
_REPEATED_SHARE = 0.2


def check_pdf() -> None:
    """Raise `MissingExtraError` if the library for PDF files is not installed."""
    if find_spec("pypdfium2") is None:
        raise MissingExtraError("reading .pdf requires the extra formats: pip install 'qdrant-ingest[formats]'")


def pdf_page(data: bytes) -> Page:
    """Return the content of a PDF as Markdown, with its title, metadata and the starts of its pages."""
    check_pdf()
    import pypdfium2  # type: ignore[import-untyped]  # noqa: PLC0415  an extra

    if b"%PDF-" not in data[:1024]:
        raise Unusable("the file cannot be read as pdf: it does not begin like one")
    try:
        document = pypdfium2.PdfDocument(data)
        try:
            facts = document.get_metadata_dict()
            outline = _outline(document)
            document.init_forms()
            read = [(list(_lines(page)), list(filled_fields(page))) for page in document]
        finally:
            document.close()
    except pypdfium2.PdfiumError as exc:
        reason = first_line(exc)
        if "assword" in reason:
            raise Unusable("the pdf is encrypted: store a copy without a password") from None
        raise Unusable(f"the file cannot be read as pdf: {reason}") from None
    pages, fields = [lines for lines, _ in read], [fields for _, fields in read]
    if not any(line.text.strip() for lines in pages for line in lines) and not any(fields):
        raise Unusable("the pdf has no text layer: run OCR first")
    return _page(pages, fields, outline, facts)


@dataclass(slots=True)
class _Segment:
    """Text without a wide gap in it, from `left` to `right` in points."""

    left: float
    right: float
    text: str


@dataclass(slots=True)
class _Line:
    """A line: its segments from left to right, its bottom in points, and the size of its letters."""

    segments: list[_Segment]
    bottom: float
    last_bottom: float
    size: float

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments)


def _page(pages: list[list[_Line]], fields: list[list[str]], outline: dict[int, dict[str, int]], facts: dict[str, str]) -> Page:
    repeated = _repeated(pages)
    sizes: Counter[int] = Counter()
    for lines in pages:
        for line in lines:
            sizes[round(line.size)] += len(line.text)
    body = sizes.most_common(1)[0][0] if sizes else 0
    larger = sorted((size for size in sizes if size > body * _LARGER), reverse=True)
    texts = []
    for number, lines in enumerate(pages):
        kept = [line for at, line in enumerate(lines) if not (at in _edges(lines) and _key(line.text) in repeated)]
        levels = outline.get(number, {}) if outline else None
        written = [*_written(_in_columns(kept), levels, larger), "", *map(_escaped, fields[number])]
        texts.append(_BLANK.sub("\n\n", "\n".join(written).strip()))
    whole = "\n\n".join(texts)
    words = set(re.findall(r"[\w-]+", whole))
    texts = [_clean(text, words) for text in texts]
    title = " ".join(_clean(facts.get("Title", ""), words).split())
    named = {"Author": "author", "Subject": "subject", "Keywords": "keywords"}
    metadata = {name: " ".join(facts[key].split()) for key, name in named.items() if facts.get(key, "").strip()}
    if created := _DATE.match(facts.get("CreationDate", "")):
        metadata["created"] = "-".join(created.groups())
    text, starts = joined_pages(enumerate(texts, 1))
    return Page(text, title=title or None, metadata=metadata, pages=starts)


def _outline(document: Any) -> dict[int, dict[str, int]]:
    """Return the headings of each page: their letters and digits, with their level."""
    found: dict[int, dict[str, int]] = {}
    for bookmark in document.get_toc():
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        if page is not None and (key := _key(bookmark.get_title())):
            found.setdefault(page, {})[key] = bookmark.level + 1
    return found


def _lines(page: Any) -> Iterator[_Line]:
    """Yield the lines of a page in the order of its content."""
    text_page = page.get_textpage()
    crop = page.get_cropbox(fallback_ok=False)
    before: _Line | None = None
    at = 0
    for text in text_page.get_text_range().split("\r\n"):
        line = _line(text_page.raw, text, at) if text.strip() else None
        at += len(text.encode("utf-16-le", errors="surrogatepass")) // 2 + 2
        if line is None or (crop and not _is_inside(line, crop)):
            continue
        if before and _continues(before, line):
            _add(before, line)
            continue
        if before:
            yield before
        before = line
    if before:
        yield before


def _continues(before: _Line, line: _Line) -> bool:
    """Return whether a line is what is on the same line to the right, such as the rest of it behind a raised number."""
    return abs(before.last_bottom - line.bottom) < line.size / 4 and line.segments[0].left >= before.segments[-1].right


def _add(before: _Line, line: _Line) -> None:
    """Add what is on the same line to the right, to the last segment if the gap is no wider than between words."""
    last, first = before.segments[-1], line.segments[0]
    gap = first.left - last.right
    if gap < _GAP * line.size:
        last.text += f" {first.text}" if gap > _SPACE * line.size else first.text
        last.right = first.right
        before.segments += line.segments[1:]
    else:
        before.segments += line.segments
    before.last_bottom = line.last_bottom


def _is_inside(line: _Line, crop: tuple[float, float, float, float]) -> bool:
    """Return whether a line is on the part of the page that is shown."""
    left, bottom, right, top = crop
    return left <= line.segments[0].left <= right and bottom <= line.bottom <= top


def _line(raw: Any, text: str, at: int) -> _Line | None:
    import pypdfium2.raw as pdfium  # type: ignore[import-untyped]  # noqa: PLC0415  an extra

    box = pdfium.FS_RECTF()

    def place(offset: int) -> tuple[float, float, float, float] | None:
        index = pdfium.FPDFText_GetCharIndexFromTextIndex(raw, at + offset)
        if index < 0 or not pdfium.FPDFText_GetLooseCharBox(raw, index, ctypes.byref(box)):
            return None
        return box.left, box.right, box.bottom, box.top

    stripped = text.strip()
    start = text.index(stripped)
    end = start + len(stripped)
    first, last = place(start), place(end - 1)
    if first is None or last is None:
        return None
    size = abs(first[3] - first[2]) or 1.0
    marks = list(raised_numbers(raw, text, at))
    base = place(marks[-1][0] - 1) if marks and marks[-1][1] == end else last  # what a raised number at the end belongs to
    segments: list[_Segment] = []
    left, begin = first[0], start
    offset = text.find(" ", start, end)
    while offset >= 0:
        ends, begins = place(offset - 1), place(offset + 1)
        apart = ends and begins and abs(ends[2] - begins[2]) < size / 2 and begins[0] - ends[1] > _GAP * size
        if apart and ends and begins:
            segments.append(_Segment(left, ends[1], with_marks(text, begin, offset, marks)))
            left, begin = begins[0], offset + 1
        offset = text.find(" ", offset + 1, end)
    segments.append(_Segment(left, last[1], with_marks(text, begin, end, marks)))
    return _Line(segments, first[2], (base or last)[2], size)


def _edges(lines: Sequence[_Line]) -> set[int]:
    """Return the positions of the first and the last line of a page that has more."""
    return {0, len(lines) - 1} if len(lines) > 2 else set()  # noqa: PLR2004


def _key(text: str) -> str:
    """Return the letters and digits of a text."""
    return "".join(character for character in unicodedata.normalize("NFKC", text).casefold() if character.isalnum())


def _repeated(pages: Sequence[Sequence[_Line]]) -> set[str]:
    """Return the first and last lines, without their numbers, that many pages have."""
    counts = Counter(
        key for lines in pages if lines for key in {re.sub(r"\d+", "", _key(lines[at].text)) for at in _edges(lines)}
    )
    often = {key for key, count in counts.items() if count >= max(_REPEATED_PAGES, _REPEATED_SHARE * len(pages))}
    return {
        _key(lines[at].text)
        for lines in pages
        if lines
        for at in _edges(lines)
        if re.sub(r"\d+", "", _key(lines[at].text)) in often
    }


def _in_columns(lines: list[_Line]) -> Iterator[_Line]:
    """Yield the lines with columns that were written row by row one after the other."""
    at = 0
    while at < len(lines):
        end = at
        while end < len(lines) and len(lines[end].segments) == 2:  # noqa: PLR2004  two columns
            if abs(lines[end].segments[1].left - lines[at].segments[1].left) > lines[at].size:
                break
            end += 1
        run = lines[at:end]
        length = min((sum(len(line.segments[side].text) for line in run) for side in (0, 1)), default=0)
        if len(run) >= _COLUMN_LINES and length / len(run) >= _COLUMN_CHARACTERS:
            for side in (0, 1):
                yield from (_Line([line.segments[side]], line.bottom, line.bottom, line.size) for line in run)
            at = end
        else:
            yield lines[at]
            at += 1


def _written(lines: Iterator[_Line], outline: dict[str, int] | None, larger: list[int]) -> Iterator[str]:
    """Yield the lines of a page as Markdown."""
    rows: list[_Line] = []
    before: _Line | None = None
    heading = 0
    all_lines = list(lines)
    usual = _usual_distance(all_lines)
    for line in all_lines:
        if len(line.segments) > 1:
            rows.append(line)
            continue
        table = list(_rows(rows))
        if before and table:
            yield ""
        yield from table
        level = _level(line, outline, larger)
        distance = (rows[-1] if rows else before or line).last_bottom - line.bottom
        if table or (before is not None and (level != heading or (not level and not 0 <= distance <= usual * 1.4))):
            yield ""
        text = line.text
        yield f"{'#' * level} {text}" if level else _escaped(text)
        if level:
            yield ""
        rows, before, heading = [], line, level
    table = list(_rows(rows))
    if before and table:
        yield ""
    yield from table


def _usual_distance(lines: Sequence[_Line]) -> float:
    distances = sorted(above.last_bottom - line.bottom for above, line in pairwise(lines) if above.last_bottom > line.bottom)
    return distances[len(distances) // 3] if distances else 0.0


def _level(line: _Line, outline: dict[str, int] | None, larger: list[int]) -> int:
    """Return the level of a heading, 0 for any other line."""
    text = line.text
    if len(text) > _HEADING_CHARACTERS:
        return 0
    if outline is None:
        return min(larger.index(round(line.size)) + 1, 4) if round(line.size) in larger and any(map(str.isalpha, text)) else 0
    key, unnumbered = _key(text), _key(_NUMBERED.sub("", text))
    return min(outline.get(key) or outline.get(unnumbered, 0), 6) if key else 0


def _rows(lines: list[_Line]) -> Iterator[str]:
    """Yield consecutive lines with gaps as a table if their cells are aligned, otherwise as lines."""
    columns: list[list[float]] = []
    for segment in sorted((each for line in lines for each in line.segments), key=lambda each: each.left):
        if columns and segment.left < columns[-1][1]:
            columns[-1][1] = max(columns[-1][1], segment.right)
        else:
            columns.append([segment.left, segment.right])
    table = []
    for line in lines:
        cells = [""] * len(columns)
        for segment in line.segments:
            at = next(number for number, (left, right) in enumerate(columns) if left <= segment.left <= right)
            if cells[at]:
                cells = []
                break
            cells[at] = segment.text.replace("|", r"\|")
        if not cells:
            break
        table.append(cells)
    if len(lines) < 2 or len(table) < len(lines):  # noqa: PLR2004  a table has a head and a body
        yield from (_escaped(line.text) for line in lines)
        return
    for number, cells in enumerate(table):
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield f"|{' --- |' * len(columns)}"


def _escaped(text: str) -> str:
    """Return a line that Markdown would take for markup with a backslash in front."""
    return _MARKUP.sub(r"\\\1", text, count=1) if _MARKUP.match(text) else text


def _clean(text: str, words: set[str]) -> str:
    """Join divided words and accents with their letters, and leave out control characters."""

    def joined(match: re.Match[str]) -> str:
        before, after = match.groups()
        if before + after in words or not (f"{before}-{after}" in words or before[-1].isdigit() or not after[0].islower()):
            return before + after
        return f"{before}-{after}"

    text = _DIVIDED.sub(joined, text).replace(_HYPHEN, "-").replace("\x02", "-").replace("\u00ad", "")
    text = _ACCENT.sub(lambda match: _accented(match[1], match[2]), text)
    return _CONTROL.sub("", text)


def _accented(accent: str, letter: str) -> str:
    both = unicodedata.normalize("NFC", ("i" if letter == "ı" else letter) + _COMBINING[accent])
    return both if len(both) == 1 else accent + letter

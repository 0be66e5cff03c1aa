"""Web pages."""

from __future__ import annotations

import warnings

from ingest.source.convert.page import Page
from ingest.source.convert.text import decode, markdown_title
from ingest.source.fields import Unusable, checked_string

_DROPPED = ("script", "style", "noscript", "template", "svg", "head")


def html_page(data: bytes) -> Page:
    """Return the content of an HTML file as Markdown, with its title."""
    from bs4 import BeautifulSoup  # noqa: PLC0415  slow to import: a tenth of every command's start
    from markdownify import MarkdownConverter  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # guesses that the input is XML or a file name
            soup = BeautifulSoup(decode(data), "html.parser")
        title = soup.title.get_text(" ", strip=True) if soup.title else ""
        for dropped in soup(_DROPPED):
            dropped.decompose()
        text = MarkdownConverter(heading_style="atx").convert_soup(soup).strip()
    except RecursionError:
        raise Unusable("the HTML is nested too deeply") from None
    return Page(text, title=checked_string(title, "the title") or markdown_title(text))

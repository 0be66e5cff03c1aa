"""Pages of PDF files and slides, by their offsets in the text."""

from __future__ import annotations

from office_files import pdf, pptx, shape, show

from ingest.source.convert.isolation import convert_apart
from ingest.source.convert.page import Page


def by_number(page: Page) -> dict[int, str]:
    ends = [*(start for _, start in page.pages[1:]), len(page.text)]
    return {number: page.text[start:end].strip() for (number, start), end in zip(page.pages, ends, strict=True)}


def test_a_pdf_has_the_starts_of_its_pages() -> None:
    page = convert_apart(pdf(show(50, 700, "One"), "", show(50, 700, "Three")), "pdf")
    assert by_number(page) == {1: "One", 3: "Three"}


def test_slides_are_pages_and_hidden_ones_are_counted() -> None:
    page = convert_apart(
        pptx(shape("First", kind="title"), "<!--hidden-->" + shape("Secret"), shape("Third", kind="title")), "pptx"
    )
    assert by_number(page) == {1: "## First", 3: "## Third"}

"""Files of a folder are converted several at a time, and come in order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from office_files import docx, para, pdf, run, show

from ingest.errors import SourceError
from ingest.records import Document, Rejected
from ingest.source import open_source
from ingest.source.pieces import _in_order


def test_documents_come_in_order_whatever_converts_them(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number:02}a.pdf").write_bytes(pdf(*[show(50, 700, f"Page {number}.")] * (1 if number else 40)))
        (tmp_path / f"{number:02}b.txt").write_text("text")
        (tmp_path / f"{number:02}c.docx").write_bytes(docx(para(run("word"))) if number % 3 else b"PK damaged")
    found = list(open_source(tmp_path).read())
    assert [each.id if isinstance(each, Document) else each.doc_id for each in found] == sorted(
        path.name for path in tmp_path.iterdir()
    )
    assert [each.doc_id for each in found if isinstance(each, Rejected)] == [f"{number:02}c.docx" for number in (0, 3, 6, 9)]


def test_an_error_of_the_source_comes_after_what_was_read_before_it() -> None:
    def items() -> Iterator[Future[Document | Rejected]]:
        with ThreadPoolExecutor(1) as executor:
            yield executor.submit(Document, "a.pdf", "Words")
        raise SourceError("the disk is gone")

    documents = _in_order(items(), 4)
    assert next(documents) == Document("a.pdf", "Words")
    with pytest.raises(SourceError):
        next(documents)


def test_a_reader_that_stops_early_leaves_the_rest(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.pdf").write_bytes(pdf(show(50, 700, "Words")))
    documents = open_source(tmp_path).read()
    next(documents)
    documents.close()  # type: ignore[attr-defined]
    assert len(list(open_source(tmp_path).read())) == 8

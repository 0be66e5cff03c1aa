"""Files that would crash, hang or fill the memory of the process that reads them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import office_documents
import other_documents
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from office_files import docx, opened, para, pdf, relations, run, show, xlsx, zipped

from ingest.records import Document, Rejected
from ingest.source import open_source
from ingest.source.convert import isolation
from ingest.source.convert.isolation import convert_apart
from ingest.source.convert.registry import convert_here
from ingest.source.fields import Unusable
from ingest.source.formats import format_of_path
from ingest.source.read_options import ReadOptions


def reason(tmp_path: Path, name: str, data: bytes) -> str:
    (tmp_path / name).write_bytes(data)
    [rejected] = open_source(tmp_path / name).read()
    assert isinstance(rejected, Rejected), rejected
    return rejected.reason


def worker() -> subprocess.Popen[bytes]:
    return isolation._pool._free[-1].process  # the one that is taken next; other tests may have left more


def test_a_worker_that_dies_rejects_its_file_and_the_next_file_is_read() -> None:
    page = pdf(show(50, 700, "Words"))
    dying = [sys.executable, "-c", "import sys; sys.stdin.buffer.read(8)"]
    isolation._pool.give_back(isolation._Worker(subprocess.Popen(dying, stdin=subprocess.PIPE, stdout=subprocess.PIPE)))
    with pytest.raises(Unusable, match="the file cannot be read as pdf: its converter crashed"):
        convert_apart(page, "pdf")
    assert convert_apart(page, "pdf").text == "Words"


def test_a_file_that_takes_too_long_is_rejected() -> None:
    page = pdf(show(50, 700, "Words"))
    convert_apart(page, "pdf")
    os.kill(worker().pid, signal.SIGSTOP)
    with pytest.raises(Unusable, match=r"the file takes more than 0.1 s to read as pdf"):
        convert_apart(page, "pdf", seconds=0.1)
    assert convert_apart(page, "pdf").text == "Words"


def test_a_web_page_that_takes_too_long_is_rejected_and_a_worker_knows_what_to_keep_of_the_next() -> None:
    page = b"<link rel=canonical href='https://example.org/a'><nav>Start</nav><main><p>Words</main>"
    convert_apart(page, "html")
    os.kill(worker().pid, signal.SIGSTOP)
    with pytest.raises(Unusable, match=r"the file takes more than 0.1 s to read as html"):
        convert_apart(page, "html", seconds=0.1)
    whole = convert_apart(page, "html", ReadOptions(html_content="all"))
    assert (convert_apart(page, "html").text, whole.text, whole.url) == ("Words", "Start\n\nWords", "https://example.org/a")


def test_a_forked_child_starts_its_own_worker() -> None:
    page = pdf(show(50, 700, "Words"))
    convert_apart(page, "pdf")
    before = worker().pid
    child = os.fork()
    if child == 0:
        os._exit(0 if not isolation._pool._free and convert_apart(page, "pdf").text == "Words" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert worker().pid == before
    assert convert_apart(page, "pdf").text == "Words"


def office(name: str, part: bytes | str) -> bytes:
    return zipped({"_rels/.rels": relations(("r", "officeDocument", name)), name: part})


def bomb(name: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("_rels/.rels", relations(("r", "officeDocument", name)))
        with archive.open(name, "w", force_zip64=True) as part:
            for _ in range(65):
                part.write(b" " * 2**20)
    return data.getvalue()


BOMB = b'<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]><b>&b;</b>'
DEEP = docx("<w:ins>" * 20_000 + para(run("x")) + "</w:ins>" * 20_000)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("scan.pdf", lambda: pdf("0 0 100 100 re f"), "the pdf has no text layer: run OCR first"),
        ("cut.pdf", lambda: pdf(show(50, 700, "Words"))[:60], "the file cannot be read as pdf"),
        ("empty.pdf", lambda: b"", "the file cannot be read as pdf: it does not begin like one"),
        ("word.pdf", lambda: docx(para(run("x"))), "the file cannot be read as pdf: it does not begin like one"),
        ("pdf.docx", lambda: pdf(show(50, 700, "x")), "the file cannot be read as docx: it is not a ZIP archive"),
        ("cut.docx", lambda: docx(para(run("x")))[:-50], "the file cannot be read as docx"),
        (
            "old.docx",
            lambda: b"\xd0\xcf\x11\xe0" + bytes(600),
            "the file is not a docx: it is encrypted, or in the format of Office 97",
        ),
        ("sheet.docx", lambda: xlsx(("A", "visible", "")), "the file cannot be read as docx: it has no document part"),
        ("zip.docx", lambda: zipped({"a.txt": "x"}), "the file cannot be read as docx: it has no document part"),
        (
            "bomb.docx",
            lambda: bomb("word/document.xml"),
            "word/document.xml in the docx unpacks to more than 67,108,864 bytes",
        ),
        (
            "entities.docx",
            lambda: office("word/document.xml", BOMB),
            "the XML has a document type, which may hide a bomb",
        ),
        (
            "malformed.docx",
            lambda: zipped(
                {"_rels/.rels": relations(("r", "officeDocument", "word/document.xml")), "word/document.xml": "<a><b>"}
            ),
            "the file cannot be read as docx: no element found",
        ),
        ("deep.docx", lambda: DEEP, "the docx is nested too deeply"),
        ("empty.docx", lambda: docx(para()), "the text is empty"),
        (
            "bomb.xlsx",
            lambda: bomb("xl/workbook.xml"),
            "xl/workbook.xml in the xlsx unpacks to more than 67,108,864 bytes",
        ),
        (
            "entities.pptx",
            lambda: zipped(
                {"_rels/.rels": relations(("r", "officeDocument", "ppt/presentation.xml")), "ppt/presentation.xml": BOMB}
            ),
            "the XML has a document type",
        ),
        ("word.pptx", lambda: docx(para(run("x"))), "the file cannot be read as pptx: it has no presentation part"),
        (
            "deep.odt",
            lambda: opened("text", "<text:section>" * 20_000 + "</text:section>" * 20_000),
            "the odt is nested too deeply",
        ),
        ("word.xlsx", lambda: docx(para(run("x"))), "the file cannot be read as xlsx: it has no workbook part"),
        ("cut.msg", lambda: other_documents.OUTLOOK_FILES["message.msg"][:2000], "the file cannot be read as msg"),
        (
            "office.msg",
            lambda: other_documents.compound({"WordDocument": b"x"}),
            "the file cannot be read as msg: it has no properties",
        ),
        ("text.msg", lambda: b"Subject: x", "the file cannot be read as msg: it is not a compound file"),
        ("text.ods", lambda: opened("text", "<text:p>x</text:p>"), "the file cannot be read as ods: it has no sheets"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:16] else "",
)
def test_a_hostile_or_damaged_file_is_rejected(tmp_path: Path, name: str, data: Callable[[], bytes], says: str) -> None:
    assert reason(tmp_path, name, data()).startswith(says)


def test_a_sheet_of_endless_rows_is_rejected(tmp_path: Path) -> None:
    row = '<table:table-row table:number-rows-repeated="9999"><table:table-cell table:number-columns-repeated="9999">'
    endless = f"<table:table>{row}<text:p>x</text:p></table:table-cell></table:table-row></table:table>"
    assert reason(tmp_path, "a.ods", opened("spreadsheet", endless)) == "the ods has a sheet of more than 2,097,152 cells"


def test_one_long_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_bytes(docx(para(run("word " * 1_000_000))))
    [document] = open_source(tmp_path / "a.docx").read()
    assert isinstance(document, Document)
    assert len(document.text) == 4_999_999


FILES = {**office_documents.FILES, **other_documents.FILES}


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    cut=st.none() | st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_file_is_read_or_rejected(name: str, cut: float | None, changes: list[tuple[float, int]]) -> None:
    data = bytearray(FILES[name])
    for place, byte in changes:
        data[int(place * len(data))] = byte
    file_format = format_of_path(name)
    assert file_format is not None
    with suppress(Unusable, RecursionError):
        convert_here(bytes(data[: int(len(data) * cut)] if cut is not None else data), file_format.name)

"""Office documents and PDF files as documents, and without the extra that reads them."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pytest

from ingest.errors import MissingExtraError
from ingest.records import Document, Rejected
from ingest.source import open_source


def only(path: Path, data: bytes) -> Document | Rejected:
    path.write_bytes(data)
    (item,) = open_source(str(path)).read()
    return item


def docx(text: str) -> bytes:
    schemas = "http://schemas.openxmlformats.org"
    document = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    office = f"{schemas}/officeDocument/2006/relationships/officeDocument"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{schemas}/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{document}"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{schemas}/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{office}" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{schemas}/wordprocessingml/2006/main">'
        f"<w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>",
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return data.getvalue()


def test_office_documents_are_read_as_markdown(tmp_path: Path) -> None:
    found = only(tmp_path / "a.docx", docx("Words of an office."))
    assert isinstance(found, Document)
    assert (found.text.strip(), found.format) == ("Words of an office.", "markdown")


def test_an_office_document_that_unpacks_to_too_much_is_rejected(tmp_path: Path) -> None:
    data = io.BytesIO()
    with (
        zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("word/document.xml", "w", force_zip64=True) as part,
    ):
        for _ in range(513):
            part.write(bytes(2**20))
    bad = only(tmp_path / "bomb.docx", data.getvalue())
    assert isinstance(bad, Rejected)
    assert bad.reason == "the docx unpacks to more than 536,870,912 bytes"


def pdf(text: str, media_box: str = "0 0 612 792") -> bytes:
    page = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{media_box}] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(page)} >>\nstream\n{page}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data = "%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    end = f"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{len(data)}\n%%EOF"
    return f"{data}xref\n0 6\n0000000000 65535 f \n{table}{end}".encode()


def test_a_pdf_is_read(tmp_path: Path) -> None:
    found = only(tmp_path / "a.pdf", pdf("Words of a page."))
    assert isinstance(found, Document)
    assert "Words of a page." in found.text


def test_a_faulty_pdf_is_read_without_a_word_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = only(tmp_path / "a.pdf", pdf("Words of a page.", media_box="0 0 612"))
    assert isinstance(found, Document)
    assert "Words of a page." in found.text
    assert not caplog.records


def test_without_the_extra_office_documents_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypdfium2", None)
    (tmp_path / "a.pdf").write_bytes(pdf("x"))
    (tmp_path / "b.md").write_text("text")
    with pytest.raises(MissingExtraError, match=r"qdrant-ingest\[formats\]"):
        open_source(str(tmp_path / "a.pdf"))
    bad, fine = open_source(str(tmp_path)).read()
    assert isinstance(bad, Rejected)
    assert "qdrant-ingest[formats]" in bad.reason
    assert bad.doc_id == "a.pdf"
    assert isinstance(fine, Document)

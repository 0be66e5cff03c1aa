"""Builders of Office, OpenDocument and PDF files, part by part, so that each file has one fault and little else."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping

SCHEMAS = "http://schemas.openxmlformats.org"
OFFICE = f"{SCHEMAS}/officeDocument/2006/relationships"
PACKAGE = f"{SCHEMAS}/package/2006"
MATH = f'xmlns:m="{SCHEMAS}/officeDocument/2006/math"'
WORD = f'xmlns:w="{SCHEMAS}/wordprocessingml/2006/main" xmlns:r="{OFFICE}"'
SLIDE = f'xmlns:p="{SCHEMAS}/presentationml/2006/main" xmlns:a="{SCHEMAS}/drawingml/2006/main" xmlns:r="{OFFICE}"'
SHEET = f'xmlns="{SCHEMAS}/spreadsheetml/2006/main" xmlns:r="{OFFICE}"'
URN = "urn:oasis:names:tc:opendocument:xmlns"
OPEN = " ".join(
    [
        *(f'xmlns:{name}="{URN}:{name}:1.0"' for name in ("office", "text", "table", "style", "presentation", "meta")),
        f'xmlns:draw="{URN}:drawing:1.0" xmlns:svg="{URN}:svg-compatible:1.0"',
        'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"',
    ]
)


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    """Return an archive that is the same in every run."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part)
    return data.getvalue()


def relations(*targets: tuple[str, str, str]) -> str:
    """Return the relations of a part: id, type and target of each."""
    rows = "".join(
        f'<Relationship Id="{key}" Type="{OFFICE}/{kind}" Target="{target}" TargetMode="{mode}"/>'
        for key, kind, target in targets
        for mode in ("External" if "://" in target else "Internal",)
    )
    return f'<Relationships xmlns="{PACKAGE}/relationships">{rows}</Relationships>'


def types(**parts: str) -> str:
    """Return the content types of an Office file."""
    rows = "".join(f'<Override PartName="/{name}" ContentType="application/vnd.{kind}+xml"/>' for name, kind in parts.items())
    return (
        f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="xml" ContentType="application/xml"/>'
        f'<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>{rows}</Types>'
    )


def properties(title: str, author: str) -> str:
    """Return the core properties of an Office file."""
    return (
        f'<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f"<dc:title>{title}</dc:title><dc:creator>{author}</dc:creator></cp:coreProperties>"
    )


# Word


def run(text: str, style: str = "") -> str:
    return f'<w:r><w:rPr>{style}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def para(*runs: str, style: str = "", more: str = "") -> str:
    named = f'<w:pStyle w:val="{style}"/>' if style else ""
    return f"<w:p><w:pPr>{named}{more}</w:pPr>{''.join(runs)}</w:p>"


def listed(number: int, level: int = 0) -> str:
    return f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{number}"/></w:numPr>'


def cell(*content: str, more: str = "") -> str:
    inside = "".join(each if each.startswith("<w:") else para(run(each)) for each in content)
    return f"<w:tc><w:tcPr>{more}</w:tcPr>{inside}</w:tc>"


def table(*rows: Iterable[str]) -> str:
    lines = ("".join(row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{line}</w:tr>' for line in lines)}</w:tbl>"


STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="{key}"><w:name w:val="{name}"/>{more}</w:style>'
    for key, name, more in [
        ("Titel", "Title", ""),
        ("berschrift1", "heading 1", ""),
        ("berschrift2", "heading 2", ""),
        ("Own", "Own", '<w:basedOn w:val="berschrift2"/>'),
        ("Numbered", "Numbered", f'<w:basedOn w:val="berschrift1"/><w:pPr>{listed(3)}</w:pPr>'),
        ("TOC1", "toc 1", ""),
    ]
)
LISTS = (
    '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>'
    '<w:lvl w:ilvl="1"><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%2)"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="o"/></w:lvl>'
    '<w:lvl w:ilvl="1"><w:numFmt w:val="bullet"/><w:lvlText w:val="o"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="2"><w:lvl w:ilvl="0"><w:numFmt w:val="upperRoman"/><w:lvlText w:val="Part %1"/></w:lvl></w:abstractNum>'
    + "".join(f'<w:num w:numId="{each + 1}"><w:abstractNumId w:val="{each}"/></w:num>' for each in range(3))
)


def docx(body: str, *, title: str = "", author: str = "", notes: str = "", comments: str = "") -> bytes:
    return zipped(
        {
            "[Content_Types].xml": types(**{"word/document.xml": "openxmlformats-officedocument.wordprocessingml.document.main"}),
            "_rels/.rels": relations(("r1", "officeDocument", "word/document.xml")),
            "docProps/core.xml": properties(title, author),
            "word/_rels/document.xml.rels": relations(
                ("h1", "hyperlink", "https://example.org/terms"),
                ("s1", "styles", "styles.xml"),
                ("n1", "numbering", "numbering.xml"),
                ("f1", "footnotes", "footnotes.xml"),
                ("c1", "comments", "comments.xml"),
            ),
            "word/document.xml": f"<w:document {WORD}><w:body>{body}</w:body></w:document>",
            "word/styles.xml": f"<w:styles {WORD}>{STYLES}</w:styles>",
            "word/numbering.xml": f"<w:numbering {WORD}>{LISTS}</w:numbering>",
            "word/footnotes.xml": f"<w:footnotes {WORD}>{notes}</w:footnotes>",
            "word/comments.xml": f"<w:comments {WORD}>{comments}</w:comments>",
        }
    )


def field(result: str) -> str:
    """Return a field as Word writes most of them: in runs."""
    mark = "<w:r><w:fldChar w:fldCharType='{}'/></w:r>".format
    return f"{mark('begin')}<w:r><w:instrText> DATE \\@ x </w:instrText></w:r>{mark('separate')}{run(result)}{mark('end')}"


# OpenDocument


def opened(kind: str, body: str, styles: str = "", meta: str = "") -> bytes:
    return zipped(
        {
            "mimetype": f"application/vnd.oasis.opendocument.{kind}",
            "content.xml": f"<office:document-content {OPEN}><office:automatic-styles>{styles}</office:automatic-styles>"
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>",
            "meta.xml": f"<office:document-meta {OPEN}><office:meta>{meta}</office:meta></office:document-meta>",
        }
    )


def row(*cells: str, more: str = "") -> str:
    inside = "".join(each if each.startswith("<table:") else typed(each) for each in cells)
    return f"<table:table-row{more}>{inside}</table:table-row>"


def typed(shown: str, kind: str = "string", value: str = "") -> str:
    name = f"office:{kind}-value" if kind in {"date", "boolean"} else "office:value"
    stated = f' {name}="{value}"' if value else ""
    return f'<table:table-cell office:value-type="{kind}"{stated}><text:p>{shown}</text:p></table:table-cell>'


# PowerPoint


def shape(*paragraphs: str, kind: str = "") -> str:
    place = f"<p:nvPr><p:ph type='{kind}'/></p:nvPr>" if kind else "<p:nvPr/>"
    text = "".join(each if each.startswith("<a:p>") else f"<a:p><a:r><a:t>{each}</a:t></a:r></a:p>" for each in paragraphs)
    return f"<p:sp><p:nvSpPr><p:cNvPr id='1' name='s'/>{place}</p:nvSpPr><p:txBody>{text}</p:txBody></p:sp>"


def pptx(*slides: str, notes: str = "") -> bytes:
    numbers = range(1, len(slides) + 1)
    parts = {
        "[Content_Types].xml": types(
            **{"ppt/presentation.xml": "openxmlformats-officedocument.presentationml.presentation.main"}
        ),
        "_rels/.rels": relations(("r1", "officeDocument", "ppt/presentation.xml")),
        "docProps/core.xml": properties("Pump talk", "A. Weber"),
        "ppt/presentation.xml": f"<p:presentation {SLIDE}><p:sldIdLst>"
        + "".join(f'<p:sldId id="{255 + each}" r:id="s{each}"/>' for each in numbers)
        + "</p:sldIdLst></p:presentation>",
        "ppt/_rels/presentation.xml.rels": relations(*((f"s{each}", "slide", f"slides/slide{each}.xml") for each in numbers)),
        "ppt/slides/_rels/slide1.xml.rels": relations(("n", "notesSlide", "../notesSlides/notesSlide1.xml")),
        "ppt/notesSlides/notesSlide1.xml": f"<p:notes {SLIDE}><p:cSld><p:spTree>{notes}</p:spTree></p:cSld></p:notes>",
    }
    for number, slide in enumerate(slides, 1):
        hidden = ' show="0"' if slide.startswith("<!--hidden-->") else ""
        parts[f"ppt/slides/slide{number}.xml"] = f"<p:sld {SLIDE}{hidden}><p:cSld><p:spTree>{slide}</p:spTree></p:cSld></p:sld>"
    return zipped(parts)


# Excel

FORMATS = '<numFmts count="1"><numFmt numFmtId="164" formatCode="00000"/></numFmts>'
USED = (0, 14, 22, 164, 10, 20)


def xlsx(*sheets: tuple[str, str, str]) -> bytes:
    """Return a workbook of sheets: name, state and rows."""
    numbers = range(1, len(sheets) + 1)
    parts = {
        "[Content_Types].xml": types(
            **{
                "xl/workbook.xml": "openxmlformats-officedocument.spreadsheetml.sheet.main",
                "xl/styles.xml": "openxmlformats-officedocument.spreadsheetml.styles",
                **{f"xl/worksheets/sheet{each}.xml": "openxmlformats-officedocument.spreadsheetml.worksheet" for each in numbers},
            }
        ),
        "_rels/.rels": relations(("r1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f"<workbook {SHEET}><sheets>"
        + "".join(
            f'<sheet name="{name}" sheetId="{number}" state="{state}" r:id="r{number}"/>'
            for number, (name, state, _) in enumerate(sheets, 1)
        )
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": relations(
            *((f"r{each}", "worksheet", f"worksheets/sheet{each}.xml") for each in numbers), ("s", "styles", "styles.xml")
        ),
        "xl/styles.xml": f"<styleSheet {SHEET}>{FORMATS}<fonts count='1'><font/></fonts><fills count='1'><fill><patternFill/></fill></fills>"
        f"<borders count='1'><border/></borders><cellStyleXfs count='1'><xf/></cellStyleXfs><cellXfs count='{len(USED)}'>"
        + "".join(f"<xf numFmtId='{each}' xfId='0'/>" for each in USED)
        + "</cellXfs></styleSheet>",
    }
    for number, (_, _, rows) in enumerate(sheets, 1):
        parts[f"xl/worksheets/sheet{number}.xml"] = f"<worksheet {SHEET}><sheetData>{rows}</sheetData></worksheet>"
    return zipped(parts)


def line(number: int, **cells: str) -> str:
    """Return a row: `3` is a number, `3;2` one in the third format, `'text`, `b1` a boolean, `e#N/A` an error."""
    found = []
    for column, value in cells.items():
        at = f'r="{column}{number}"'
        if value.startswith("'"):
            found.append(f'<c {at} t="inlineStr"><is><t xml:space="preserve">{value[1:]}</t></is></c>')
        elif value[0] in "be":
            found.append(f'<c {at} t="{value[0]}"><v>{value[1:]}</v></c>')
        else:
            bare, _, style = value.partition(";")
            found.append(f'<c {at} s="{style or 0}"><v>{bare}</v></c>')
    return f'<row r="{number}">{"".join(found)}</row>'


# PDF


def pdf(*pages: str, info: str = "", outline: str = "") -> bytes:
    """Return a PDF of content streams, with one font."""
    kids = " ".join(f"{5 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R {outline} >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        f"<< {info} >>",
    ]
    for number, page in enumerate(pages):
        resources = "<< /Font << /F1 3 0 R >> >>"
        contents = f"/Contents {6 + 2 * number} 0 R"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {contents} /Resources {resources} >>",
            f"<< /Length {len(page)} >>\nstream\n{page}\nendstream",
        ]
    data, offsets = "%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{number} 0 obj\n{body}\nendobj\n"
    entries = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    trailer = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{len(data)}\n%%EOF"
    return f"{data}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{entries}{trailer}".encode("latin-1")


def show(left: float, bottom: float, text: str, size: float = 10) -> str:
    return f"BT /F1 {size} Tf {left} {bottom} Td ({text}) Tj ET"

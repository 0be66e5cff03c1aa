"""The Office, OpenDocument and PDF files of `make_test_documents.py`, made part by part, so that each has one fault and little else."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping

SCHEMAS = "http://schemas.openxmlformats.org"
OFFICE = f"{SCHEMAS}/officeDocument/2006/relationships"
PACKAGE = f"{SCHEMAS}/package/2006"
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


BOX = f"<w:txbxContent>{para(run('Text in a box'))}</w:txbxContent>"
MATH = f'xmlns:m="{SCHEMAS}/officeDocument/2006/math"'
WORD_FILES = {
    "headings.docx": docx(
        para(run("Pump manual"), style="Titel")
        + para(run("Setup"), style="berschrift1")
        + para(run("Power"), style="berschrift2")
        + para(run("Water"), style="Own")
        + para(run("Outlined"), more='<w:outlineLvl w:val="2"/>')
        + para(run("Text.")),
        author="A. Weber",
    ),
    "numbered_headings.docx": docx(para(run("Scope"), style="Numbered") + para(run("a")) + para(run("Terms"), style="Numbered")),
    "property_title.docx": docx(para(run("Text.")), title="Pump &amp; valve", author="A. Weber"),
    "fields.docx": docx(
        para(run("Table "), f"<w:fldSimple w:instr='SEQ Table'>{run('12')}</w:fldSimple>", run(": Flow"))
        + para(run("Printed on "), field("2026-05-01"), run("."))
    ),
    "raised.docx": docx(
        para(
            run("10"), run("6", '<w:vertAlign w:val="superscript"/>'), run(" of CO"), run("2", '<w:vertAlign w:val="subscript"/>')
        )
    ),
    "struck_out.docx": docx(
        para(run("19", "<w:strike/>"), run(" 21 "), run("gone", "<w:dstrike/>"), run(" kept", '<w:strike w:val="0"/>'))
    ),
    "split_runs.docx": docx(
        para(run("Warr", "<w:b/>"), run("anty", "<w:i/>"), run(" claims"))
        + para("<w:r><w:t>First </w:t></w:r>", run(" Last"))
        + para(
            "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d e</w:t><w:softHyphen/><w:t>f</w:t></w:r>"
        )
    ),
    "changes.docx": docx(
        para(
            run("Within "),
            f"<w:del w:id='1'><w:r><w:delText>14</w:delText></w:r></w:del><w:ins w:id='2'>{run('30')}</w:ins>",
            run(" days"),
        )
        + para(f"<w:moveFrom w:id='3'>{run('Moved')}</w:moveFrom>")
        + para(run("Between"))
        + para(f"<w:moveTo w:id='4'>{run('Moved')}</w:moveTo>")
    ),
    "comments.docx": docx(
        para(
            "<w:commentRangeStart w:id='0'/>",
            run("Commented"),
            "<w:commentRangeEnd w:id='0'/><w:r><w:commentReference w:id='0'/></w:r>",
        ),
        comments=f"<w:comment w:id='0'>{para(run('Really?'))}</w:comment>",
    ),
    "hidden.docx": docx(para(run("Shown"), run("hidden", "<w:vanish/>"), run(" text"))),
    "footnote.docx": docx(
        para(run("Net price"), "<w:r><w:footnoteReference w:id='2'/></w:r>", run(" applies.")),
        notes=f"<w:footnote w:type='separator' w:id='0'>{para()}</w:footnote><w:footnote w:id='2'>{para(run('Without tax.'))}</w:footnote>",
    ),
    "lists.docx": docx(
        para(run("three"), more=listed(1))
        + para(run("inner"), more=listed(1, 1))
        + para(run("four"), more=listed(1))
        + para(run("dot"), more=listed(2))
        + para(run("dot in dot"), more=listed(2, 1))
    ),
    "merged_cells.docx": docx(
        table(
            [cell("Site"), cell("Mon"), cell("Tue")],
            [cell("Graz", more='<w:vMerge w:val="restart"/>'), cell("open all day", more='<w:gridSpan w:val="2"/>')],
            [cell("", more="<w:vMerge/>"), cell("9|12"), cell(para(run("a")), para(run("b")))],
        )
    ),
    "nested_table.docx": docx(
        table([cell("Key"), cell("Value")], [cell("x"), cell(table([cell("in one"), cell("in two")]), para(run("after")))])
    ),
    "framed.docx": docx(table([cell("A frame of one cell")])),
    "text_box.docx": docx(
        para(
            '<w:r><mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
            f"<mc:Choice Requires='wps'>{BOX}</mc:Choice><mc:Fallback>{BOX}</mc:Fallback></mc:AlternateContent></w:r>",
            run("Beside"),
        )
    ),
    "control.docx": docx(f"<w:sdt><w:sdtContent>{para(run('In a control'))}</w:sdtContent></w:sdt>"),
    "contents.docx": docx(
        "<w:sdt><w:sdtPr><w:docPartObj><w:docPartGallery w:val='Table of Contents'/></w:docPartObj></w:sdtPr>"
        f"<w:sdtContent>{para(run('Setup 3'))}</w:sdtContent></w:sdt>"
        + para(run("Setup 3"), style="TOC1")
        + para(run("Setup"), style="berschrift1")
        + para(run("Text."))
    ),
    "link.docx": docx(para(run("See "), f"<w:hyperlink r:id='h1'>{run('the terms')}</w:hyperlink>", run("."))),
    "bidirectional.docx": docx(para(run("של", "<w:rtl/>"), run("ום", "<w:rtl/>"), run(" (hello)"))),
    "formula.docx": docx(
        para(
            run("Rate "),
            f"<m:oMath {MATH}><m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f>"
            "<m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:oMath>",
        )
    ),
    "symbol.docx": docx(para("<w:r><w:sym w:font='Wingdings' w:char='F0E0'/></w:r>", run(" next"))),
    "no_markup.docx": docx(para(run("# no heading")) + para(run("1. no list")) + para(run("snake_case_name"))),
    "picture.docx": docx(
        para(
            '<w:r><w:drawing><wp:inline xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing">'
            '<wp:docPr id="1" name="Picture 1" descr="Pump curve"/></wp:inline></w:drawing></w:r>'
        )
        + para(run("Below"))
    ),
}

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


RAISED = '<style:style style:name="up" style:family="text"><style:text-properties style:text-position="super 58%"/></style:style>'
STRUCK = '<style:style style:name="out" style:family="text"><style:text-properties style:text-line-through-style="solid"/></style:style>'
CHANGE = "<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion></text:changed-region></text:tracked-changes>"


def row(*cells: str, more: str = "") -> str:
    inside = "".join(each if each.startswith("<table:") else typed(each) for each in cells)
    return f"<table:table-row{more}>{inside}</table:table-row>"


def typed(shown: str, kind: str = "string", value: str = "") -> str:
    name = f"office:{kind}-value" if kind in {"date", "boolean"} else "office:value"
    stated = f' {name}="{value}"' if value else ""
    return f'<table:table-cell office:value-type="{kind}"{stated}><text:p>{shown}</text:p></table:table-cell>'


OPEN_FILES = {
    "text.odt": opened(
        "text",
        '<text:h text:outline-level="1">Limits</text:h><text:p>a<text:s text:c="3"/>b<text:tab/>c<text:line-break/>d</text:p>'
        '<text:p>10<text:span text:style-name="up">6</text:span> <text:span text:style-name="out">old</text:span> new</text:p>',
        RAISED + STRUCK,
        "<dc:title>Station &amp; limits</dc:title><meta:initial-creator>A. Weber</meta:initial-creator>",
    ),
    "footnote.odt": opened(
        "text",
        "<text:p>Net price<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>Without tax.</text:p>"
        "</text:note-body></text:note> applies<office:annotation><text:p>Really?</text:p></office:annotation>.</text:p>",
    ),
    "changes.odt": opened("text", CHANGE + "<text:p>Within <text:change-start/>30<text:change-end/> days</text:p>"),
    "lists.odt": opened(
        "text",
        '<text:list text:style-name="n"><text:list-item text:start-value="3"><text:p>three</text:p><text:list text:style-name="b"><text:list-item>'
        "<text:p>inner</text:p></text:list-item></text:list></text:list-item><text:list-item><text:p>four</text:p></text:list-item></text:list>",
        '<text:list-style style:name="n"><text:list-level-style-number text:level="1"/></text:list-style><text:list-style style:name="b"/>',
    ),
    "merged_cells.odt": opened(
        "text",
        '<table:table table:name="T"><table:table-header-rows>'
        + row("Site", "Hours")
        + "</table:table-header-rows>"
        + row(
            '<table:table-cell table:number-columns-spanned="2"><text:p>closed|open</text:p></table:table-cell>',
            "<table:covered-table-cell/>",
        )
        + "</table:table>",
    ),
    "frame.odt": opened(
        "text",
        "<text:p>Beside<draw:frame><draw:text-box><text:p>In a frame</text:p></draw:text-box></draw:frame></text:p>"
        "<text:p><draw:frame><draw:image/><svg:desc>Pump curve</svg:desc></draw:frame></text:p>",
    ),
    "contents.odt": opened(
        "text",
        "<text:table-of-content><text:index-body><text:p>Setup 3</text:p></text:index-body></text:table-of-content>"
        '<text:section text:display="none"><text:p>hidden</text:p></text:section><text:p>Fig. <text:sequence>7</text:sequence></text:p>',
    ),
    "typed.ods": opened(
        "spreadsheet",
        '<table:table table:name="Stock">'
        + row("zip", "amount", "day", "ok", "share")
        + row(
            "01067",
            typed("1.234,50", "float", "1234.5"),
            typed("01.03.26", "date", "2026-03-01"),
            typed("WAHR", "boolean", "true"),
            typed("12,5 %", "percentage", "0.125"),
        )
        + row('<table:table-cell table:number-columns-repeated="3"/>', "NA", more=' table:number-rows-repeated="2"')
        + row('<table:table-cell table:number-columns-repeated="1024"/>', more=' table:number-rows-repeated="1048570"')
        + '</table:table><table:table table:name="Secret" table:style-name="no">'
        + row("hidden")
        + "</table:table>",
        '<style:style style:name="no" style:family="table"><style:table-properties table:display="false"/></style:style>',
    ),
    "notes.odp": opened(
        "presentation",
        '<draw:page draw:name="p1"><draw:frame presentation:class="title"><draw:text-box><text:p>Pumps</text:p></draw:text-box></draw:frame>'
        "<draw:frame><draw:text-box><text:list><text:list-item><text:p>Small</text:p></text:list-item></text:list></draw:text-box></draw:frame>"
        '<presentation:notes><draw:frame presentation:class="notes"><draw:text-box><text:p>Pause here</text:p></draw:text-box></draw:frame>'
        '</presentation:notes></draw:page><draw:page draw:name="p2"><draw:frame><draw:text-box><text:p>Untitled slide</text:p></draw:text-box>'
        "</draw:frame></draw:page>",
    ),
}

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


GRID = (
    "<p:graphicFrame><a:graphic><a:graphicData><a:tbl>"
    "<a:tr><a:tc><a:txBody><a:p><a:r><a:t>Size</a:t></a:r></a:p></a:txBody></a:tc><a:tc><a:txBody><a:p><a:r><a:t>kW</a:t></a:r></a:p></a:txBody></a:tc></a:tr>"
    "<a:tr><a:tc gridSpan='2'><a:txBody><a:p><a:r><a:t>on|off</a:t></a:r></a:p></a:txBody></a:tc><a:tc hMerge='1'><a:txBody><a:p/></a:txBody></a:tc></a:tr>"
    "</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
)
SLIDE_FILES = {
    "notes.pptx": pptx(
        shape("Pumps", kind="title")
        + shape("Small", "Large", kind="body")
        + shape("7", kind="sldNum")
        + shape("Confidential", kind="ftr"),
        shape("Only text"),
        notes=shape("Pause here", kind="body") + shape("1", kind="sldNum"),
    ),
    "hidden_slide.pptx": pptx(shape("Shown", kind="title") + shape("Text"), "<!--hidden-->" + shape("Secret", kind="title")),
    "table.pptx": pptx(shape("Sizes", kind="title") + GRID + f"<p:grpSp>{shape('In a group')}</p:grpSp>"),
    "runs.pptx": pptx(
        shape("Runs", kind="title")
        + shape(
            "<a:p><a:r><a:rPr b='1'/><a:t>Warr</a:t></a:r><a:r><a:t>anty: 10</a:t></a:r><a:r><a:rPr baseline='30000'/><a:t>6</a:t></a:r><a:br/>"
            "<a:r><a:rPr strike='sngStrike'/><a:t>old</a:t></a:r><a:r><a:t> new</a:t></a:r></a:p>"
        )
        + shape("<a:p><a:pPr lvl='1'/><a:r><a:t>indented</a:t></a:r></a:p>")
    ),
}

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


SHEET_FILES = {
    "typed_text.xlsx": xlsx(
        ("Codes", "visible", line(1, A="'zip", B="'sku") + line(2, A="'01067", B="'1E5") + line(3, A="'NA", B="'0012"))
    ),
    "numbers.xlsx": xlsx(
        (
            "Numbers",
            "visible",
            line(1, A="'padded", B="1067;3")
            + line(2, A="'share", B="0.125;4")
            + line(3, A="'whole", B="3")
            + line(4, A="'long", B="123456789012345")
            + line(5, A="'small", B="0.1"),
        )
    ),
    "dates.xlsx": xlsx(
        (
            "Dates",
            "visible",
            line(1, A="'day", B="46082;1") + line(2, A="'moment", B="46082.5;2") + line(3, A="'time", B="0.75;5"),
        )
    ),
    "booleans.xlsx": xlsx(
        ("Flags", "visible", line(1, A="'flag", B="b1") + line(2, A="'none", B="b0") + line(3, A="'lost", B="e#N/A"))
    ),
    "sheets.xlsx": xlsx(
        ("North", "visible", line(1, A="'a")),
        ("Secret", "hidden", line(1, A="'hidden")),
        ("South &amp; East", "visible", line(1, A="'b")),
        ("Empty", "visible", ""),
        ("Deep", "veryHidden", line(1, A="'hidden")),
    ),
    "blanks.xlsx": xlsx(
        ("Plan", "visible", line(1, A="'PROGRESS") + line(3, A="'Task", C="'Owner") + line(4, A="'x|y\nz", D="'far"))
    ),
}

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


LEFT = [
    "Claims are filed with the form",
    "that came with the device and",
    "must be signed by the owner or",
    "by a person the owner names.",
]
RIGHT = [
    "Repairs take fourteen days, and",
    "a device on loan is sent where",
    "the owner asks for one in the",
    "form and pays a deposit first.",
]
GRIDDED = [["Item", "Price", "Stock"], ["Bolt", "2.50", "17"], ["Nut", "", "3"]]
PDF_FILES = {
    "words.pdf": pdf(
        "BT /F1 10 Tf 50 700 Td [(Requi)-20(red)-300(files)-300(under)] TJ ET\n"
        + show(50, 686, "the folder")
        + "\n"
        + show(50, 640, "Next paragraph"),
        info="/Title (Pump manual) /Author (A. Weber) /CreationDate (D:20260301120000Z)",
    ),
    "hyphens.pdf": pdf(
        "\n".join(
            [
                show(50, 700, "The war-"),
                show(50, 686, "ranty covers every COVID-"),
                show(50, 672, "19 test, and well-known faults are well-"),
                show(50, 658, "known."),
            ]
        )
    ),
    "headings.pdf": pdf(
        "\n".join(
            [
                show(50, 700, "Warranty", 20),
                show(50, 670, "Claims", 14),
                show(50, 650, "Claims are filed within thirty days of purchase."),
                show(50, 636, "A receipt is needed for each of them."),
            ]
        )
    ),
    "columns.pdf": pdf(
        "\n".join(
            show(x, 700 - 14 * at, text)
            for at, both in enumerate(zip(LEFT, RIGHT, strict=True))
            for x, text in zip((50, 320), both, strict=True)
        )
    ),
    "columns_in_order.pdf": pdf(
        "\n".join(show(x, 700 - 14 * at, text) for x, side in ((50, LEFT), (320, RIGHT)) for at, text in enumerate(side))
    ),
    "table.pdf": pdf(
        "\n".join(
            show(50 + 120 * column, 700 - 14 * at, text)
            for at, cells in enumerate(GRIDDED)
            for column, text in enumerate(cells)
            if text
        )
    ),
    "pages.pdf": pdf(
        *(
            "\n".join([show(50, 750, "Pump manual"), show(50, 700, f"Text of page {number}."), show(300, 30, f"{number} of 4")])
            for number in range(1, 5)
        )
    ),
    "marks.pdf": pdf("\n".join([show(50, 700, "# no heading"), show(50, 686, "\\244 caf\\351 \\226 na\\357ve")])),
}

FILES: Mapping[str, bytes] = {**WORD_FILES, **OPEN_FILES, **SLIDE_FILES, **SHEET_FILES, **PDF_FILES}

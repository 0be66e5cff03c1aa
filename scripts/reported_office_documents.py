"""Office, OpenDocument and PDF files of `make_test_documents.py`, each with a kind of fault from public bug reports."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence

from office_files import (
    MATH,
    SCHEMAS,
    WORD,
    cell,
    docx,
    field,
    line,
    listed,
    opened,
    para,
    pdf,
    pptx,
    relations,
    row,
    run,
    shape,
    show,
    table,
    typed,
    xlsx,
    zipped,
)


def changed(data: bytes, parts: Mapping[str, str | bytes]) -> bytes:
    """Return an archive with these parts added or in place of its own."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        own: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    return zipped({**own, **parts})


def with_relations(data: bytes, part: str, *more: tuple[str, str, str], **parts: str | bytes) -> bytes:
    """Return an Office file in which a part has relations to more parts."""
    folder, _, name = part.rpartition("/")
    path = f"{folder}/_rels/{name}.rels"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        before = archive.read(path).decode() if path in archive.namelist() else relations()
    after = relations(*more)
    start = after.index("<Relationship ")
    merged = before.replace("</Relationships>", after[start:])
    return changed(data, {path: merged, **parts})


def pairs(*values: str) -> str:
    return "".join(f'<c:pt idx="{at}"><c:v>{value}</c:v></c:pt>' for at, value in enumerate(values))


CHART = (
    f'<c:chartSpace xmlns:c="{SCHEMAS}/drawingml/2006/chart" xmlns:a="{SCHEMAS}/drawingml/2006/main"><c:chart><c:title><c:tx><c:rich><a:p><a:r>'
    "<a:t>Flow by</a:t></a:r><a:r><a:t> month</a:t></a:r></a:p></c:rich></c:tx></c:title><c:plotArea><c:barChart>"
    f"<c:ser><c:tx><c:strRef><c:strCache>{pairs('North')}</c:strCache></c:strRef></c:tx><c:cat><c:strRef><c:strCache>{pairs('Jan', 'Feb')}</c:strCache></c:strRef></c:cat>"
    f"<c:val><c:numRef><c:numCache>{pairs('4.3', '0.30000000000000004')}</c:numCache></c:numRef></c:val></c:ser>"
    f"<c:ser><c:tx><c:v>South</c:v></c:tx><c:val><c:numLit>{pairs('2', '1')}</c:numLit></c:val></c:ser></c:barChart></c:plotArea></c:chart></c:chartSpace>"
)
DIAGRAM = (
    f'<dgm:dataModel xmlns:dgm="{SCHEMAS}/drawingml/2006/diagram" xmlns:a="{SCHEMAS}/drawingml/2006/main"><dgm:ptLst>'
    + "".join(f"<dgm:pt><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>" for text in ("Order", "Pay &amp; ship"))
    + '<dgm:pt type="pres"/></dgm:ptLst></dgm:dataModel>'
)
C = f'xmlns:c="{SCHEMAS}/drawingml/2006/chart"'
DGM = f'xmlns:dgm="{SCHEMAS}/drawingml/2006/diagram"'


def drawn(inside: str) -> str:
    return f'<w:r><w:drawing><a:graphic xmlns:a="{SCHEMAS}/drawingml/2006/main"><a:graphicData>{inside}</a:graphicData></a:graphic></w:drawing></w:r>'


def framed(inside: str) -> str:
    return f"<p:graphicFrame><a:graphic><a:graphicData>{inside}</a:graphicData></a:graphic></p:graphicFrame>"


def form(inside: str) -> str:
    return f"<w:r><w:fldChar w:fldCharType='begin'><w:ffData>{inside}</w:ffData></w:fldChar></w:r><w:r><w:instrText>FORM</w:instrText></w:r><w:r><w:fldChar w:fldCharType='end'/></w:r>"


def m(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


MARK = "<w:r><w:fldChar w:fldCharType='{}'/></w:r>".format
NUMBERS = (
    '<w:abstractNum w:abstractNumId="0"><w:styleLink w:val="Own"/><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="upperRoman"/><w:lvlText w:val="§ %1"/></w:lvl></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="1"><w:numStyleLink w:val="Own"/></w:abstractNum>'
    '<w:abstractNum w:abstractNumId="2"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl></w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="2"/></w:num><w:num w:numId="3"><w:abstractNumId w:val="2"/></w:num>'
    '<w:num w:numId="4"><w:abstractNumId w:val="2"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride></w:num>'
)
LOOKS = (
    '<w:style w:type="character" w:styleId="Gone"><w:name w:val="Gone"/><w:rPr><w:vanish/></w:rPr></w:style>'
    '<w:style w:type="character" w:styleId="Old"><w:name w:val="Old"/><w:rPr><w:strike/></w:rPr></w:style>'
    '<w:style w:type="character" w:styleId="Up"><w:name w:val="Up"/><w:basedOn w:val="Old"/><w:rPr><w:strike w:val="0"/><w:vertAlign w:val="superscript"/></w:rPr></w:style>'
)

WORD_FILES = {
    "check_boxes.docx": docx(
        para(
            form("<w:checkBox><w:default w:val='0'/><w:checked/></w:checkBox>"),
            run(" yes "),
            form("<w:checkBox><w:default w:val='0'/></w:checkBox>"),
            run(" no, size "),
            form("<w:ddList><w:result w:val='1'/><w:listEntry w:val='small'/><w:listEntry w:val='large'/></w:ddList>"),
        )
        + para("<w:sdt><w:sdtPr/><w:sdtContent><w:r><w:t>☒</w:t></w:r></w:sdtContent></w:sdt>", run(" agreed"))
    ),
    "nested_field.docx": docx(
        para(
            run("Dear "),
            MARK("begin"),
            "<w:r><w:instrText> IF </w:instrText></w:r>",
            field("code"),
            "<w:r><w:instrText> = 1 </w:instrText></w:r>",
            MARK("separate"),
            run("Ms Weber"),
            MARK("end"),
            run(","),
        )
    ),
    "symbol_font.docx": docx(
        para(
            run("Angle "),
            "<w:r><w:sym w:font='Symbol' w:char='F061'/></w:r>",
            run(" \uf0b1 5", "<w:rFonts w:ascii='Symbol'/>"),
            "<w:r><w:sym w:font='MS Gothic' w:char='2610'/></w:r>",
        )
    ),
    "character_style.docx": changed(
        docx(
            para(
                run("Shown "),
                run("hidden", "<w:rStyle w:val='Gone'/>"),
                run("19", "<w:rStyle w:val='Old'/>"),
                run(" 10"),
                run("6", "<w:rStyle w:val='Up'/>"),
            )
        ),
        {"word/styles.xml": f"<w:styles {WORD}>{LOOKS}</w:styles>"},
    ),
    "list_styles.docx": changed(
        docx(
            "".join(
                para(run(text), more=listed(number))
                for text, number in (("scope", 1), ("terms", 1), ("one", 2), ("two", 3), ("five", 4), ("six", 4), ("seven", 2))
            )
        ),
        {"word/numbering.xml": f"<w:numbering {WORD}>{NUMBERS}</w:numbering>"},
    ),
    "formulas.docx": docx(
        para(
            f"<m:oMath {MATH}><m:d><m:e>{m('a+b')}</m:e></m:d>{m('c=')}<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{m('i=1')}</m:sub>"
            f"<m:sup>{m('n')}</m:sup><m:e>{m('x')}</m:e></m:nary><m:func><m:fName>{m('sin')}</m:fName><m:e>{m('y')}</m:e></m:func>"
            f"<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=']'/></m:dPr><m:e><m:m><m:mr><m:e>{m('1')}</m:e><m:e>{m('2')}</m:e></m:mr>"
            f"<m:mr><m:e>{m('3')}</m:e><m:e>{m('4')}</m:e></m:mr></m:m></m:e></m:d></m:oMath>"
        )
    ),
    "chart.docx": with_relations(
        docx(para(drawn(f'<c:chart {C} r:id="d1"/>')) + para(run("Below"))),
        "word/document.xml",
        ("d1", "chart", "charts/chart1.xml"),
        **{"word/charts/chart1.xml": CHART},
    ),
    "diagram.docx": with_relations(
        docx(para(drawn(f'<dgm:relIds {DGM} r:dm="d1"/>')) + para(run("Below"))),
        "word/document.xml",
        ("d1", "diagramData", "diagrams/data1.xml"),
        **{"word/diagrams/data1.xml": DIAGRAM},
    ),
    "pasted_page.docx": with_relations(
        docx(para(run("Above")) + '<w:altChunk r:id="a1"/>' + para(run("Below"))),
        "word/document.xml",
        ("a1", "aFChunk", "part.html"),
        **{"word/part.html": "<html><body><h2>Pasted</h2><p>10<sup>6</sup> l</p></body></html>"},
    ),
    "roman.docx": docx("".join(para(run(str(at)), more=listed(3)) for at in range(1, 42))),
    "cell_control.docx": docx(
        table([f"<w:sdt><w:sdtContent>{cell('Name')}</w:sdtContent></w:sdt>", cell("Ann")], [cell("Age"), cell("7")])
    ),
    "strict.docx": changed(
        docx(para(run("Strict text"))),
        {
            "word/document.xml": '<w:document xmlns:w="http://purl.oclc.org/ooxml/wordprocessingml/main"><w:body>'
            "<w:p><w:r><w:t>Strict text</w:t></w:r></w:p></w:body></w:document>"
        },
    ),
}

SLIDE_FILES = {
    "chart.pptx": with_relations(
        pptx(shape("Flow", kind="title") + framed(f'<c:chart {C} r:id="d1"/>')),
        "ppt/slides/slide1.xml",
        ("d1", "chart", "../charts/chart1.xml"),
        **{"ppt/charts/chart1.xml": CHART},
    ),
    "diagram.pptx": with_relations(
        pptx(shape("Steps", kind="title") + framed(f'<dgm:relIds {DGM} r:dm="d1"/>')),
        "ppt/slides/slide1.xml",
        ("d1", "diagramData", "../diagrams/data1.xml"),
        **{"ppt/diagrams/data1.xml": DIAGRAM},
    ),
    "numbered.pptx": pptx(
        shape("Steps", kind="title")
        + shape(
            *(
                f"<a:p><a:pPr><a:buAutoNum type='arabicPeriod'/></a:pPr><a:r><a:t>{text}</a:t></a:r></a:p>"
                for text in ("Open", "Close")
            ),
            *(
                f"<a:p><a:pPr lvl='1'><a:buAutoNum type='alphaLcParenR'/></a:pPr><a:r><a:t>{text}</a:t></a:r></a:p>"
                for text in ("left", "right")
            ),
            "<a:p><a:r><a:t>After</a:t></a:r></a:p>",
        )
    ),
    "groups.pptx": pptx(
        shape("Groups", kind="title") + f"<p:grpSp><p:grpSp>{shape('Inner')}</p:grpSp>{shape('Outer')}</p:grpSp>" + shape("Last")
    ),
    "formula.pptx": pptx(
        shape("Rate", kind="title")
        + shape(
            f"<a:p><a14:m xmlns:a14='http://schemas.microsoft.com/office/drawing/2010/main'><m:oMath {MATH}><m:f><m:num>{m('a')}</m:num><m:den>{m('b')}"
            "</m:den></m:f></m:oMath></a14:m></a:p>"
        )
    ),
}

FORMATS: Sequence[str] = (
    *("0.0%;[Red]-0.0%", "&quot;INV-&quot;00000", "000\\-00\\-0000", "[$€-407] #,##0.00", "#,##0.00 &quot;kg&quot;", "# ?/?"),
    *("[h]:mm", "hh:mm", "[Red]0.00", "mmm yy", "#,##0.00_);[Red]\\(#,##0.00\\)"),
)


def styled(*rows: str, more: str = "", workbook: str = "", formats: Sequence[str] = FORMATS) -> bytes:
    """Return a workbook whose cells may have these formats, from 1."""
    data = xlsx(("Sheet", "visible", "".join(rows)))
    codes = "".join(f'<numFmt numFmtId="{200 + at}" formatCode="{code}"/>' for at, code in enumerate(formats, 1))
    used = "".join(f'<xf numFmtId="{each and 200 + each}" xfId="0"/>' for each in range(len(formats) + 1))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        styles = archive.read("xl/styles.xml").decode()
        book = archive.read("xl/workbook.xml").decode()
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    start, end = styles.index("<numFmts"), styles.index("<fonts")
    styles = f'{styles[:start]}<numFmts count="{len(formats)}">{codes}</numFmts>{styles[end:]}'
    start, end = styles.index("<cellXfs"), styles.index("</cellXfs>")
    styles = f'{styles[:start]}<cellXfs count="{len(formats) + 1}">{used}{styles[end:]}'
    return changed(
        data,
        {
            "xl/styles.xml": styles,
            "xl/workbook.xml": book.replace("<sheets>", f"{workbook}<sheets>"),
            "xl/worksheets/sheet1.xml": sheet.replace("</sheetData>", f"</sheetData>{more}"),
        },
    )


SHEET_FILES = {
    "shown_formats.xlsx": styled(
        *(
            line(at, A=f"'{name}", B=value)
            for at, (name, value) in enumerate(
                [
                    ("share", "0.125;1"),
                    ("invoice", "42;2"),
                    ("number", "123456789;3"),
                    ("euro", "1234.5;4"),
                    ("weight", "2.25;5"),
                    ("fraction", "1.5;6"),
                    ("plain", "12;9"),
                    ("brackets", "-3;11"),
                ],
                1,
            )
        )
    ),
    "times.xlsx": styled(
        line(1, A="'duration", B="1.5;7") + line(2, A="'at", B="0.430555555555556;8") + line(3, A="'month", B="46082;10")
    ),
    "noise.xlsx": styled(
        line(1, A="0.30000000000000004", B="1.1000000000000001", C="12345678901234567890", D="1E-7", E="100000.10000000001")
    ),
    "no_value.xlsx": styled(
        '<row r="1"><c r="A1"><v>2</v></c><c r="B1"><f>A1*2</f><v>4</v></c><c r="C1"><f>SUM(A1:B1)</f></c></row>'
    ),
    "errors.xlsx": styled(line(1, A="e#N/A", B="e#DIV/0!", C="e#REF!", D="'ok")),
    "from_1904.xlsx": styled(line(1, A="'month", B="44620;10"), workbook='<workbookPr date1904="1"/>'),
    "rich_text.xlsx": styled(
        '<row r="1"><c r="A1" t="inlineStr"><is><r><t>Warr</t></r><r><rPr><b/></rPr><t xml:space="preserve">anty claims</t></r></is></c>'
        '<c r="B1" t="inlineStr"><is><t>a_x000D_\nb &amp; _x005F_x000D_</t></is></c></row>'
    ),
    "merged_head.xlsx": styled(
        line(1, A="'Site", B="'Hours") + line(2, B="'Mon", C="'Tue") + line(3, A="'Graz", B="9", C="10"),
        more='<mergeCells count="1"><mergeCell ref="B1:C1"/></mergeCells>',
    ),
    "sparse.xlsx": styled(
        line(3, C="'far") + '<row r="1000000"><c r="XFD1000000" t="inlineStr"><is><t>farthest</t></is></c></row>'
    ),
}

OPEN_FILES = {
    "shapes.odt": opened(
        "text",
        "<text:p>Beside<draw:custom-shape><text:p>One</text:p><text:p>Two</text:p></draw:custom-shape></text:p><text:p>Below</text:p>",
    ),
    "row_span.odt": opened(
        "text",
        '<table:table table:name="T">'
        + row("Site", "Day", "Open")
        + row('<table:table-cell table:number-rows-spanned="2"><text:p>Graz</text:p></table:table-cell>', "Mon", "9")
        + row("<table:covered-table-cell/>", "Tue", "10")
        + "</table:table>",
    ),
    "list_formats.odt": opened(
        "text",
        '<text:list text:style-name="n"><text:list-item><text:p>first</text:p></text:list-item><text:list-item><text:p>second</text:p></text:list-item></text:list>'
        '<text:p>Between</text:p><text:list text:style-name="n" text:continue-numbering="true"><text:list-item><text:p>third</text:p></text:list-item></text:list>',
        '<text:list-style style:name="n"><text:list-level-style-number text:level="1" style:num-format="a" style:num-suffix=")"/></text:list-style>',
    ),
    "formula.odt": changed(
        opened(
            "text",
            '<text:p>Rate <draw:frame><draw:object xlink:href="./Object 1"/><draw:image xlink:href="./Replacement 1"/></draw:frame> holds</text:p>',
        ),
        {
            "Object 1/content.xml": '<math xmlns="http://www.w3.org/1998/Math/MathML"><semantics><mfrac><mi>a</mi><mi>b</mi></mfrac>'
            '<annotation encoding="StarMath 5.0">{a} over {b}</annotation></semantics></math>'
        },
    ),
    "noise.ods": opened(
        "spreadsheet",
        '<table:table table:name="S">'
        + row(
            typed("0.3", "float", "0.30000000000000004"),
            typed("10:30:00", "time", ""),
            typed("1.234,50 €", "currency", "1234.5"),
            typed("#N/A"),
            '<table:table-cell office:value-type="string"><text:p>two</text:p><text:p>lines</text:p><office:annotation><text:p>Note</text:p></office:annotation></table:table-cell>',
        )
        + "</table:table>",
    ),
    "shapes.odp": opened(
        "presentation",
        '<draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Steps</text:p></draw:text-box></draw:frame>'
        "<draw:custom-shape><text:p>Order</text:p><text:p>Pay</text:p></draw:custom-shape><draw:g><draw:rect><text:p>Ship</text:p></draw:rect></draw:g></draw:page>",
    ),
}

PAGE = show(50, 700, "Shown on the page")
PDF_FILES = {
    "cropped.pdf": pdf(PAGE + "\n" + show(50, 20, "Printer mark")).replace(
        b"/MediaBox [0 0 612 792]", b"/MediaBox [0 0 612 792] /CropBox [0 100 612 792]"
    ),
    "rotated.pdf": pdf(
        "BT /F1 10 Tf 0 1 -1 0 50 100 Tm (Turned page) Tj ET\nBT /F1 10 Tf 0 1 -1 0 64 100 Tm (of two lines) Tj ET"
    ).replace(b"/MediaBox", b"/Rotate 90 /MediaBox"),
    "invisible.pdf": pdf("BT 3 Tr /F1 10 Tf 50 700 Td (Recognized by OCR) Tj ET"),
    "letter_spaced.pdf": pdf("BT /F1 10 Tf 5 Tc 50 700 Td (WARRANTY) Tj ET"),
    "ligatures.pdf": pdf("BT /F1 10 Tf 50 700 Td (o\\002ce, a \\001eld) Tj ET").replace(
        b"/Encoding /WinAnsiEncoding", b"/Encoding << /BaseEncoding /WinAnsiEncoding /Differences [1 /fi /ffi] >>"
    ),
}

FILES: Mapping[str, bytes] = {**WORD_FILES, **SLIDE_FILES, **SHEET_FILES, **OPEN_FILES, **PDF_FILES}

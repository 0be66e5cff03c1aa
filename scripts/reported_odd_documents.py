"""Files of all formats of `make_test_documents.py`, each with a kind of fault from public bug reports that is seldom thought of."""

from __future__ import annotations

from collections.abc import Mapping

from office_files import SHEET, WORD, cell, docx, line, listed, opened, para, pdf, pptx, run, shape, show, table, types
from other_documents import MIXED, code, epub, message, notebook, shown
from reported_office_documents import MARK, changed, styled, with_relations

PAGES = {
    "custom_elements.html": "<my-chip>Pump</my-chip><my-chip>Valve</my-chip><x-row>\n<x-cell>A1</x-cell>\n<x-cell>B1</x-cell>\n</x-row><p>re<x-hl>mark</x-hl>able</p>",
    "raw_text.html": "<p>Above</p><xmp><b>bold?</b> a  b\nline</xmp><listing>x <i>y</i></listing><p>Between</p><plaintext><b>as it is</b>\nline 2",
    "boxes.html": "<object data=a.svg>Pump drawing</object><canvas>Flow chart</canvas><audio>Sound</audio><meter value=3>3 of 5</meter><progress value=2>40 %</progress>",
    "check_boxes.html": "<ul><li><input type=checkbox checked> Done</li></ul><label><input type=radio checked>Yes</label><label><input type=radio>No</label>",
    "option_groups.html": "<select><optgroup label='Europe'><option>Graz</option></optgroup></select><fieldset><legend>Ship to</legend><label>City</label></fieldset>",
    "code_of_blocks.html": "<pre><code><div>one</div><div>two</div></code></pre><pre><span style='display:block'>x = 1</span><span style='display:block'>y = 2</span></pre><pre>a<br>b</pre>",
    "heading_breaks.html": "<h2>Part<br>One</h2><p>Text</p><h3><div>A</div><div>B</div></h3>",
    "line_end_inside.html": "<p><i>Alpha</i><span><span>\n</span></span>Beta</p>",
    "shadow.html": "<my-card><template shadowrootmode=open><h2>Card</h2><slot></slot></template><p>Light</p></my-card>",
    "odd_comments.html": "<!-->Shown 1 <!-- hidden --!>Shown 2<!---> Shown 3 <p>x<!-- a -- b -->y",
    "definition_groups.html": "<dl><div><dt>SLA</dt><dd>Agreement</dd></div><div><dt>RPO</dt><dd>Point</dd></div></dl>",
    "struck_out_blocks.html": "<del><p>Old price</p></del><ins><p>New price</p></ins>",
    "linked_picture.html": "<a href='/a'><img src=x.png alt='Home page'></a><h2><img alt='Pump logo' src=y.png></h2>",
}
ENCODINGS = {
    "hebrew.html": ("<meta charset=iso-8859-8-i><p>שלום</p>", "iso-8859-8"),
    "mac_cyrillic.html": ("<meta charset=x-mac-cyrillic><p>Возврат</p>", "mac-cyrillic"),
    "korean.html": ("<meta charset=ks_c_5601-1987><p>안녕하세요</p>", "cp949"),
}
REPORT = (
    "--cut\nContent-Type: text/plain; charset=utf-8\n\nYour message could not be delivered.\n--cut\nContent-Type: message/delivery-status\n\n"
    "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; bo@example.org\nAction: failed\nStatus: 5.1.1\n"
    "--cut\nContent-Type: message/rfc822\n\nSubject: Offer\nFrom: ann@example.org\n\nThe offer\n--cut--\n"
)
ATTACHED = (
    "--cut\nContent-Type: text/plain\n\nSee below\n--cut\nContent-Type: message/rfc822; name=Offer.eml\nContent-Disposition: attachment; filename=Offer.eml\n\n"
    "Subject: Inner\nFrom: bo@example.org\n\nInner text\n--cut--\n"
)
MAIL = {
    "report.eml": message(
        "Subject: Undelivered", "MIME-Version: 1.0", f"{MIXED.format('report')}; report-type=delivery-status", body=REPORT
    ),
    "attached_message.eml": message("Subject: Fwd", "MIME-Version: 1.0", MIXED.format("mixed"), body=ATTACHED),
    "raw_latin1_subject.eml": b"From: ann@example.org\r\nSubject: R\xfcckgabe f\xfcr Gr\xf6\xdfe\r\n\r\nText\r\n",
    "utf16.eml": "From: ann@example.org\r\nSubject: Grüße\r\n\r\nMaß\r\n".encode("utf-16"),
    "split_word.eml": message("Subject: =?utf-8?B?R3LDvMM=?= =?utf-8?B?n2U=?=", body="Text\n"),
    "utf7.eml": message("Subject: Greeting", "Content-Type: text/plain; charset=utf-7", body="Gr+APwA3w-e\n"),
    "cp850.eml": message("Subject: Size", "Content-Type: text/plain; charset=cp850", body="Größe 5\n", charset="cp850"),
    "uuencoded.eml": message("Subject: File", body="See the file\nbegin 644 prices.txt\n#0V%T\n`\nend\nafter\n"),
    "signed.eml": message(
        "Subject: Signed",
        "MIME-Version: 1.0",
        MIXED.format("signed"),
        body="--cut\nContent-Type: text/plain\n\nSigned words\n--cut\nContent-Type: application/pgp-signature; name=signature.asc\n\nxx\n--cut--\n",
    ),
    "digest.eml": message(
        "Subject: Digest",
        "MIME-Version: 1.0",
        MIXED.format("digest"),
        body="--cut\n\nSubject: One\nFrom: a@example.org\n\nFirst\n--cut\n\nSubject: Two\nFrom: b@example.org\n\nSecond\n--cut--\n",
    ),
    "line_ends.mbox": b"From a@example.org Mon Mar  2 10:00:00 2026\r\nSubject: One\r\n\r\nFirst\r\n\r\nFrom b@example.org Mon Mar  2 10:00:00 2026\r\nSubject: Two\r\n\r\nSecond\r\n",
}
TEXTS = {
    "raw_heading.md": '<p align="center"><img src=a.png></p>\n<h1 align="center">\n  Pump &amp; <em>tools</em>\n</h1>\n\n# Use\n',
    "colors.log": "\x1b[31mERROR\x1b[0m disk full\n\x1b]8;;https://example.org\x07OK\x1b]8;;\x07 done\n",
    "struck_over.txt": "N\bNA\bAM\bME\bE\n     _\bp_\bu_\bm_\bp - moves water\n",
    "old_line_ends.txt": "one\rtwo\rthree",
    "entities.xml": "<a><p>x&nbsp;y &copy;</p></a>",
    "mixed.xml": "<a><p>foo<!-- c -->bar <b>x</b><i>y</i> t<?pi x?>u</p><q>1</q><q>2</q></a>",
    "attributes.adoc": ":product: Pump X\n:version: 1.2\n= {product} guide\n\nUse {product} {version}, not {unknown}.\n\nifdef::x[]\nInside\nendif::[]\n",
    "cjk.rst": "泵手册\n======\n\n文字\n",
    "header_lines.vtt": "WEBVTT\nX-TIMESTAMP-MAP=LOCAL:00:00:00.000,MPEGTS:0\n\n00:00:01.000 --> 00:00:02.000 align:start\nHello &amp; <b>you</b>\n",
    "addresses.tex": "See \\url{https://example.org/a%20b_c} and \\href{https://example.org/x%20y}{the page} now. \\lstinline|a%b| % hidden\n",
    "spans.tex": "\\begin{tabular}{|l|p{3cm}|r@{\\,}l|}\n\\hline\n\\multicolumn{2}{c}{Prices} & C \\\\\n\\multirow{2}{*}{Bolt} & 2 & 3 \\\\\n\\end{tabular}\n",
    "boxes.tex": "\\textcolor{red}{Careful} \\colorbox{blue}{Box} \\parbox{5cm}{Paragraph} \\raisebox{2pt}{Raised} {\\color{red} red} \\SI{10}{kg}\\rule{1cm}{2pt}",
    "macros.tex": "\\newcommand{\\product}{Pump X}\n\\newcommand{\\hello}[2][Dear]{#1 #2}\n\\def\\kw{kilowatt}\n\\begin{document}The \\product{} for \\hello{Ann}, "
    "\\hello[Hi]{Bo}: 5 \\kw.\\renewcommand{\\loop}{\\loop}\\loop\n\\end{document}",
    "slides.tex": "\\begin{frame}{Flow}\\begin{itemize}\\item<1-> one\\item two\\end{itemize}\\end{frame}\n\\begin{description}\\item[SLA] Agreement\\end{description}\n"
    "\\begin{theorem}[Pump]It moves.\\end{theorem}",
}
NOTEBOOKS = {
    "shown_html.ipynb": notebook(
        code("show()", shown(text_html="<div>Box</div>", text_plain="<IPython.core.display.HTML object>")),
        code("formula()", shown(text_latex="$x^2$")),
    ),
}


def book(kind: str) -> bytes:
    """Return a book whose only chapter is said to be of some type."""
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>Pumps</dc:title></metadata>'
        f'<manifest><item id="c1" href="text/c1.xhtml" media-type="{kind}"/></manifest><spine><itemref idref="c1" linear="no"/></spine></package>'
    )
    return changed(epub("<h1>Pumps</h1><p>a&nbsp;b</p>"), {"OPS/book.opf": package})


BOOKS = {"other_type.epub": book("Application/XHTML+XML; charset=utf-8"), "xml_type.epub": book("application/xml")}

GONE = '<w:rPr><w:del w:id="9"/></w:rPr>'
LEGAL = (
    f'<w:numbering {WORD}><w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="upperRoman"/><w:lvlText w:val="Article %1"/></w:lvl>'
    '<w:lvl w:ilvl="1"><w:isLgl/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1.%2"/></w:lvl></w:abstractNum>'
    '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
)
WORDART = (
    '<w:r><w:pict><v:shape xmlns:v="urn:schemas-microsoft-com:vml"><v:textpath string="Annual report"/></v:shape></w:pict></w:r>'
)
WORD_FILES = {
    "deleted_mark.docx": docx(
        para(run("Within thirty "), more=GONE)
        + para("<w:del w:id='1'><w:r><w:delText>gone</w:delText></w:r></w:del>", more=GONE)
        + para(run("days."))
        + para(f"<w:moveFrom w:id='3'>{run('Moved')}</w:moveFrom>", more='<w:rPr><w:moveFrom w:id="8"/></w:rPr>')
        + para(run("Inserted"), more='<w:rPr><w:ins w:id="7"/></w:rPr>')
        + table([cell(para(run("x "), more=GONE), para(run("y"))), cell("z")])
        + para(run("Last"), more=GONE)
    ),
    "deleted_field_end.docx": docx(
        para(
            run("See "),
            MARK("begin"),
            '<w:r><w:instrText>REF "x"</w:instrText></w:r>',
            f"<w:del w:id='0'>{MARK('separate')}</w:del>",
            run("the terms"),
            f"<w:del w:id='0'>{MARK('end')}</w:del>",
            run(" now"),
        )
    ),
    "symbol_runs.docx": docx(
        para(run("\uf0fc ", "<w:rFonts w:ascii='Wingdings'/>"), run("done"))
        + para(run("ü ", "<w:rFonts w:ascii='Wingdings'/>"), run("also "), run("a", "<w:rFonts w:ascii='Symbol'/>"))
    ),
    "word_art.docx": docx(para(WORDART) + para(run("Text"))),
    "legal_numbers.docx": changed(
        docx(para(run("Scope"), more=listed(1)) + para(run("Terms"), more=listed(1, 1))), {"word/numbering.xml": LEGAL}
    ),
    "undefined_styles.docx": changed(
        docx(para(run("Manual"), style="Title") + para(run("Setup"), style="Heading1") + para(run("Text"), style="BodyText")),
        {"word/styles.xml": f"<w:styles {WORD}/>"},
    ),
    "page_break.docx": docx(
        para('<w:r><w:br w:type="page"/></w:r>', run("Setup"), style="berschrift1")
        + para(run("Line"), "<w:r><w:br/></w:r>", run("two"), style="berschrift2")
        + para(run("Text"))
    ),
    "end_note.docx": with_relations(
        docx(para(run("Price"), '<w:r><w:endnoteReference w:id="2"/></w:r>', run("."))),
        "word/document.xml",
        ("e1", "endnotes", "endnotes.xml"),
        **{
            "word/endnotes.xml": f"<w:endnotes {WORD}><w:endnote w:id='2'>{para(run('Ex works.'))}</w:endnote></w:endnotes>",
        },
    ),
}


def formatted(*cells: tuple[str, str, str]) -> bytes:
    """Return a workbook with a row for each name, number and format."""
    rows = (line(at, A=f"'{name}", B=f"{value};{at}") for at, (name, value, _) in enumerate(cells, 1))
    return styled(*rows, formats=[code.replace('"', "&quot;").replace(">", "&gt;") for _, _, code in cells])


SHEET_FILES = {
    "scaled.xlsx": formatted(
        ("thousands", "1234567", '#,##0,"K"'),
        ("by size", "5", '[>=1000000]0.0,,"M";[>=1000]0.0,"K";0'),
        ("millions", "5000000", '[>=1000000]0.0,,"M";[>=1000]0.0,"K";0'),
        ("down", "-3", '0 "up";0 "down"'),
        ("up", "3", '0 "up";0 "down"'),
        ("in red", "-2", '0 "kg";[Red]0 "kg"'),
        ("weight", "-2", '0 "kg";-0 "kg";"none"'),
        ("account", "-7.5", "#,##0.00_);(#,##0.00)"),
        ("share", "0.125", "0.00%_)"),
        ("degrees", "-4.5", '0.0 "°C"'),
    ),
    "empty_result.xlsx": styled(
        line(1, A="'x") + '<row r="2"><c r="A2" t="str"><f>IF(A1="","y","")</f><v></v></c><c r="B2"><f>A1&amp;"z"</f></c></row>'
    ),
    "phonetic.xlsx": with_relations(
        styled('<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'),
        "xl/workbook.xml",
        ("t1", "sharedStrings", "sharedStrings.xml"),
        **{
            "[Content_Types].xml": types(
                **{
                    f"xl/{name}.xml": f"openxmlformats-officedocument.spreadsheetml.{kind}"
                    for name, kind in {
                        "workbook": "sheet.main",
                        "styles": "styles",
                        "worksheets/sheet1": "worksheet",
                        "sharedStrings": "sharedStrings",
                    }.items()
                }
            ),
            "xl/sharedStrings.xml": f'<sst {SHEET}><si><t>東京</t><rPh sb="0" eb="2"><t>トウキョウ</t></rPh></si><si><r><t>Warr</t></r><r><t>anty</t></r></si></sst>',
        },
    ),
    "iso_dates.xlsx": styled(
        '<row r="1"><c r="A1" t="d"><v>2026-03-01T10:30:00</v></c><c r="B1" t="str"><f>A1</f><v>text</v></c><c r="C1" t="d"><v>2026-03-01</v></c></row>'
    ),
    "no_references.xlsx": styled("<row><c t='inlineStr'><is><t>a</t></is></c><c t='inlineStr'><is><t>b</t></is></c></row>"),
}
COMPATIBLE = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
OTHER_OFFICE = {
    "broken_title.pptx": pptx(
        shape("<a:p><a:r><a:t>Pumps</a:t></a:r><a:br/><a:r><a:t>and valves</a:t></a:r></a:p>", kind="title")
        + f"<mc:AlternateContent {COMPATIBLE}><mc:Choice Requires='p14'>{shape('Chosen')}</mc:Choice><mc:Fallback>{shape('Other')}</mc:Fallback></mc:AlternateContent>"
    ),
    "parts_of_words.odt": opened(
        "text",
        "<text:h text:outline-level='1'>Set<text:line-break/>up</text:h><text:p>so<text:soft-page-break/>ft, ru<text:alphabetical-index-mark/>n,"
        " <text:drop-down><text:label text:value='a'/>Chosen</text:drop-down> <text:bookmark-ref>see 4</text:bookmark-ref></text:p>"
        "<text:numbered-paragraph><text:p>numbered</text:p></text:numbered-paragraph>",
    ),
}


def rich(body: bytes) -> bytes:
    return rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}{\f1\fcharset2{\*\panose 05}Symbol;}}" + body + b"}"


RICH_TEXTS = {
    "text_box.rtf": rich(
        rb"\pard Above {\shp{\*\shpinst{\sp{\sn txflTextFlow}{\sv 0}}{\shptxt \pard In a box\par}}{\shprslt{\*\do\dpptxbx}}}line\par Below\par"
    ),
    "nested_cells.rtf": rich(
        rb"\pard\trowd\intbl A\cell\pard\intbl\itap2 in one\nestcell in two\nestcell{\*\nesttableprops\trowd\nestrow}\pard\intbl B\cell\row\pard After\par"
    ),
    "two_encodings.rtf": rich(rb"\pard {\upr{Gr??e}{\*\ud{Gr\u246?\u223?e}}} in {\f1 a}{\f1 \'b7}\par a\column b\par"),
}
PDF_FILES = {
    "raised.pdf": pdf(
        "BT /F1 10 Tf 50 700 Td (Load 10) Tj 4 Ts /F1 6 Tf (6) Tj 0 Ts /F1 10 Tf ( bytes of CO) Tj -2 Ts /F1 6 Tf (2) Tj 0 Ts /F1 10 Tf"
        " (, price) Tj 4 Ts /F1 6 Tf (12) Tj 0 Ts /F1 10 Tf (.) Tj ET\n"
        + show(50, 686, "In 2026 a small")
        + "\n"
        + show(122, 686, "7", 6)
    ),
    "twice.pdf": pdf("\n".join([show(50, 700, "WARRANTY"), show(50.3, 700, "WARRANTY"), show(50, 686, "Terms")])),
    "said_text.pdf": pdf("BT /F1 10 Tf 50 700 Td (of) Tj /Span << /ActualText (fice) >> BDC (xx) Tj EMC ( hours) Tj ET"),
    "bullets.pdf": pdf(
        "\n".join(
            show(left, 700 - 14 * at, text)
            for at, (sign, item) in enumerate([("\\225", "First item"), ("\\225", "Second item"), ("1.", "Third")])
            for left, text in ((50, sign), (62, item))
        )
    ),
}

FILES: Mapping[str, bytes] = {
    **{name: text.encode() for name, text in {**PAGES, **TEXTS}.items()},
    **{name: text.encode(encoding) for name, (text, encoding) in ENCODINGS.items()},
    **MAIL,
    **NOTEBOOKS,
    **BOOKS,
    **WORD_FILES,
    **SHEET_FILES,
    **OTHER_OFFICE,
    **RICH_TEXTS,
    **PDF_FILES,
}

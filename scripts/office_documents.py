"""The Office, OpenDocument and PDF files of `make_test_documents.py`."""

from __future__ import annotations

from collections.abc import Mapping

from office_files import (
    MATH,
    cell,
    docx,
    field,
    line,
    listed,
    opened,
    para,
    pdf,
    pptx,
    row,
    run,
    shape,
    show,
    table,
    typed,
    xlsx,
)

BOX = f"<w:txbxContent>{para(run('Text in a box'))}</w:txbxContent>"
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
RAISED = '<style:style style:name="up" style:family="text"><style:text-properties style:text-position="super 58%"/></style:style>'
STRUCK = '<style:style style:name="out" style:family="text"><style:text-properties style:text-line-through-style="solid"/></style:style>'
CHANGE = "<text:tracked-changes><text:changed-region><text:deletion><text:p>gone</text:p></text:deletion></text:changed-region></text:tracked-changes>"
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

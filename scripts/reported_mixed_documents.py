"""Files of all formats of `make_test_documents.py` that are read less often, each with a kind of fault from public bug reports."""

from __future__ import annotations

import re
from collections.abc import Mapping

from office_files import WORD, docx, opened, para, pdf, pptx, run, shape, show
from other_documents import MIXED, code, message, notebook, shown
from reported_office_documents import changed, with_relations

PAGES = {
    "layout.html": "<table role=presentation><tr><td><table><tr><td><h1>News</h1><tr><td><p>One</p><ul><li>Two</ul></table><td><p>Side</p></table><p>End</p>",
    "column_of_data.html": "<table><tr><th>City<tr><td>Graz<tr><td>Linz</table>",
    "row_span_rest.html": "<table><tr><td rowspan=0>Graz<td>Mon<tr><td>Tue</table>",
    "colspan_excess.html": "<table><tr><th colspan=99>Prices<tr><td>Bolt<td>2.50</table>",
    "indices.html": "<p><math><msub><mi>a</mi><mn>1</mn></msub><mo>+</mo><msubsup><mi>x</mi><mrow><mi>i</mi><mo>+</mo><mn>1</mn></mrow><mn>2</mn></msubsup>"
    "<mo>=</mo><msqrt><mi>b</mi></msqrt><munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover><mroot><mi>c</mi><mn>3</mn></mroot></math></p>",
    "formula_twice.html": "<p>Area <span class=katex><span class=katex-mathml><math><mi>r</mi></math></span><span class=katex-html aria-hidden=true>r</span></span></p>",
    "tex_script.html": "<p>Area <script type='math/tex'>\\pi r^2</script> of a circle</p><script type='math/tex; mode=display'>a < b</script>",
    "linked_card.html": "<a href='/pump'><div><h3>Pump</h3></div><div><p>Ten litres</p></div></a><ul><li><a href='/valve'><div>Valve</div><div>Brass</div></a></ul>",
    "fields.html": "<form><label>Name</label><input value='Ann Weber'><input type=hidden value=secret><input type=password value=secret>"
    "<input type=search placeholder='Find a part'><textarea>Remarks</textarea><input type=submit value='Send now'></form>",
    "frame_page.html": "<p>Above</p><iframe srcdoc='<h2>Inside</h2><p>x &amp;amp; y</p>'></iframe><iframe src=https://example.org></iframe>",
    "sections_closed.html": "<details><summary>Terms</summary><h2>Fees</h2><p>Five euros.</p></details>",
    "code_in_items.html": "<ol><li>Run:<pre><code class=language-sh>a b\n  c\n</code></pre>then<ul><li>stop<pre>x\ny</pre></ul><li>Look</ol>",
    "conditional_comments.html": "<!--[if mso]><p>For Outlook</p><![endif]--><!--[if !mso]><!--><p>For others</p><!--<![endif]-->",
    "nested_tables.html": "<table><tr><th>Site<th>Open<tr><td>Graz<td><table><tr><td>Mon<td>9</table></table>",
    "head_rows.html": "<table><thead><tr><th>A<th>B<tr><th>a<th>b<tbody><tr><td>1<td>2</table>",
    "soft.html": "<p>over&shy;view, super<wbr>calm, a&nbsp;b&#8203;c &notit; &copy2026 AT&T &#150;</p>",
    "lines_as_text.html": "<p>Fees<br>=====</p><p>- dash</p><p>1) one</p><p>&gt; quote</p>",
    "no_frames.html": "<html><head><title>Old</title></head><frameset cols='*,*'><frame src=a><noframes><p>Without frames</p></noframes></frameset></html>",
}

MAIL = {
    "no_boundary.eml": message(
        "Subject: Plan", "MIME-Version: 1.0", "Content-Type: multipart/mixed", body="Text without parts\n"
    ),
    "cut_off.eml": message(
        "Subject: Plan", "MIME-Version: 1.0", MIXED.format("mixed"), body="--cut\nContent-Type: text/plain\n\nText goes on"
    ),
    "calendar.eml": message(
        "Subject: Review",
        "Content-Type: text/calendar; charset=utf-8",
        body="BEGIN:VCALENDAR\nSUMMARY:Pump review\nEND:VCALENDAR\n",
    ),
    "html_or_calendar.eml": message(
        "Subject: Review",
        "MIME-Version: 1.0",
        MIXED.format("alternative"),
        body="--cut\nContent-Type: text/calendar\n\nBEGIN:VCALENDAR\n--cut\nContent-Type: text/html\n\n<p>Rich <b>words</b></p>\n--cut--\n",
    ),
    "winmail.eml": message(
        "Subject: Plan",
        "MIME-Version: 1.0",
        MIXED.format("mixed"),
        body="--cut\nContent-Type: text/plain\n\nSee there\n--cut\nContent-Type: application/ms-tnef; name=winmail.dat\n"
        "Content-Disposition: attachment; filename=winmail.dat\nContent-Transfer-Encoding: base64\n\neJ8+\n--cut--\n",
    ),
    "soft_breaks.eml": message(
        "Subject: =?iso-8859-1?q?Gr=FC=DFe?= =?utf-8?b?IPCfkYs=?=",
        "Content-Type: text/html; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        body="<p>caf=C3=A9 =\nbar =3D 1</p>",
    ),
    "from_in_text.mbox": b"From a@example.org Mon Mar  2 10:00:00 2026\nSubject: First\n\n# Prices\nFrom 2024 on, prices of 2025 at 10:00\nhold.\n\n"
    b"From b@example.org Mon Mar  2 10:00:00 2026\nSubject: Second\n\nTwo\n",
}

NOTEBOOKS = {
    "html_output.ipynb": notebook(code("show()", shown(text_html="<b>Bold</b> words"))),
    "version_3.ipynb": b'{"nbformat": 3, "metadata": {"name": ""}, "worksheets": [{"cells": [{"cell_type": "heading", "level": 2, "source": ["Flow"]},'
    b'{"cell_type": "code", "input": ["x = 1"], "outputs": [{"output_type": "pyout", "text": ["1"]}]}]}]}',
}

TEXTS = {
    "no_blank_lines.srt": "1\n00:00:01,000 --> 00:00:02,000\nThe pump\n2\n00:00:03,000 --> 00:00:04,000\n1984\n",
    "karaoke.vtt": "WEBVTT - Talk\nKind: captions\n\n00:01.000 --> 00:02.000\n<00:01.100><c>The</c> <00:01.500><c.x>pump</c>\n",
    "borders.adoc": "= Pumps\n\nNOTE: Careful\n\n====\nAn example\n====\n\n--\nAn open block\n--\n\n```ruby\n= no heading\n```\n\n____\nQuoted\n____\n",
    "rule.org": "* Pumps\nAbove\n-----\nBelow\n",
    "colons.rst": "Pumps\n=====\n\nRun ::\n\n    pump --on\n\nOr this::\n\n    pump --off\n",
    "comments.tex": "\\begin{document}Shown\n\\begin{comment}\nhidden\n\\end{comment}\n\\iffalse hidden \\fi too.\\end{document}",
    "gbk.xml": "<?xml version='1.0' encoding='gbk'?><a><title>运输</title><p>包裹三天内送达</p></a>",
    "broken_matter.md": "---\ntitle: [open\n---\n\n# Shown\n",
}


def pasted(name: str, part: bytes) -> bytes:
    """Return a Word document that shows another file in place."""
    return with_relations(
        docx(para(run("Above")) + '<w:altChunk r:id="a1"/>' + para(run("Below"))),
        "word/document.xml",
        ("a1", "aFChunk", name),
        **{f"word/{name}": part},
    )


EMBEDDED = '<w:r><w:object><o:OLEObject xmlns:o="urn:schemas-microsoft-com:office:office" Type="Embed" ProgID="{}" r:id="{}"/></w:object></w:r>'
OFFICE = {
    "pasted_document.docx": pasted("part.docx", docx(para(run("Pasted"), style="berschrift1") + para(run("Text")))),
    "pasted_rich_text.docx": pasted("part.rtf", rb"{\rtf1\ansi Rich {\super 2}\par}"),
    "pasted_archive.docx": pasted("part.mht", b"MIME-Version: 1.0\nContent-Type: text/html\n\n<p>Saved page</p>"),
    "embedded.docx": with_relations(
        docx(
            para(run("Above"))
            + para(EMBEDDED.format("Word.Document.12", "o1"), EMBEDDED.format("Package", "o2"))
            + para(run("Below"))
        ),
        "word/document.xml",
        ("o1", "package", "embeddings/one.docx"),
        ("o2", "package", "embeddings/two.bin"),
        **{"word/embeddings/one.docx": docx(para(run("Inside")))},
    ),
    "two_paragraph_note.docx": docx(
        para(run("Net"), '<w:r><w:footnoteReference w:id="2"/></w:r>'),
        notes='<w:footnote w:type="separator" w:id="-1"><w:p><w:r><w:separator/></w:r></w:p></w:footnote><w:footnote w:id="2">'
        + para(run("Without tax."))
        + para(run("In Austria."))
        + "</w:footnote>",
    ),
    "code.docx": changed(
        docx(
            para(run("Above"))
            + "".join(para(run(line), style="Code") for line in ("def f():", "", "    return a &lt; b"))
            + para(run("Below"))
        ),
        {
            "word/styles.xml": f"<w:styles {WORD}><w:style w:type='paragraph' w:styleId='Code'><w:name w:val='Code'/></w:style></w:styles>"
        },
    ),
    "code.odt": opened(
        "text",
        '<text:p>Above</text:p><text:p text:style-name="P1">def f():</text:p><text:p text:style-name="P1"><text:s text:c="4"/>return 1</text:p><text:p>Below</text:p>',
        '<style:style style:name="P1" style:family="paragraph" style:parent-style-name="Preformatted_20_Text"/>',
    ),
    "vertical_tab.pptx": pptx(shape("Flow", kind="title") + shape("<a:p><a:r><a:t>First_x000B_second</a:t></a:r></a:p>")),
}


def form(page: str, *fields: str) -> bytes:
    """Return a PDF form of one page."""
    numbers = range(7, 7 + len(fields))
    references = " ".join(f"{number} 0 R" for number in numbers)
    data = pdf(page, outline=f"/AcroForm << /Fields [{references}] /DA (/F1 10 Tf) >>").decode("latin-1")
    data = data.partition("xref\n")[0].replace("/MediaBox", f"/Annots [{references}] /MediaBox")
    for number, about in zip(numbers, fields, strict=True):
        place = f"/Rect [50 {600 - 20 * number} 200 {615 - 20 * number}] /F 4 /P 5 0 R"
        data += f"{number} 0 obj\n<< /Type /Annot /Subtype /Widget {place} {about} >>\nendobj\n"
    offsets = {int(match[1]): match.start() for match in re.finditer(r"^(\d+) 0 obj", data, re.MULTILINE)}
    entries = "".join(f"{offsets[number]:010d} 00000 n \n" for number in sorted(offsets))
    size = len(offsets) + 1
    trailer = f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{len(data)}\n%%EOF"
    return f"{data}xref\n0 {size}\n0000000000 65535 f \n{entries}{trailer}".encode("latin-1")


FORMS = {
    "form.pdf": form(
        show(50, 700, "Application"),
        "/FT /Tx /T (name) /TU (Full name) /V (Ann Weber)",
        "/FT /Tx /T (empty)",
        "/FT /Btn /T (agreed) /V /Yes /AS /Yes /AP << /N << /Yes 6 0 R /Off 6 0 R >> >>",
        "/FT /Btn /T (paid) /V /Off /AS /Off /AP << /N << /Yes 6 0 R /Off 6 0 R >> >>",
        "/FT /Ch /Ff 131072 /T (size) /V (Large) /Opt [(Small) (Large)]",
        "/FT /Tx /Ff 8192 /T (password) /V (secret)",
    ),
}

FILES: Mapping[str, bytes] = {
    **{name: text.encode("gbk" if name == "gbk.xml" else "utf-8") for name, text in {**PAGES, **TEXTS}.items()},
    **MAIL,
    **NOTEBOOKS,
    **OFFICE,
    **FORMS,
}

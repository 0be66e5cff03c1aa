"""Web pages, mail, books, notebooks and markup of `make_test_documents.py`, each with a kind of fault from public bug reports."""

from __future__ import annotations

from collections.abc import Mapping

from other_documents import MIXED, PARTS, code, epub, message, notebook, outlook, shown

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="

PAGES = {
    "base.html": "<base href='https://example.org/docs/'><p>See <a href='terms.html#fees'>the terms</a>.</p>",
    "dates.html": "<html lang=en><meta property='article:published_time' content='2026-03-01'><meta name=author content='A. Weber'>"
    "<meta property=og:description content='What counts'><time datetime=2026-04-05>5 April</time><p>Text</p>",
    "cookies.html": "<body class=cookie-bar-open><div id=cookie-banner>We use cookies. <button>OK</button></div><p>Cookies are baked at 180 degrees.</p>",
    "main.html": "<header><h1>Fees</h1></header><nav>Start</nav><main><h2 id=abroad>Abroad</h2><p>5 euros</p></main><aside>Advert</aside><footer>2026</footer>",
    "article.html": "<p>Subscribe</p><article><h1>Fees</h1><p>Five euros for each transfer abroad.</p><footer>A. Weber</footer></article>",
    "emphasis_in_word.html": "<p><b>W</b>arranty, <i>un</i>usual, <b>Warr</b><i>anty</i>, <b>bold</b> <i>italic</i>, (<em>x</em>)</p>",
    "numbers.html": "<ol start=3><li>three<li value=7>seven<li>eight</ol><ol type=a><li>first<li>second</ol><ol reversed><li>two<li>one</ol>",
    "line_numbers.html": "<table class=highlighttable><tr><td class=linenos><pre>1\n2</pre></td><td class=code><pre>if a:\n    b()</pre></td></tr></table>",
    "list_in_cell.html": "<table><tr><th>Site<th>Open<tr><td>Graz<td><ul><li>Mon<li>Tue</ul><tr><td>Linz<td><h3>Wed</h3>Thu<br>Fri</table>",
    "ruby.html": "<p><ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby>字</p>",
    "math.html": "<p><math><mfrac><mi>a</mi><mi>b</mi></mfrac><msup><mi>x</mi><mn>2</mn></msup></math> and <math><mtable><mtr><mtd><mn>1</mn></mtd>"
    "<mtd><mn>2</mn></mtd></mtr><mtr><mtd><mn>3</mn></mtd><mtd><mn>4</mn></mtd></mtr></mtable></math></p>",
    "picture.html": "<picture><source srcset=a.webp><img src=a.png alt='Pump curve'></picture><img src=b.png alt=''><p>Below</p>",
    "select.html": "<label>Size</label><select><option>Small<option selected>Large</select><button>Send</button><button>Clear</button>",
    "details.html": "<details><summary>Returns</summary><p>Within 14 days.</p></details><dialog>Shown later</dialog>",
    "nested_list.html": "<ul><li>one</li><ul><li>inner</li></ul><li>two</li></ul>",
    "block_link.html": "<a href='/a'><h2>Pumps</h2><p>For water</p></a><a href='/b'><div>Valves</div></a>",
    "display_block.html": "<p><span style='display:block'>Street 1</span><span style='display: block'>Graz</span></p>",
    "self_closed.xhtml": "<?xml version='1.0'?><html xmlns='http://www.w3.org/1999/xhtml'><head><title/><script src='x.js'/></head>"
    "<body><a id='top'/><p>Shown <s/>text</p><![CDATA[a < b]]></body></html>",
    "declared_later.html": "<!-- " + "x" * 1100 + " --><meta charset=windows-1252><p>Größe, façade</p>",
    "header_footer.html": "<article><header><h2>Pump</h2></header><p>A pump that moves ten litres of water a minute.</p></article><footer>Imprint</footer>",
    "table_sections.html": "<table><tfoot><tr><td>Sum<td>3</tfoot><tbody><tr><td>Bolt<td>1<tr><td>Nut<td>2</tbody><thead><tr><th>Item<th>No</thead></table>",
    "breaks.html": "<p>Graz<br>Linz<br/>Wien</p><address>Street 1<br>8010 Graz</address>",
    "keys.html": "<p>Press <kbd>Ctrl</kbd>+<kbd>C</kbd>, then <code>a`b</code> and <q>quoted</q>.</p>",
}

MAIL = {
    "list_footer.eml": message(
        "Subject: News",
        "MIME-Version: 1.0",
        MIXED.format("mixed"),
        body="--cut\nContent-Type: text/html\n\n<p>The news itself</p>\n--cut\nContent-Type: text/plain\n\nList footer\n--cut--\n",
    ),
    "related.eml": message(
        "Subject: Plan",
        "MIME-Version: 1.0",
        MIXED.format("related"),
        body="--cut\nContent-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/plain\n\nPlain plan\n--in\nContent-Type: text/html\n\n"
        "<p>Rich plan</p>\n--in--\n--cut\nContent-Type: image/png; name=a.png\n\nx\n--cut--\n",
    ),
    "wrong_latin1.eml": message(
        "Subject: Price", "Content-Type: text/plain; charset=iso-8859-1", body="“Five” €\n", charset="cp1252"
    ),
    "wrong_ascii.eml": message("Subject: Price", "Content-Type: text/plain; charset=us-ascii", body="Fünf Grüße\n"),
    "html_declares.eml": message(
        "Subject: Size",
        "Content-Type: text/html; charset=utf-8",
        body="<html><head><meta http-equiv=Content-Type content='text/html; charset=iso-8859-1'></head><p>Größe</p></html>",
    ),
    "flowed.eml": message(
        "Subject: Flow",
        "Content-Type: text/plain; charset=utf-8; format=flowed",
        body="The fee is \nfive euros.\n From here on\n> quoted \n> words\n-- \nAnn\n",
    ),
    "raw_subject.eml": message("Subject: Rückgabe", body="Text\n"),
    "forwarded.eml": message(
        "Subject: Fwd",
        "MIME-Version: 1.0",
        MIXED.format("mixed"),
        body="--cut\nContent-Type: text/plain\n\nSee below\n--cut\nContent-Type: message/rfc822\n\nSubject: Inner\nFrom: bo@example.org\n\nInner text\n--cut--\n",
    ),
    "mark.eml": b"\xef\xbb\xbf" + message("Subject: Marked", body="Text\n"),
    "invitation.eml": message(
        "Subject: Meeting",
        "MIME-Version: 1.0",
        MIXED.format("alternative"),
        body=PARTS.format("--cut\nContent-Type: text/calendar; charset=utf-8\n\nBEGIN:VCALENDAR\nEND:VCALENDAR\n"),
    ),
}

BOOKS = {
    "self_closed.epub": epub("<h1>Pumps</h1><a id='p7'/><p>First.</p><script src='x.js'/><p>Second <s/>words.</p>"),
    "ruby.epub": epub("<p><ruby>漢<rt>かん</rt></ruby>字 and <del>old</del> new</p>"),
}

NOTEBOOKS = {
    "progress.ipynb": notebook(
        code("train()", {"output_type": "stream", "text": ["10%\r", "50%\r", "100%\n", "done\r\n"]}),
    ),
    "pasted.ipynb": notebook(
        {
            "cell_type": "markdown",
            "source": f"# Curves\n![curve](data:image/png;base64,{PIXEL * 20})\n![a](attachment:a.png)",
            "attachments": {"a.png": {"image/png": PIXEL}},
        },
        code("1/0", {"output_type": "error", "ename": "Error", "evalue": "\u001b[31mbad\u001b[0m value", "traceback": []}),
        code("x", shown(text_plain="x", text_latex="$x$")),
    ),
}

TEXTS = {
    "pasted.md": f"# Curves\n\n![Pump curve](data:image/png;base64,{PIXEL * 20})\n\n![Flow][image1]\n\nText\n\n[image1]: <data:image/png;base64,{PIXEL * 20}>\n",
    "anchors.md": '# Fees {#fees}\n\nFive.\n\n<a name="abroad"></a>\n## Abroad\n\nSix.\n',
    "blank_in_cue.srt": "1\n00:00:01,000 --> 00:00:02,000\nThe pump\n\nand the valve\n\n2\n00:00:03,000 --> 00:00:04,000\nare closed.\n",
    "rolling.vtt": "WEBVTT\n\n00:01.000 --> 00:02.000\nThe pump\n\n00:02.000 --> 00:03.000\nThe pump\nis closed\n\n00:03.000 --> 00:04.000\nis closed\ntoday\n",
    "roles.rst": "Pumps\n=====\n\nSee :ref:`the terms <terms>` and ``a_b``.\n\n.. _terms:\n\n.. list-table::\n\n   * - Bolt\n     - 2.50\n\n.. image:: a.png\n   :alt: Pump curve\n",
    "table.org": "* Prices\n| Item | Price |\n|------+-------|\n| Bolt |  2.50 |\n\n- [X] done\n- [ ] open\n",
    "accents.tex": "\\documentclass{article}\\begin{document}Stra\\ss e, \\c{c}a, \\v{c}, \\o{} and caf\\'e --- ``quoted''\\dots\\ 5~\\euro\n\\begin{tabular}{ll}a & b \\\\ c & d\\end{tabular}\\end{document}",
}


def text_file(name: str, text: str) -> bytes:
    return text.encode("cp1252" if name == "declared_later.html" else "utf-8")


FILES: Mapping[str, bytes] = {
    **{name: text_file(name, text) for name, text in {**PAGES, **TEXTS}.items()},
    **MAIL,
    **BOOKS,
    **NOTEBOOKS,
    "codepage.msg": outlook(codepage=950, p0037="尾牙活動", p1000="部門聚餐\r\n十二月"),
}

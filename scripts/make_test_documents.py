"""Write the small input files of `tests/documents/`, one per kind of fault. `stored.jsonl` there has what each must become.

python scripts/make_test_documents.py
"""

from __future__ import annotations

from pathlib import Path

import office_documents
import other_documents
import reported_mixed_documents
import reported_odd_documents
import reported_office_documents
import reported_page_documents

FOLDER = Path(__file__).parent.parent / "tests" / "documents"

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="

PAGES = {
    # superscripts, subscripts, struck-out text
    "superscript": "<p>Load 3 &times; 10<sup>9</sup> bytes by 2031<sup>2</sup>, drift 10<sup>-6</sup>, 40 m<sup>3</sup>.</p>",
    "subscript": "<p>CO<sub>2</sub> and x<sub>max</sub></p>",
    "struck_out": "<p><s>12</s> <del>13</del> <strike>14</strike> <b style='color:red; TEXT-DECORATION: line-through'>15</b> 16</p>",
    "struck_out_nested": "<p style='text-decoration-line:line-through'>old <span>rate</span></p><p>new rate</p>",
    "struck_out_unclosed": "<p style='text-decoration:line-through'>first<p>second</p><p>third</p>",
    # words that are apart stay apart
    "inline_spaces": "<p>press<b> </b>the <i>red</i><i> </i><i>button</i>, then<code> </code>wait<em>&nbsp;</em>a<a href='m'> </a>minute</p>",
    "bold_label": "<p><b>Sum: </b>250 <b>Tax:</b> 19</p>",
    "blocks": "<div>one</div><div>two</div><section>three</section>four<p>five</p>six<address>seven</address>eight",
    "line_break": "<p>Line one<br>Line two<br/>Line three</p>",
    "navigation": "<nav><a href='/'>Start</a><a href='/b'>Blog</a></nav><aside>Topics</aside><main><h1>Returns</h1></main><footer>Legal</footer>",
    "form": "<form><label>Reason</label> <select><option>Damaged</option><option>Late</option></select><button>Send</button></form>",
    "list_items": "<ul><li>alpha<li>beta<ul><li>gamma</ul><li>delta</ul><ol start=3><li>third<li>fourth</ol>",
    "definitions": "<dl><dt>SLA<dd>Service level agreement<dt>RPO<dd>Recovery point objective</dl>",
    # optional tags, broken markup
    "head_unclosed": "<!DOCTYPE html><html lang=en><head><title>Warranty</title><body><h1>Claims</h1><p>Within 30 days.</p></body></html>",
    "tags_omitted": "<!DOCTYPE html><title>Omitted</title><h2>List</h2><p>Before<table><tr><td>a<td>b<tr><td>c<td>d</table>After",
    "paragraphs_open": "<title>Many</title>" + "".join(f"<p>Item {number}\n" for number in range(420)),
    "after_body": "<html><body><p>Inside</p></body></html><p>Behind</p>",
    "unclosed_script": "<p>Shown</p><script>if (a < b) hidden()",
    "unclosed_style": "<p>Shown</p><STYLE>p { hidden: 1 }",
    "instructions": "<?xml version='1.0'?><p>Shown<!-- hidden --> too<?php echo 'hidden'; ?></p>",
    "deep": "<div>" * 900 + "Bottom" + "</div>" * 900,
    # titles and metadata
    "svg_title": "<button><svg><title>Open menu</title><path d='M0'/></svg></button><h1>Returns</h1><p>Text</p>",
    "script_title": "<script>x = '<title>Hidden</title>'</script><title>Shown &amp;\n true</title><p>Text</p>",
    "metadata": "<html lang=de-AT><head><title>Garantie</title><meta name=description content='Was gilt'>"
    "<link rel=canonical href='https://example.org/garantie'></head><body><p>Zwei Jahre.</p></body></html>",
    "permalink": "<h2>Limits<a class=headerlink href='#limits' title='Permalink'>¶</a></h2><p>None.</p>",
    # tables
    "colspan": "<table><tr><th rowspan=2>Site</th><th colspan=2>Hours</th></tr><tr><th>Mon</th><th>Tue</th></tr>"
    "<tr><td>Graz</td><td>9</td><td>10</td></tr></table>",
    "pipe": "<table><tr><th>Op</th></tr><tr><td>a|b</td></tr><tr><td><code>c||d</code></td></tr></table>",
    "cell_blocks": "<table><tr><th>Key</th><th>Value</th></tr><tr><td>a<br>b</td><td><p>c</p><p>d</p></td></tr></table>",
    "caption": "<table><caption>Prices</caption><tr><th>Item</th></tr><tr><td>Bolt</td></tr></table>",
    # text as it is
    "identifiers": "<p>Set retry_max_wait to 3; __enter__, *args and setup_v2.cfg stay.</p>",
    "code": "<pre><code class='language-python'>def f(a_b):\n    return a_b * 2\n</code></pre>",
    "no_list": "<p># no heading</p><p>1. no list</p>",
    "entities": "<p>&lt;b&gt; &amp; &#8364; &#x80; &copy;</p>",
    "rule_after_quote": "<blockquote cite='https://example.org'>Quoted</blockquote><hr><p>Below</p>",
    "hidden_panel": "<div role=tabpanel hidden>Second tab</div><template>Template</template><noscript>No script</noscript><p>Shown</p>",
    # pictures in the page
    "data_address": f"<p>Above</p><img alt='Pump curve' src='data:image/png;base64,{PIXEL * 40}'><p>Below</p>",
    "data_address_bare": f"<p>Above</p><img src='data:image/png;base64,{PIXEL}'><p>Below</p>",
}

ENCODINGS = {
    "gb18030.html": ("<meta charset=gb2312><title>运输</title><p>包裹三天内送达</p>", "gb18030"),
    "windows1251.html": ('<META http-equiv="Content-Type" content="text/html; charset=windows-1251"><p>Возврат</p>', "cp1251"),
    "latin1.html": ("<meta charset='iso-8859-1'><p>Größe – 5 €</p>", "cp1252"),
    "shift_jis.html": ("<meta charset=Shift_JIS><p>返品は十四日以内</p>", "cp932"),
    "xml_declaration.html": ("<?xml version='1.0' encoding='ISO-8859-2'?><html><p>Żółć</p></html>", "iso8859-2"),
    "utf16_mark.html": ("<title>Größe</title><p>Maß</p>", "utf-16"),
    "utf8_mark.html": ("\ufeff<p>Maß</p>", "utf-8"),
    "utf16_mark.txt": ("Grüße aus Köln: 7 €.\n", "utf-16"),
    "utf16_le.txt": ("Plain text without a mark.\n", "utf-16-le"),
    "utf16_be.txt": ("Plain text without a mark.\n", "utf-16-be"),
    "utf32_mark.txt": ("Grüße\n", "utf-32"),
}

MARKDOWN = {
    "comment_heading.md": "<!-- # hidden -->\n<!--\n# license\n-->\n# Shown heading\n\nText.\n",
    "fence_heading.md": "```sh\n# hidden\n```\n\nShown heading\n=============\n",
}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, markup in PAGES.items():
        (FOLDER / f"{name}.html").write_text(markup, "utf-8")
    for name, (text, encoding) in ENCODINGS.items():
        (FOLDER / name).write_bytes(text.encode(encoding))
    for name, text in MARKDOWN.items():
        (FOLDER / name).write_text(text, "utf-8")
    for name, data in {
        **office_documents.FILES,
        **other_documents.FILES,
        **reported_page_documents.FILES,
        **reported_office_documents.FILES,
        **reported_mixed_documents.FILES,
        **reported_odd_documents.FILES,
    }.items():
        (FOLDER / name).write_bytes(data)


if __name__ == "__main__":
    main()

"""The mail, e-books, notebooks and markup files of `make_test_documents.py`."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from office_files import zipped


def message(*headers: str, body: str, charset: str = "utf-8") -> bytes:
    head = "\r\n".join(
        ("From: Ann Weber <ann@example.org>", "To: Bo <bo@example.org>", "Date: Mon, 2 Mar 2026 10:00:00 +0100", *headers)
    )
    return head.encode() + b"\r\n\r\n" + body.replace("\n", "\r\n").encode(charset)


MIXED = "Content-Type: multipart/{}; boundary=cut"
PARTS = "--cut\nContent-Type: text/plain; charset=utf-8\n\nPlain words\n--cut\nContent-Type: text/html\n\n<p>Rich words</p>\n{}--cut--\n"
ATTACHED = '--cut\nContent-Type: application/pdf\nContent-Disposition: attachment; filename="Offer 7.pdf"\n\nJVBERg==\n'
NESTED = (
    f"--cut\n{MIXED.format('alternative').replace('cut', 'in')}\n\n{PARTS.format('').replace('cut', 'in')}{ATTACHED}--cut--\n"
)
MAIL_FILES = {
    "plain.eml": message(
        "Subject: =?utf-8?q?R=C3=BCckgabe?=", "Message-ID: <7@example.org>", body="Within 14 days.\n\n-- \nAnn\n"
    ),
    "latin1.eml": message(
        "Subject: Size", "Content-Type: text/plain; charset=iso-8859-1", body="Größe 10 m²\n", charset="latin-1"
    ),
    "undeclared.eml": message("Subject: Size", "Content-Type: text/plain; charset=unheard-of", body="Größe\n"),
    "quoted_printable.eml": message(
        "Subject: Fee",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        body="The fee is 5 =E2=82=AC and the word is un=\nbroken.\n",
    ),
    "alternative.eml": message("Subject: Offer", "MIME-Version: 1.0", MIXED.format("alternative"), body=PARTS.format("")),
    "html_only.eml": message(
        "Subject: Offer",
        "Content-Type: text/html; charset=utf-8",
        body="<h1>Offer</h1><table><tr><td>Bolt</td><td>2.50</td></tr></table>",
    ),
    "attachment.eml": message("Subject: Offer", "MIME-Version: 1.0", MIXED.format("mixed"), body=NESTED),
    "malformed_header.eml": message("Subject: Odd", 'Cc: "unclosed <x@', body="Text\n"),
    "box.mbox": b"From ann@example.org Mon Mar  2 10:00:00 2026\n"
    + message("Subject: First", body="One\n>From here on\n")
    + b"\n\nFrom bo@example.org Tue Mar  3 10:00:00 2026\n"
    + message("Subject: Second", body="Two\n"),
}


SECTOR, FREE, END, MARK_OF_TABLE = 512, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def compound(streams: Mapping[str, bytes]) -> bytes:
    """Return a compound file with these streams at its root. Each is filled up to the least size outside of the short streams."""
    filled = {name: data + bytes(max(0, 4096 - len(data))) for name, data in streams.items()}
    directory_sectors = -(-(len(filled) + 1) // 4)
    table = [MARK_OF_TABLE, *range(2, directory_sectors + 1), END]
    entries, body = [entry("Root Entry", 5, END, 0, child=0xFFFFFFFF if not filled else 1)], b""
    for number, (name, data) in enumerate(sorted(filled.items(), key=lambda each: (len(each[0]), each[0].upper())), 1):
        start, count = len(table), -(-len(data) // SECTOR)
        table += [*range(start + 1, start + count), END]
        entries.append(entry(name, 2, start, len(data), right=number + 1 if number < len(filled) else FREE))
        body += data.ljust(count * SECTOR, b"\0")
    entries += [bytes(64) + struct.pack("<2xBx3I", 0, FREE, FREE, FREE).ljust(64, b"\0")] * (4 * directory_sectors - len(entries))
    header = struct.pack(
        "<8s16xHHHHH6xIIIIIIIII", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 62, 3, 0xFFFE, 9, 6, 0, 1, 1, 0, 4096, END, 0, END, 0
    )
    header += struct.pack("<109I", 0, *[FREE] * 108)
    return header + struct.pack("<128I", *table, *[FREE] * (128 - len(table))) + b"".join(entries) + body


def entry(name: str, kind: int, start: int, size: int, *, right: int = FREE, child: int = FREE) -> bytes:
    """Return an entry of the directory of a compound file."""
    wide = name.encode("utf-16-le")
    return wide.ljust(64, b"\0") + struct.pack("<HBBIII36xIQ", len(wide) + 2, kind, 1, FREE, right, child, start, size)


def outlook(sent: int = 0, codepage: int = 0, **texts: str) -> bytes:
    """Return an Outlook message of properties: tag, and text of the property, in UTF-16 or in a codepage."""
    kind, encoding = ("001E", f"cp{codepage}") if codepage else ("001F", "utf-16-le")
    streams = {f"__substg1.0_{tag[1:]}{kind}": text.encode(encoding) for tag, text in texts.items()}
    facts = struct.pack("<IIQ", 0x00390040, 6, sent) + struct.pack("<IIQ", 0x3FFD0003, 6, codepage)
    return compound({**streams, "__properties_version1.0": bytes(32) + facts})


OUTLOOK_FILES = {
    "message.msg": outlook(
        sent=134169156000000000,
        p0037="Rückgabe",
        p1000="Within 14 days.\r\nGröße 10.",
        p0C1A="Ann Weber",
        p5D01="ann@example.org",
        p0E04="Bo",
    ),
}


def epub(*chapters: str, order: tuple[int, ...] = ()) -> bytes:
    numbers = range(1, len(chapters) + 1)
    items = "".join(f'<item id="c{each}" href="text/c{each}.xhtml" media-type="application/xhtml+xml"/>' for each in numbers)
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
            "OPS/book.opf": '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            "<dc:title>Pumps &amp; valves</dc:title><dc:creator>A. Weber</dc:creator><dc:language>en</dc:language></metadata>"
            f'<manifest>{items}<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/></manifest>'
            f'<spine><itemref idref="n"/>{"".join(f"<itemref idref={each!r}/>" for each in (f"c{one}" for one in order or numbers))}</spine></package>',
            "OPS/nav.xhtml": "<html><body><nav>Contents</nav></body></html>",
            **{
                f"OPS/text/c{number}.xhtml": '<?xml version="1.0" encoding="utf-8"?><!DOCTYPE html><html xmlns="http://www.w3.org/1999/xhtml">'
                f"<head><title>c</title></head><body>{chapter}</body></html>"
                for number, chapter in enumerate(chapters, 1)
            },
        }
    )


BOOK_FILES = {
    "chapters.epub": epub("<h1>Valves</h1><p>Closed.</p>", "<h1>Pumps</h1><p>10<sup>6</sup> l</p>", order=(2, 1)),
    "footnote.epub": epub(
        "<h1>Pumps</h1><p>Net<a epub:type='noteref' href='#f'>1</a> price</p><aside epub:type='footnote' id='f'><p>Without tax.</p></aside>"
    ),
}


def notebook(*cells: dict[str, Any], **more: Any) -> bytes:
    about = {"language_info": {"name": "python"}, **more}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": about, "cells": cells}, indent=1).encode()


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source.splitlines(keepends=True), "outputs": outputs}


def shown(**data: str) -> dict[str, Any]:
    return {"output_type": "execute_result", "data": {name.replace("_", "/"): text for name, text in data.items()}}


NOTEBOOK_FILES = {
    "cells.ipynb": notebook(
        {"cell_type": "markdown", "source": ["# Flow\n", "\n", "Measured *twice*."]},
        code("x = 1\nprint(x)", {"output_type": "stream", "name": "stdout", "text": ["1\n"]}),
        {"cell_type": "raw", "source": "As it is"},
    ),
    "outputs.ipynb": notebook(
        code("plot()", shown(text_plain="<Figure size 640x480>", image_png="iVBORw0KGgo=")),
        code("frame", shown(text_plain="  a\n0 1", text_html="<table><tr><th>a</th></tr><tr><td>01</td></tr></table>")),
        code(
            "1/0",
            {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "division by zero", "traceback": ["\u001b[31mlong"]},
        ),
        code("log()", {"output_type": "stream", "text": "\u001b[1mbold\u001b[0m"}),
    ),
    "backticks.ipynb": notebook(code("s = '''\n```\ntext\n```\n'''")),
}

RTF_FILES = {
    "letters.rtf": rb"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}{\f1\fcharset204 Arial;}}{\info{\title Pump \'fcbersicht}{\author A. Weber}}"
    rb"\pard Gr\'f6\'dfe \u8364? 10{\super 6} {\strike old} new{\v hidden}\par{\f1 \'c2\'ee\'e7\'e2\'f0\'e0\'f2}\par}",
    "runs.rtf": rb"{\rtf1\ansi\pard Warr{\b an}{\i ty}\tab claims\line next\par First{ }Last\par}",
    "table.rtf": rb"{\rtf1\ansi\pard\outlinelevel0 Prices\par\pard\trowd\cellx100\cellx200\intbl Item\cell Price\cell\row\trowd\intbl Bolt\cell 2|50\cell\row\pard After\par}",
    "footnote.rtf": rb"{\rtf1\ansi\pard Net price{\super\chftn}{\footnote\pard\plain {\super\chftn} Without tax.} applies.{\*\annotation Really?}\par}",
    "field.rtf": rb'{\rtf1\ansi\pard See {\field{\*\fldinst HYPERLINK "https://example.org"}{\fldrslt the terms}}.{\header Page head}\par}',
}

MARKUP_FILES = {
    "document.xml": "<!DOCTYPE book SYSTEM 'book.dtd'><book><title>Pumps</title><!-- hidden --><para>See <b>the</b> terms&nbsp;below &amp; above.</para>"
    "<list><item>one</item><item>two</item></list><code><![CDATA[a < b]]></code></book>",
    "records.xml": "<?xml version='1.0' encoding='ISO-8859-1'?>\n<rows>\n  <row id='1'><zip>01067</zip><city>Dresden</city></row>\n</rows>",
    "headings.rst": "=====\nPumps\n=====\n\nIntro [1]_.\n\n.. A comment\n   of two lines\n\nSmall pumps\n-----------\n\nRun::\n\n    pump --on  # comment\n\n"
    ".. code-block:: python\n   :linenos:\n\n   start(1)\n\n.. note:: Careful.\n\n.. [1] The only note.\n",
    "headings.org": "#+TITLE: Pumps\n#+OPTIONS: toc:nil\n* Small pumps :size:\n:PROPERTIES:\n:ID: 7\n:END:\nSee [[https://example.org][the terms]].\n# hidden\n"
    "#+begin_src sh\n* no heading\n#+end_src\n** TODO Valves\nText.\n",
    "headings.adoc": "= Pumps\n:toc:\n\n== Small pumps\n\n// hidden\n[source,sh]\n----\n== no heading\n----\n\nText.\n",
    "article.tex": "\\documentclass{article}\n\\title{Pumps \\& valves}\n\\author{A. Weber}\n\\begin{document}\n\\maketitle\n\\section{Small pumps}\\label{small}\n"
    'A flow of 10\\,\\% % hidden\nat $x^{2}$ is na\\"{\\i}ve.\\footnote{Without \\emph{tax}.}\n\\begin{itemize}\n\\item one\n\\item two\n\\end{itemize}\n'
    "\\begin{verbatim}\n% \\section{no heading}\n\\end{verbatim}\nSee \\href{https://example.org}{the terms} and \\verb|a_b|.\n\\end{document}\nafter\n",
    "spoken.vtt": "WEBVTT\n\nNOTE hidden\n\nSTYLE\n::cue { color: red }\n\n1\n00:01.000 --> 00:02.000 align:start\n<v Ann>The <i>pump</i> &amp; the valve\n\n00:03.000 --> 00:04.000\nare closed.\n",
    "spoken.srt": "1\n00:00:01,000 --> 00:00:02,000\n{\\an8}<b>The pump</b>\n\n2\n00:00:03,000 --> 00:00:04,000\n1\n",
}

FILES: Mapping[str, bytes] = {
    **OUTLOOK_FILES,
    **MAIL_FILES,
    **BOOK_FILES,
    **NOTEBOOK_FILES,
    **RTF_FILES,
    **{name: text.encode("latin-1") for name, text in MARKUP_FILES.items()},
}

"""A document written in many formats: every word of it is stored, in order, apart from its neighbor, and found by search."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from html import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from office_files import cell, docx, field, listed, opened, para, pdf, pptx, row, run, shape, show, table, xlsx
from office_files import line as sheet_line
from other_documents import epub, message

import ingest
from ingest.search import Searcher
from ingest.source.convert.registry import convert_here

Block = tuple[str, list[str]]
"""A kind of block, and its words."""

KINDS = {"heading": 2, "paragraph": 3, "list": 3, "table": 4, "note": 3, "caption": 2, "link": 2, "code": 2}
documents = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12)


def blocks_of(kinds: list[str]) -> list[Block]:
    numbers = iter(range(1000))
    return [(kind, [f"mark{next(numbers)}er" for _ in range(KINDS[kind])]) for kind in kinds]


Writer = Mapping[str, Callable[[list[str]], str]]

HTML: Writer = {
    "heading": lambda w: f"<h2>{w[0]}<br>{w[1]}</h2>",
    "paragraph": lambda w: f"<p><b>{w[0]}</b> <i>{w[1]}</i>\n<span>{w[2]}</span></p>",
    "list": lambda w: f"<ul><li>{w[0]}<ol><li>{w[1]}</ol><li>{w[2]}</ul>",
    "table": lambda w: f"<table><tr><th>{w[0]}<th>{w[1]}<tr><td>{w[2]}<td>{w[3]}</table>",
    "note": lambda w: f"<p>{w[0]} ({w[1]}) {w[2]}</p>",
    "caption": lambda w: f"<figure><figcaption>{w[0]}</figcaption><p>{w[1]}</figure>",
    "link": lambda w: f"<p><a href='https://example.org'>{w[0]}</a> {w[1]}</p>",
    "code": lambda w: f"<pre><code>{w[0]}\n  {w[1]}</code></pre>",
}
XHTML: Writer = {
    **HTML,
    "heading": lambda w: f"<h2>{w[0]}<br/>{w[1]}</h2>",
    "list": lambda w: f"<ul><li>{w[0]}<ol><li>{w[1]}</li></ol></li><li>{w[2]}</li></ul>",
    "table": lambda w: f"<table><tr><td>{w[0]}</td><td>{w[1]}</td></tr><tr><td>{w[2]}</td><td>{w[3]}</td></tr></table>",
    "caption": lambda w: f"<figure><figcaption>{w[0]}</figcaption><p>{w[1]}</p></figure>",
}
MARKDOWN: Writer = {
    "heading": lambda w: f"## {w[0]} {w[1]}",
    "paragraph": lambda w: f"**{w[0]}** *{w[1]}*\n{w[2]}",
    "list": lambda w: f"- {w[0]}\n  1. {w[1]}\n- {w[2]}",
    "table": lambda w: f"| {w[0]} | {w[1]} |\n| --- | --- |\n| {w[2]} | {w[3]} |",
    "note": lambda w: f"{w[0]} ({w[1]}) {w[2]}",
    "caption": lambda w: f"![{w[0]}](a.png)\n{w[1]}",
    "link": lambda w: f"[{w[0]}](https://example.org) {w[1]}",
    "code": lambda w: f"```\n{w[0]}\n  {w[1]}\n```",
}
WORD: Writer = {
    "heading": lambda w: para(run(w[0]), "<w:r><w:tab/></w:r>", run(w[1]), style="berschrift2"),
    "paragraph": lambda w: para(run(w[0], "<w:b/>"), run(f" {w[1]}"), "<w:r><w:br/></w:r>", run(w[2])),
    "list": lambda w: para(run(w[0]), more=listed(1)) + para(run(w[1]), more=listed(1, 1)) + para(run(w[2]), more=listed(2)),
    "table": lambda w: table([cell(w[0]), cell(w[1])], [cell(w[2]), cell(w[3])]),
    "note": lambda w: para(run(w[0]), f"<w:r><w:footnoteReference w:id='{w[1]}'/></w:r>", run(f" {w[2]}")),
    "caption": lambda w: para(run("Figure "), field("1"), run(f": {w[0]} {w[1]}")),
    "link": lambda w: para(f"<w:hyperlink r:id='h1'>{run(w[0])}</w:hyperlink>", run(f" {w[1]}")),
    "code": lambda w: para(run(w[0])) + para(run(w[1])),
}
FRAME = "<draw:frame><draw:text-box><text:p>{}</text:p></draw:text-box></draw:frame>"
NOTE = "<text:note><text:note-body><text:p>{}</text:p></text:note-body></text:note>"
ODT: Writer = {
    "heading": lambda w: f'<text:h text:outline-level="2">{w[0]}<text:tab/>{w[1]}</text:h>',
    "paragraph": lambda w: f"<text:p><text:span>{w[0]}</text:span><text:s/>{w[1]}<text:line-break/>{w[2]}</text:p>",
    "list": lambda w: (
        f"<text:list><text:list-item><text:p>{w[0]}</text:p><text:list><text:list-item><text:p>{w[1]}</text:p>"
        f"</text:list-item></text:list></text:list-item><text:list-item><text:p>{w[2]}</text:p></text:list-item></text:list>"
    ),
    "table": lambda w: f"<table:table>{row(w[0], w[1])}{row(w[2], w[3])}</table:table>",
    "note": lambda w: (
        f"<text:p>{w[0]}<text:note><text:note-body><text:p>{w[1]}</text:p></text:note-body></text:note> {w[2]}</text:p>"
    ),
    "caption": lambda w: (
        f"<text:p><draw:frame><draw:text-box><text:p>{w[0]}</text:p></draw:text-box></draw:frame></text:p><text:p>{w[1]}</text:p>"
    ),
    "link": lambda w: f'<text:p><text:a xlink:href="https://example.org">{w[0]}</text:a> {w[1]}</text:p>',
    "code": lambda w: f"<text:p>{w[0]}</text:p><text:p>{w[1]}</text:p>",
}
RTF: Writer = {
    "heading": lambda w: rf"\pard\outlinelevel1 {w[0]}\tab {w[1]}\par",
    "paragraph": lambda w: rf"\pard{{\b {w[0]}}} {w[1]}\line {w[2]}\par",
    "list": lambda w: rf"\pard {w[0]}\par {w[1]}\par {w[2]}\par",
    "table": lambda w: rf"\trowd\intbl {w[0]}\cell {w[1]}\cell\row\trowd\intbl {w[2]}\cell {w[3]}\cell\row",
    "note": lambda w: rf"\pard {w[0]}{{\footnote {w[1]}\par}} {w[2]}\par",
    "caption": lambda w: rf"\pard {w[0]}~{w[1]}\par".replace("~", "\\~"),
    "link": lambda w: rf"\pard {{\field{{\*\fldinst HYPERLINK x}}{{\fldrslt {w[0]}}}}} {w[1]}\par",
    "code": lambda w: rf"\pard {w[0]}\line\tab {w[1]}\par",
}
RST: Writer = {
    "heading": lambda w: f"{w[0]} {w[1]}\n{'-' * 40}",
    "paragraph": lambda w: f"**{w[0]}** *{w[1]}*\n{w[2]}",
    "list": lambda w: f"* {w[0]}\n\n  1. {w[1]}\n\n* {w[2]}",
    "table": lambda w: f"========== ==========\n{w[0]}   {w[1]}\n========== ==========\n{w[2]}   {w[3]}\n========== ==========",
    "note": lambda w: f"{w[0]} ({w[1]}) {w[2]}",
    "caption": lambda w: f".. figure:: a.png\n\n   {w[0]}\n\n{w[1]}",
    "link": lambda w: f"`{w[0]} <https://example.org>`_ {w[1]}",
    "code": lambda w: f"::\n\n    {w[0]}\n      {w[1]}\n",
}
ORG: Writer = {
    **MARKDOWN,
    "heading": lambda w: f"** {w[0]} {w[1]}",
    "table": lambda w: f"| {w[0]} | {w[1]} |\n|---+---|\n| {w[2]} | {w[3]} |",
    "caption": lambda w: f"#+CAPTION: {w[0]}\n{w[1]}",
    "link": lambda w: f"[[https://example.org][{w[0]}]] {w[1]}",
    "code": lambda w: f"#+BEGIN_SRC sh\n{w[0]}\n  {w[1]}\n#+END_SRC",
}
ASCIIDOC: Writer = {
    **MARKDOWN,
    "heading": lambda w: f"== {w[0]} {w[1]}",
    "table": lambda w: f"|===\n| {w[0]} | {w[1]}\n| {w[2]} | {w[3]}\n|===",
    "caption": lambda w: f".{w[0]}\n{w[1]}",
    "code": lambda w: f"[source,sh]\n----\n{w[0]}\n  {w[1]}\n----",
}
LATEX: Writer = {
    "heading": lambda w: rf"\subsection[short]{{{w[0]} \emph{{{w[1]}}}}}",
    "paragraph": lambda w: rf"\textbf{{{w[0]}}} \emph{{{w[1]}}}\\{w[2]}",
    "list": lambda w: (
        rf"\begin{{itemize}}\item {w[0]}\begin{{enumerate}}\item {w[1]}\end{{enumerate}}\item {w[2]}\end{{itemize}}"
    ),
    "table": lambda w: rf"\begin{{tabular}}{{l|r}}\hline {w[0]}&{w[1]}\\\hline {w[2]}&{w[3]}\end{{tabular}}",
    "note": lambda w: rf"{w[0]}\footnote{{{w[1]}}} {w[2]}",
    "caption": lambda w: rf"\begin{{figure}}\caption{{{w[0]}}}\label{{f}}\end{{figure}} {w[1]}",
    "link": lambda w: rf"\href{{https://example.org}}{{{w[0]}}}~{w[1]}",
    "code": lambda w: f"\\begin{{verbatim}}\n{w[0]}\n  {w[1]}\n\\end{{verbatim}}",
}
SLIDE_CELL = "<a:tc><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>".format
SLIDE: Writer = {kind: lambda w: shape(*w[:2]) + shape(*w[2:]) for kind in KINDS} | {
    "table": lambda w: (
        "<p:graphicFrame><a:graphic><a:graphicData><a:tbl>"
        + "".join(f"<a:tr>{''.join(map(SLIDE_CELL, pair))}</a:tr>" for pair in (w[:2], w[2:]))
        + "</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    ),
}


def written(writer: Writer, blocks: list[Block], between: str = "\n\n") -> str:
    return between.join(writer[kind](words) for kind, words in blocks)


def as_docx(blocks: list[Block]) -> bytes:
    notes = [words[1] for kind, words in blocks if kind == "note"]
    return docx(
        written(WORD, blocks), notes="".join(f"<w:footnote w:id='{note}'>{para(run(note))}</w:footnote>" for note in notes)
    )


def as_pdf(blocks: list[Block]) -> bytes:
    lines = [(50, " ".join(words)) if kind != "table" else (50, "") for kind, words in blocks]
    page = [show(left, 760 - 20 * at, text) for at, (left, text) in enumerate(lines)]
    for at, (kind, words) in enumerate(blocks):
        if kind == "table":
            page += [show(50 + 120 * column, 760 - 20 * at, word) for column, word in enumerate(words)]
    return pdf("\n".join(sorted(page, key=lambda each: -int(each.split()[5]))))


def as_ipynb(blocks: list[Block]) -> bytes:
    cells = [
        {"cell_type": "code", "source": "\n".join(words), "outputs": []}
        if kind == "code"
        else {"cell_type": "markdown", "source": MARKDOWN[kind](words)}
        for kind, words in blocks
    ]
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": cells}).encode()


def as_sheet(blocks: list[Block]) -> bytes:
    lines = [sheet_line(at, **{"ABCD"[n]: f"'{word}" for n, word in enumerate(words)}) for at, (_, words) in enumerate(blocks, 1)]
    return xlsx(("Sheet", "visible", "".join(lines)))


def as_xml(blocks: list[Block]) -> bytes:
    parts = (f"<{kind}>{''.join(f'<w>{escape(word)}</w>' for word in words)}</{kind}>" for kind, words in blocks)
    return f"<doc>{''.join(parts)}</doc>".encode()


FORMATS: Mapping[str, Callable[[list[Block]], bytes]] = {
    "html": lambda blocks: written(HTML, blocks).encode(),
    "markdown": lambda blocks: written(MARKDOWN, blocks).encode(),
    "docx": as_docx,
    "odt": lambda blocks: opened("text", written(ODT, blocks)),
    "ods": lambda blocks: opened(
        "spreadsheet", f"<table:table table:name='S'>{''.join(row(*words) for _, words in blocks)}</table:table>"
    ),
    "odp": lambda blocks: opened(
        "presentation", f"<draw:page><draw:frame><draw:text-box>{written(ODT, blocks)}</draw:text-box></draw:frame></draw:page>"
    ),
    "pptx": lambda blocks: pptx(written(SLIDE, blocks)),
    "xlsx": as_sheet,
    "pdf": as_pdf,
    "rtf": lambda blocks: f"{{\\rtf1\\ansi {written(RTF, blocks)}}}".encode(),
    "epub": lambda blocks: epub(written(XHTML, blocks)),
    "eml": lambda blocks: message("Content-Type: text/html", body=written(HTML, blocks)),
    "ipynb": as_ipynb,
    "xml": as_xml,
    "rst": lambda blocks: written(RST, blocks).encode(),
    "org": lambda blocks: written(ORG, blocks).encode(),
    "asciidoc": lambda blocks: written(ASCIIDOC, blocks).encode(),
    "latex": lambda blocks: f"\\begin{{document}}\n{written(LATEX, blocks)}\n\\end{{document}}".encode(),
}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=25, deadline=None)
@given(kinds=documents)
def test_every_word_is_there_in_order_and_apart(name: str, kinds: list[str]) -> None:
    blocks = blocks_of(kinds)
    page = convert_here(FORMATS[name](blocks), name)
    assert re.findall(r"\w*mark\d+er\w*", page.text) == [word for _, words in blocks for word in words], page.text


SUFFIXES = {"markdown": "md", "asciidoc": "adoc", "latex": "tex"}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Searcher, dict[str, list[str]]]]:
    """Yield a searcher over a document of every format, cut into small chunks, and the words of each document in order."""
    folder = tmp_path_factory.mktemp("documents")
    kinds = sorted(KINDS) * 3
    words: dict[str, list[str]] = {}
    for number, name in enumerate(FORMATS):
        blocks = [(kind, [word.replace("mark", f"mark{number}x") for word in own]) for kind, own in blocks_of(kinds)]
        (folder / f"{name}.{SUFFIXES.get(name, name)}").write_bytes(FORMATS[name](blocks))
        words[name] = [word for _, own in blocks for word in own]
    small = ingest.ChunkingOptions(tokens=40)
    with ingest.Collection(
        "documents", store=tmp_path_factory.mktemp("store"), models=["bm25"], language="english", chunking=small
    ) as collection:
        receipt = collection.sync(folder)
        assert (receipt.written, receipt.rejected) == (len(FORMATS), 0)
        yield collection.searcher, words


@pytest.mark.parametrize("name", FORMATS)
def test_every_word_is_found_by_search_in_order(name: str, searched: tuple[Searcher, dict[str, list[str]]]) -> None:
    searcher, words = searched
    places = []
    for word, answer in zip(words[name], searcher.search_batch(words[name], limit=20), strict=True):
        assert {hit.doc_id.partition(".")[0] for hit in answer.hits} == {name}
        found = {hit.chunk: re.findall(r"\w+", hit.text) for hit in answer.hits}  # others have the word in their heading path
        [place] = [(chunk, text.index(word)) for chunk, text in found.items() if word in text]
        places.append(place)
    assert places == sorted(places)
    assert len({chunk for chunk, _ in places}) > 1

"""The tree of a web page: what its head states, its main content, struck-out text, and the anchors of its headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from urllib.parse import urljoin, urlsplit

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ingest.source.convert.web_repairs import BREAK

LEFT_OUT = "data-ingest-left-out"
"""The attribute of elements that are not content."""

_STRUCK_OUT, _STRUCK_OUT_END, ANCHOR, ANCHOR_END = "\ufdd0\ufdd1\ufdd2\ufdd3"
MARKS = frozenset({_STRUCK_OUT, _STRUCK_OUT_END, ANCHOR, ANCHOR_END, BREAK})
"""Characters that are never text. They mark what is struck out, where a line ends, and which anchor is where."""

_META = {  # fact → names of `<meta>` that state it, the best first
    "language": ("content-language", "dc.language", "dcterms.language", "og:locale"),
    "description": ("description", "og:description", "dc.description", "dcterms.description"),
    "author": ("author", "dc.creator", "dcterms.creator", "article:author"),
    "url": ("og:url",),
    "published": (
        *("article:published_time", "datepublished", "dc.date.issued", "dcterms.issued", "citation_publication_date"),
        *("dc.date", "dcterms.date", "dc.date.created", "dcterms.created", "pubdate", "publishdate", "date"),
    ),
    "modified": ("article:modified_time", "datemodified", "dcterms.modified", "og:updated_time", "last-modified"),
}
_NAVIGATION = "nav, [role=navigation], [role=contentinfo]"
_SECTIONS = {"article", "aside", "main", "section"}
_COOKIES = re.compile(
    r"(?:cookies?|consent|gdpr)[-_]?(?:alert|banner|bar|box|consent|dialog|info|law|message|modal|notice|overlay|popup|prompt)"
    r"|onetrust|cookiebot|usercentrics|\bcc-window\b",
    re.IGNORECASE,
)
_SIMPLE = re.compile(r"[a-z][a-z0-9]*(?:[.#][\w-]+)*|(?:[.#][\w-]+)+", re.IGNORECASE)
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_BRACE = re.compile(r"[{}]")
_MOST_SELECTORS = 50
_BLOCKS = "p, div, section, article, blockquote, pre, ul, ol, li, dl, dt, dd, table, tr, td, th, h1, h2, h3, h4, h5, h6"
_NOT_READ = ("script", "style", "template", "noscript", "title")


def parse(markup: str) -> LexborHTMLParser:
    """Parse a page like a browser. The time grows with the square of the depth of the markup: check that first."""
    return LexborHTMLParser(markup)


def title_of(tree: LexborHTMLParser) -> str | None:
    """Return the title of a page. That of a drawing is none."""
    drawings = {node.mem_id for node in tree.css("svg title")}
    return next((text for node in tree.css("title") if node.mem_id not in drawings and (text := _words(node.text()))), None)


def base_of(tree: LexborHTMLParser) -> str | None:
    """Return the address that the page states for its relative links, or None."""
    base = tree.css_first("base[href]")
    address = (base.attributes.get("href") or "").strip() if base is not None else ""
    return address if _is_address(address) else None


def facts_of(tree: LexborHTMLParser) -> dict[str, str]:
    """Return language, description, author, canonical address and dates that a page states about itself."""
    stated: dict[str, str] = {}
    for node in tree.css("meta[content]"):
        names = node.attributes
        name = names.get("name") or names.get("property") or names.get("itemprop") or names.get("http-equiv") or ""
        stated.setdefault(name.strip().lower(), _words(names.get("content")))
    facts = {fact: next((stated[name] for name in names if stated.get(name)), "") for fact, names in _META.items()}
    root, canonical = tree.css_first("html"), tree.css_first("link[rel~=canonical][href]")
    if root is not None:
        facts["language"] = _words(root.attributes.get("lang") or root.attributes.get("xml:lang")) or facts["language"]
    if canonical is not None:
        facts["url"] = _words(canonical.attributes.get("href")) or facts["url"]
    facts["url"] = facts["url"] and urljoin(base_of(tree) or "", facts["url"])
    facts["published"] = facts["published"] or _only_time(tree)
    return {name: value for name, value in facts.items() if value}


def leave_out_frame(tree: LexborHTMLParser) -> None:
    """Mark everything but the main content.

    The content is what the elements `main` or `role=main` hold, else the only `article` if it holds most of the text, else the
    body; before it stands the first `h1` of the page if it has none. Left out of it are navigation (`nav`, `role=navigation`),
    the footer of the page (`footer` outside of sections, `role=contentinfo`), and banners about cookies, by their id or class.
    """
    headings = tree.css("h1")
    holding = {node.mem_id for heading in headings for node in _ancestors(heading)}
    for node in tree.css("div[id], div[class], section[id], section[class], aside, dialog, form"):
        named = f"{node.attributes.get('id') or ''} {node.attributes.get('class') or ''}"
        if node.mem_id not in holding and _COOKIES.search(named):
            _leave_out(node)
    for node in tree.css(_NAVIGATION):
        if node.tag not in {"body", "html", "main"}:
            _leave_out(node)
    for node in tree.css("footer"):
        if not any(above.tag in _SECTIONS for above in _ancestors(node)):
            _leave_out(node)
    content = [node for node in tree.css("main, [role=main]") if "hidden" not in node.attributes] or _only_article(tree)
    if content:
        inside = {node.mem_id for each in content for node in each.css("h1")}
        outside = [] if inside else [node for node in headings if not _is_left_out(node)][:1]
        _keep_only([*content, *outside])


def mark_struck_out(tree: LexborHTMLParser) -> None:
    """Mark text that a style, or a rule for a tag, class or id in a style sheet of the page, strikes out."""
    struck = {node.mem_id: node for node in tree.css("[style]") if _strikes_out(node.attributes.get("style") or "")}
    sheets = [text for node in tree.css("style") if "line-through" in (text := node.text())]
    selectors = {selector: None for sheet in sheets for selector in _struck_selectors(sheet)}
    for selector in list(selectors)[:_MOST_SELECTORS]:
        struck |= {node.mem_id: node for node in tree.css(selector)}
    for node in struck.values():
        if not any(above.mem_id in struck for above in _ancestors(node)):
            _strike_out(node)


def with_marks(markup: str) -> str:
    """Return marked markup with elements in place of the marks for what is struck out and where a line ends."""
    return markup.replace(_STRUCK_OUT, "<s>").replace(_STRUCK_OUT_END, "</s>").replace(BREAK, "<br>")


def mark_anchors(tree: LexborHTMLParser) -> list[str]:
    """Mark the headings that a link can name. Return the names; each mark has the index of its own."""
    names: list[str] = []
    for node in tree.css("h1, h2, h3, h4, h5, h6"):
        name, first = _anchor(node), node.child
        if name and first is not None:
            first.insert_before(f"{ANCHOR}{len(names)}{ANCHOR_END}")
            names.append(name)
    return names


def _anchor(heading: LexborNode) -> str | None:
    """Return the name of a heading: its own id, that of a link or mark in it, or that of the section it begins."""
    if heading.id:
        return heading.id
    for node in heading.css("[id], a[name], a[href]"):
        target = node.attributes.get("href") or ""
        name = target[1:] if target.startswith("#") else node.id or node.attributes.get("name")
        if name:
            return name
    parent, before = heading.parent, heading.prev
    while before is not None and not before.text().strip() and (before.tag in {"span", "a"} or not before.is_element_node):
        if before.id:
            return before.id
        before = before.prev
    return parent.id if before is None and parent is not None and parent.tag in {"section", "div", "article", "header"} else None


def _keep_only(nodes: Iterable[LexborNode]) -> None:
    """Leave out everything in the body that is neither in one of the nodes nor around it."""
    kept = {node.mem_id for node in nodes}
    around = {above.mem_id: above for node in nodes for above in _ancestors(node)}
    for node in around.values():
        if node.mem_id in kept or node.tag == "html":
            continue
        for each in list(node.iter(include_text=True)):
            if each.mem_id in kept or each.mem_id in around:
                continue
            if each.is_element_node:
                _leave_out(each)
            else:
                each.decompose()


def _only_article(tree: LexborHTMLParser) -> list[LexborNode]:
    articles = tree.css("article")
    if len(articles) != 1 or tree.body is None:
        return []
    return articles if 2 * _length(articles[0]) >= _length(tree.body) else []


def _length(node: LexborNode) -> int:
    """Return the characters of text in a node, without what is left out."""
    total = 0
    waiting = [node]
    while waiting:
        for each in waiting.pop().iter(include_text=True):
            if each.is_text_node:
                total += len(each.text().strip())
            elif each.tag not in _NOT_READ and LEFT_OUT not in each.attributes:
                waiting.append(each)
    return total


def _only_time(tree: LexborHTMLParser) -> str:
    """Return the date of the `time` elements of a page, or "" if they name several."""
    dates = {_words(node.attributes.get("datetime")) for node in tree.css("time[datetime]")}
    return next(iter(dates)) if len(dates) == 1 and _is_iso(next(iter(dates))) else ""


def _struck_selectors(sheet: str) -> Iterator[str]:
    """Yield the simple selectors of a style sheet whose rules strike text out, but not when printed."""
    sheet = _COMMENT.sub(" ", sheet)
    open_: list[str] = []
    last = 0
    for brace in _BRACE.finditer(sheet):
        text = sheet[last : brace.start()]
        last = brace.end()
        if brace[0] == "{":
            open_.append(text.rpartition(";")[2].strip())
        elif open_:
            prelude = open_.pop()
            if _strikes_out(text) and not any("print" in each for each in open_):
                yield from (each.strip() for each in prelude.split(",") if _SIMPLE.fullmatch(each.strip()))


def _strikes_out(style: str) -> bool:
    """Return whether the declarations of a style strike text out."""
    for declaration in style.lower().split(";"):
        name, _, value = declaration.partition(":")
        if name.strip() in {"text-decoration", "text-decoration-line"} and "line-through" in value:
            return True
    return False


def _strike_out(node: LexborNode) -> None:
    """Mark the content of a node; of one with blocks in it, each text alone."""
    if node.child is not None and all(each.mem_id == node.mem_id for each in node.css(_BLOCKS)):
        node.child.insert_before(_STRUCK_OUT)
        node.insert_child(_STRUCK_OUT_END)
        return
    for text in [each for each in node.traverse(include_text=True) if each.is_text_node and each.text().strip()]:
        text.insert_before(_STRUCK_OUT)
        text.insert_after(_STRUCK_OUT_END)


def _leave_out(node: LexborNode) -> None:
    node.attrs[LEFT_OUT] = ""


def _is_left_out(node: LexborNode) -> bool:
    return any(LEFT_OUT in each.attributes for each in (node, *_ancestors(node)))


def _ancestors(node: LexborNode) -> Iterator[LexborNode]:
    above = node.parent
    while above is not None and above.is_element_node:
        yield above
        above = above.parent


def _is_iso(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        return urlsplit(text).scheme in {"http", "https"}
    except ValueError:
        return False


def _words(text: str | None) -> str:
    return " ".join((text or "").split())

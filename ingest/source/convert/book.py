"""E-books (epub): the chapters in their order, each read like a web page. The table of contents is left out."""

from __future__ import annotations

import posixpath
from urllib.parse import unquote

from ingest.source.convert.archives import attribute, child, children, local, opened, stated
from ingest.source.convert.html import html_page
from ingest.source.convert.page import Page
from ingest.source.fields import Unusable

_CHAPTERS = {"application/xhtml+xml", "text/html", "text/x-oeb1-document", "application/xml", "text/xml", ""}


def book_page(data: bytes) -> Page:
    """Return the chapters of a book as Markdown, with its title, author and language."""
    with opened(data, "epub") as archive:
        container = archive.xml("META-INF/container.xml")
        name = attribute(child(container, "rootfiles", "rootfile"), "full-path") or ""
        package = archive.xml(name)
        if package is None:
            raise Unusable("the file cannot be read as epub: it has no package part")
        title, facts = stated(child(package, "metadata"))
        items = {attribute(item, "id"): item for item in package.iter() if local(item) == "item"}
        texts = []
        for reference in children(package, "spine"):
            item = items.get(attribute(reference, "idref"))
            kind = (attribute(item, "media-type") or "").partition(";")[0].strip().lower()
            if item is None or kind not in _CHAPTERS:
                continue
            if "nav" in (attribute(item, "properties") or "").split():
                continue
            target = unquote((attribute(item, "href") or "").partition("#")[0])
            chapter = archive.read(posixpath.normpath(posixpath.join(posixpath.dirname(name), target)))
            if chapter is None:
                raise Unusable(f"the epub has no part {target}, which it lists as a chapter")
            texts.append(html_page(chapter).text)
    return Page("\n\n".join(text for text in texts if text), title=title, metadata=facts)

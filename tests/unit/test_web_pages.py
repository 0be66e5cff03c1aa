"""The main content of web pages, what they state about themselves, their anchors, and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ingest
from ingest.records import Document
from ingest.source import open_source
from ingest.source.convert.html import html_page
from ingest.source.convert.page import Page
from ingest.source.outline import outline_of
from ingest.source.read_options import HtmlContent, ReadOptions


def page_of(markup: str, content: HtmlContent = "main") -> Page:
    return html_page(markup.encode(), content)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<nav>Home</nav><main><p>Fee 5</p><nav>On this page</nav></main><aside>Ads</aside>", "Fee 5"),
        (
            "<div class=related role=navigation>Up</div><div><div role=main><p>Fee 5</p></div></div><div class=footer>2026</div>",
            "Fee 5",
        ),
        ("<header><h1>Fees</h1>Shop</header><main><h2>Abroad</h2><p>5</p></main>", "# Fees\n\n## Abroad\n\n5"),
        ("<h1>Shop</h1><main><h1>Fees</h1></main>", "# Fees"),
        ("<main hidden>Tab</main><main>One</main>stray<main>Two</main>", "One\n\nTwo"),
        (
            "<p>Teaser</p><article><p>The whole long text of the page</p><footer>By Ann</footer></article>",
            "The whole long text of the page\n\nBy Ann",
        ),
        ("<p>The whole long text of the page</p><article><p>Card</p></article>", "The whole long text of the page\n\nCard"),
        ("<article><p>One</p></article><article><p>Two</p></article>", "One\n\nTwo"),
        (
            "<p>Text</p><div id=CookieConsent>We use cookies</div><aside class='x cookie-banner'>OK</aside><footer>Law</footer>",
            "Text",
        ),
        ("<body class=cookie-banner-open><div class=cookie-bar-host><h1>Cookies</h1><p>Text</p></div>", "# Cookies\n\nText"),
        ("<div class=recipe-cookies-boxed><p>Bake</p></div><main> </main>", "Bake"),
        ("<nav><a href=/a>Only links</a></nav>", "[Only links](/a)"),
    ],
)
def test_only_the_main_content_is_text(markup: str, text: str) -> None:
    assert page_of(markup).text == text


def test_all_keeps_what_frames_the_content() -> None:
    markup = "<nav>Home</nav><main><p>Fee 5</p></main><footer>Imprint</footer>"
    assert page_of(markup, "all").text == "Home\n\nFee 5\n\nImprint"


def test_the_option_reaches_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("<nav>Home</nav><p>Text</p>", encoding="utf-8")
    texts: dict[HtmlContent, str] = {"main": "Text", "all": "Home\n\nText"}
    for content, text in texts.items():
        [document] = open_source(tmp_path, options=ReadOptions(html_content=content)).read()
        assert isinstance(document, Document)
        assert document.text == text
    with pytest.raises(ingest.ConfigurationError, match="html_content"):
        ReadOptions(html_content="body")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("markup", "facts"),
    [
        ("<meta property='article:published_time' content='2024-05-01T10:00:00Z'>", {"published": "2024-05-01T10:00:00Z"}),
        (
            "<meta name=DC.date content=2023-02-28><meta name=last-modified content=2024-01-01>",
            {"published": "2023-02-28", "modified": "2024-01-01"},
        ),
        ("<time datetime=2024-02-01>1 Feb</time>", {"published": "2024-02-01"}),
        ("<time datetime=2024-02-01>1 Feb</time><time datetime=2024-02-02>2 Feb</time>", {}),
        ("<time datetime=PT2H>2 hours</time>", {}),
        (
            "<html xml:lang=de><meta property=og:description content=' Was\n gilt '>",
            {"language": "de", "description": "Was gilt"},
        ),
        ("<base href='https://e.org/d/'><link rel='nofollow canonical' href=x>", {"url": "https://e.org/d/x"}),
    ],
)
def test_what_a_page_states_is_metadata(markup: str, facts: dict[str, str]) -> None:
    assert page_of(f"{markup}<p>Text</p>").metadata == facts


def test_a_guessed_encoding_is_metadata_and_a_declared_one_is_not() -> None:
    text = "<p>Le délai de rétractation expire quatorze jours après la réception; où réclamer, à qui écrire, l'été aussi.</p>"
    assert html_page(text.encode("cp1252")).metadata["encoding"]
    assert not html_page(f"<meta charset=windows-1252>{text}".encode("cp1252")).metadata


@pytest.mark.parametrize(
    ("markup", "names"),
    [
        ("<h1 id=a>A</h1><p>x</p><h2 id=b> B</h2>", {"a": "# A", "b": "## B"}),
        ("<section id=s><h2>S<a class=headerlink href='#s'>¶</a></h2></section>", {"s": "## S"}),
        ("<div id=d><span id=old></span><h2>D</h2></div>", {"old": "## D"}),
        ("<h2><a id=user-content-x href='#x'></a>X</h2>", {"x": "## X"}),
        ("<h2><a name=n></a>N</h2>", {"n": "## N"}),
        ("<div id=page><p>Text</p><h2>None</h2></div><h3 id=empty></h3>", {}),
        ("<nav><h2 id=n>Nav</h2></nav><h2 id=m>More</h2>", {"m": "## More"}),
    ],
)
def test_headings_have_anchors(markup: str, names: dict[str, str]) -> None:
    page = page_of(markup)
    assert {name: page.text[start:].partition("\n")[0] for name, start in page.anchors} == names


def test_a_hit_has_the_anchor_of_the_heading_above_it(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<link rel=canonical href='https://example.org/a'><h2 id=refunds>Refunds</h2><p>Within fourteen days.</p>",
        encoding="utf-8",
    )
    with ingest.Collection("pages", store=tmp_path / "store", models=["bm25"]) as pages:
        pages.sync(tmp_path / "a.html")
        [hit] = pages.search("fourteen")
    assert (hit.url, hit.anchor) == ("https://example.org/a", "refunds")


def test_headings_of_markdown_and_notebooks_have_anchors(tmp_path: Path) -> None:
    text = "---\na: 1\n---\n# Fees {#fees}\n\nFive.\n\n<a name='abroad'></a>\n## Abroad\n\n### <a id=x></a>X {y}\n\n# None\n"
    (tmp_path / "a.md").write_text(text, encoding="utf-8")
    (tmp_path / "b.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": text[13:]}]}), encoding="utf-8")
    for document in open_source(tmp_path).read():
        assert isinstance(document, Document)
        found = {name: document.text[start:].partition("\n")[0] for name, start in document.anchors}
        assert found == {"fees": "# Fees {#fees}", "abroad": "## Abroad", "x": "### <a id=x></a>X {y}"}
        assert document.title == "Fees"
        assert outline_of(document.text).headings[0].path == ("Fees",)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<style>.old, td.gone {color: red; text-decoration: line-through}</style><p>5 <i class=old>6</i>", "5 *~~6~~*"),
        ("<style>/* .a { */ @media screen{#x{text-decoration-line:line-through}}</style><p id=x>6", "~~6~~"),
        (
            "<style>@media print{.x{text-decoration:line-through}}.y:link{text-decoration:line-through}</style><p class='x y'>6",
            "6",
        ),
        (
            "<style>.t{text-decoration:line-through}</style><table><tr class=t><td>a<td>b<tr><td>c<td>d</table>",
            "| ~~a~~ | ~~b~~ |\n| --- | --- |\n| c | d |",
        ),
        ("<div style='text-decoration:line-through'><p>a<p style='text-decoration:line-through'>b</div>c", "~~a~~\n\n~~b~~\n\nc"),
        ("<p>\ufdd0 stays</p><p style='text-decoration:line-through'>as it is", "\ufdd0 stays\n\nas it is"),
    ],
)
def test_a_style_sheet_strikes_text_out(markup: str, text: str) -> None:
    assert page_of(markup).text == text


@pytest.mark.parametrize(
    "part",
    ["text-decoration ", "<b style='line-through'>x</b>", ".a{text-decoration:line-through}", "@media{"],
)
def test_a_scan_for_struck_out_text_takes_time_in_proportion(part: str) -> None:
    """A scan that grew with the square of the page would take hours here."""
    repeated = part * (2**20 // len(part))
    sheet = f"<style>{repeated}</style><p style='{repeated if part.isascii() and chr(39) not in part else ''}'>line-through</p>"
    assert page_of(sheet).text == "line-through"

"""The pages in Chromium: what a person sees, clicks and types."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import NoBrowserError, chromium
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect
from serving import RULES, application, on_port, opened, stored_rules

import ingest
from ingest.schedule.status import JobStatus
from ingest.serve.access import Grant, Tokens
from ingest.serve.options import ServeOptions
from ingest.serve.schemas import ServedJob

TOKEN = "t" * 20
MARKUP = "<img src=x onerror=alert(1)>"
SECTIONS = [f"## Step {number}\n\nInvoices of step {number} are {'checked and ' * 120}paid. 😀 {MARKUP}" for number in range(12)]
GUIDE = ingest.Document(
    "guide.md",
    "\n\n".join(["# Invoices", *SECTIONS]),
    title="Invoices",
    url="https://example.org/guide",
    format="markdown",
    metadata={"lang": "en"},
)
FILLING = [{"id": f"note {number}", "text": f"Note {number} of employees.", "lang": "en"} for number in range(20)]
JOB = JobStatus("nightly", "done", receipt={"read": 3, "written": 2, "unchanged": 1, "balanced": True})


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    try:
        with chromium() as running:
            yield running
    except NoBrowserError as exc:
        pytest.fail(str(exc), pytrace=False)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The same collection without tokens and with one."""
    folder = tmp_path_factory.mktemp("browser")
    with ExitStack() as running:
        store = running.enter_context(stored_rules(folder, "rules"))
        with opened(store, "rules", folder) as rules:
            rules.sync([GUIDE], name="guides")
            rules.sync(FILLING, name="notes")
        limited = ServeOptions(Tokens({TOKEN: Grant("reader", frozenset({"rules"}), write=False)}))
        jobs: Any = lambda: [ServedJob("rules", JOB)]  # noqa: E731
        open_to_all = application(store, folder, read_jobs=jobs)
        with_token = application(store, folder, limited)
        yield {"open": running.enter_context(on_port(open_to_all)), "token": running.enter_context(on_port(with_token))}


class Watched:
    """A page whose errors, and requests to other places, are noted."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page = context.new_page()
        self.faults: list[str] = []
        self._host = urlsplit(url).netloc
        self._asked = {""}
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._check)

    def _note(self, message: ConsoleMessage) -> None:
        url = message.location["url"]
        if url in self._asked:  # else it is about what the browser asks for by itself, such as an icon
            self.faults.append(f"{message.text} {url}")

    def _check(self, request: Request) -> None:
        self._asked.add(request.url)
        if not request.url.startswith("data:") and urlsplit(request.url).netloc != self._host:
            self.faults.append(request.url)


DESK, PHONE = pytest.param(("light", 1280), id="light 1280"), pytest.param(("dark", 390), id="dark 390")


@pytest.fixture(params=[DESK, PHONE])
def watched(request: pytest.FixtureRequest, browser: Browser, urls: dict[str, str]) -> Iterator[Watched]:
    """A page on a desk and on a phone. It must report no error, load nothing from elsewhere, and fit into the window."""
    scheme: Literal["light", "dark"]
    scheme, width = request.param
    with browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 800}, base_url=urls["open"]) as context:
        found = Watched(context, urls["open"])
        yield found
        assert found.faults == []
        assert found.page.evaluate("document.documentElement.scrollWidth") == width


def searched(page: Page, query: str) -> None:
    page.get_by_label("Query").fill(query)
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text(" ms")


def open_filters(page: Page) -> None:
    """On a phone they are closed."""
    if page.locator("#filters").get_attribute("open") is None:
        page.get_by_text("Filters", exact=True).click()


def assert_accessible(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_person_searches_filters_and_looks_why(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    expect(page.get_by_role("group", name="Scheduled jobs")).to_contain_text("3 read, 2 written, 1 unchanged")
    searched(page, "days of leave")
    hits = page.get_by_role("list", name="Results").get_by_role("article")
    leave = hits.filter(has=page.get_by_role("heading", name="Leave"))
    expect(hits).to_have_count(10)
    assert leave.locator("mark").all_text_contents() == ["days", "leave"]
    assert page.title() == "days of leave · ingest"
    page.get_by_role("button", name="More results").click()
    expect(hits).to_have_count(20)

    open_filters(page)
    group = page.get_by_role("group", name="lang")
    expect(group.get_by_label("de 1")).to_be_visible()
    assert [text.split()[0] for text in group.locator("label").all_text_contents()] == ["en", "de"], "the most frequent first"
    group.get_by_label("de").check()
    expect(hits).to_have_count(1)
    expect(hits).to_contain_text("Laptops are encrypted.")
    expect(group.get_by_label("de")).to_be_focused()
    group.get_by_label("de").uncheck()
    expect(hits).to_have_count(10)

    leave.get_by_text("Why this hit").click()
    rows = leave.get_by_role("row").all_inner_texts()
    assert rows[0].split("\t") == ["vector", "rank", "score", "share"]
    [bm25] = [row.split("\t") for row in rows if row.startswith("bm25")]
    assert bm25[1] == "1"
    assert bm25[3].endswith("%")
    expect(leave).to_contain_text("Fused score: ")
    assert_accessible(page)


def test_the_other_chunks_of_a_document_and_text_that_looks_like_markup(watched: Watched) -> None:
    page = watched.page
    page.goto("/?collection=rules&q=invoices+of+step+7")
    hit = page.get_by_role("article").filter(has_text="Step 7").first
    assert hit.get_by_role("heading").get_by_role("link").get_attribute("href") == "https://example.org/guide"
    expect(hit.locator(".place")).to_have_text("Step 7")  # not "Invoices › Step 7" below the title "Invoices"
    assert "Invoices" in hit.locator("mark").all_text_contents()
    hit.get_by_text("The whole document").click()
    chunks = hit.get_by_role("list").get_by_role("listitem")
    expect(chunks.filter(has_text="Step 0")).to_contain_text(MARKUP)
    own = chunks.filter(has_text="This hit.")
    expect(own).to_contain_text("Step 7")
    expect(own).to_be_in_viewport()
    assert page.locator("img").count() == 0
    assert_accessible(page)


def test_the_keyboard_is_enough(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    expect(page.get_by_label("Query")).to_be_focused()
    page.keyboard.press("Tab")  # to the button
    page.keyboard.press("/")
    page.keyboard.type("days of leave")
    page.keyboard.press("Enter")
    expect(page.get_by_role("article")).to_have_count(10)
    if page.locator("#filters").get_attribute("open") is None:
        tab_to(page, "Filters")
        page.keyboard.press("Enter")
    tab_to(page, "de 1")
    page.keyboard.press("Space")
    expect(page.get_by_role("article")).to_have_count(1)
    tab_to(page, "Why this hit")
    page.keyboard.press("Enter")
    expect(page.get_by_role("group", name="Vectors that found it, and their shares")).to_be_visible()
    tab_to(page, "The whole document")
    page.keyboard.press("Enter")
    expect(page.get_by_text("This hit.")).to_be_visible()


def tab_to(page: Page, text: str) -> None:
    """Press Tab until the element with this text, or its label, has the focus."""
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("(document.activeElement.closest('label') ?? document.activeElement).textContent.trim()") == text:
            return
    pytest.fail(f"no Tab reaches {text!r}")


@pytest.mark.parametrize("watched", [PHONE], indirect=True)
def test_mistakes_and_a_server_that_is_away_are_told(watched: Watched) -> None:
    page = watched.page
    page.goto("/")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_have_text("Type something to search for.")
    page.goto("/?q=leave")
    expect(page.get_by_role("article")).to_have_count(10)
    page.route("**/search", lambda route: route.abort())
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("status")).to_contain_text("The server does not answer")
    watched.faults.clear()  # Chromium notes the request that failed


def test_a_token_is_asked_for_and_kept_by_the_tab_alone(browser: Browser, urls: dict[str, str]) -> None:
    with browser.new_context(base_url=urls["token"]) as context:
        page = context.new_page()
        page.goto("/?q=leave")
        given = page.get_by_label("This server requires a token")
        expect(given).to_be_focused()
        given.fill("wrong")
        given.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("token")
        assert_accessible(page)
        given.fill(TOKEN)
        given.press("Enter")
        expect(page.get_by_role("article")).to_have_count(10)
        expect(given).to_be_hidden()
        page.reload()
        expect(page.get_by_role("article")).to_have_count(10)
        assert TOKEN not in page.url
        assert context.cookies() == []


@pytest.mark.parametrize("watched", [PHONE], indirect=True)
def test_the_page_of_the_api_names_every_operation_and_links_types(watched: Watched) -> None:
    page = watched.page
    page.goto("/docs")
    search = page.locator("section").filter(has=page.get_by_role("heading", name="POST /v1/collections/{name}/search"))
    expect(search).to_contain_text("Search a collection")
    search.get_by_role("link", name="FoundHit").click()
    expect(page.locator("#FoundHit")).to_be_in_viewport()
    assert len(RULES) < page.locator("section").count()
    assert_accessible(page)

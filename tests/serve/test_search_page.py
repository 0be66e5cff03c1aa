"""The pages: what they load, what they may load, and that their scripts speak the language of the API."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from serving import ApiClient, api, stored_rules

from ingest.search.document import StoredChunk
from ingest.serve.app import STATIC
from ingest.serve.schemas import FoundHit, SearchAnswer, SearchBody

FILES = sorted(STATIC.iterdir())
IMPORTED = re.compile(r'from "\./([\w.]+)"')
LOADED = re.compile(r'(?:src|href)="([^"]+)"')


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiClient]:
    folder = tmp_path_factory.mktemp("pages")
    with stored_rules(folder, "rules") as store, api(store, folder) as running:
        yield running


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_and_everything_that_it_loads_is_served(client: ApiClient, path: str) -> None:
    page = client.get(path)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert page.headers["x-content-type-options"] == "nosniff"
    loaded = [each for each in LOADED.findall(page.text) if not each.startswith(("#", "data:"))]
    assert any(each.endswith(".css") for each in loaded)
    assert any(each.endswith(".js") for each in loaded)
    for each in loaded:
        assert client.get(each).status_code == 200, each


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_loads_nothing_from_elsewhere_and_makes_no_markup_of_text(client: ApiClient, file: Path) -> None:

    text = file.read_text(encoding="utf-8")
    assert client.get(f"/static/{file.name}").text == text
    assert not re.search(r"""["'(](?:https?:)?//[\w-]+\.\w|@import|innerHTML|insertAdjacentHTML|document\.write|\beval\(""", text)
    assert not re.search(r"<script(?! src=)|<style|\son\w+=|style=", text), "the policy of the page forbids it"
    for module in IMPORTED.findall(text):
        assert STATIC / module in FILES


def test_every_element_that_the_script_looks_up_is_in_the_page() -> None:
    script, page = (STATIC / "page.js").read_text(), (STATIC / "index.html").read_text()
    looked_up = re.findall(r'"(\w+)"', re.search(r"fromEntries\(\s*\[(.*?)\]\.map", script, re.DOTALL)[1])  # type: ignore[index]
    assert len(looked_up) > 5
    assert set(looked_up) <= set(re.findall(r'id="(\w+)"', page))


def test_the_script_reads_fields_that_hits_have_and_sends_options_that_a_search_has() -> None:
    scripts = "".join((STATIC / name).read_text() for name in ("page.js", "results.js"))
    assert set(re.findall(r"\bhit\.(\w+)", scripts)) <= {each.name for each in fields(FoundHit)}
    assert set(re.findall(r"\bchunk\.(\w+)", scripts)) <= set(StoredChunk.__slots__)
    assert set(re.findall(r"\banswer\.(\w+)", scripts)) <= set(SearchAnswer.__slots__)
    sent = re.search(r"const body = \{(.*)\};", scripts)
    assert sent is not None
    assert set(re.findall(r"(?:^|, )(\w+)", sent[1])) <= SearchBody.model_fields.keys()


def test_every_control_has_a_label() -> None:
    page = (STATIC / "index.html").read_text()
    labels = set(re.findall(r'<label for="(\w+)"', page))
    for control in re.findall(r"<(?:input|select)\b[^>]*>", page):
        identifier = re.search(r'id="(\w+)"', control)
        assert identifier is not None
        assert identifier[1] in labels or f'<label class="option">{control}' in page

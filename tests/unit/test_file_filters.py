"""Filters on the files that documents are: their folders, suffix, size and time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingest

OLD = 1_500_000_000
"""Seconds since 1970: July 2017."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("docs/guides/a.md", "docs/b.txt", "docs-old/c.md", "d.MD"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"All about tea in {name}." + " More." * (20 if name.startswith("docs-old") else 0))
    os.utime(tmp_path / "tree" / "d.MD", (OLD, OLD))
    return tmp_path / "tree"


@pytest.fixture
def collection(tree: Path) -> Iterator[ingest.Collection]:
    place = tree.parent
    with ingest.Collection("tea", store=place / "qdrant", state=place / "state", models=["bm25"]) as opened:
        opened.sync(tree)
        yield opened


def found(collection: ingest.Collection, where: str) -> set[str]:
    return {hit.doc_id for hit in collection.search("tea", where=where, rerank="off")}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("path^=docs/", {"docs/guides/a.md", "docs/b.txt"}),
        ("path ^= ./docs/guides/", {"docs/guides/a.md"}),
        ('path^="docs-old/"|docs/guides/', {"docs/guides/a.md", "docs-old/c.md"}),
        ("not path^=docs/ and ext=md", {"docs-old/c.md", "d.MD"}),
        ("folders=docs and ext=txt", {"docs/b.txt"}),
        ("size>100", {"docs-old/c.md"}),
        ("modified<2018-01-01", {"d.MD"}),
        ("modified>=2017-07-14 and ext=md", {"docs/guides/a.md", "docs-old/c.md", "d.MD"}),
    ],
)
def test_files_are_filtered(collection: ingest.Collection, where: str, names: set[str]) -> None:
    assert found(collection, where) == names


def test_a_file_that_is_only_touched_is_unchanged(collection: ingest.Collection, tree: Path) -> None:
    os.utime(tree / "docs" / "b.txt", (OLD, OLD))
    assert collection.sync(tree).unchanged == 4
    assert found(collection, "modified<2018-01-01") == {"d.MD", "docs/b.txt"}
    assert collection.verify(tree).clean


def test_a_single_file_has_its_facts_and_a_record_has_none(collection: ingest.Collection, tree: Path) -> None:
    collection.sync(tree / "d.MD")
    collection.sync([{"id": "r", "text": "A record about tea."}], name="records")
    assert len(collection.search("tea", where="ext=md and modified<2018-01-01", rerank="off")) == 2
    assert found(collection, "ext is missing") == {"r"}


def test_a_folder_that_nothing_lies_in_is_told(collection: ingest.Collection, tree: Path) -> None:
    [said] = collection.search("tea", where="path^=drafts/", rerank="off").warnings or [""]
    assert said == "", "others have folders"
    with ingest.Collection("flat", store=tree.parent / "qdrant", state=tree.parent / "state", models=["bm25"]) as flat:
        flat.sync(tree / "docs" / "guides")
        [said] = flat.search("tea", where="path^=docs/", rerank="off").warnings
    assert said == "no chunk of 'flat' has a field folders: no file lies in a folder below the one that was read"


@pytest.mark.parametrize("where", ["path^=docs", "doc_id^=docs/", "path^=/", "metadata.path^=docs/"])
def test_other_prefixes_are_refused(collection: ingest.Collection, where: str) -> None:
    with pytest.raises(ingest.ConfigurationError, match=r"a folder that ends with /, such as path\^=docs/guides/"):
        found(collection, where)


def test_only_a_collection_of_files_has_their_indexes(collection: ingest.Collection, tree: Path) -> None:
    fields = {"folders", "ext", "size", "modified"}
    assert fields <= collection.info().indexes.keys()
    (tree.parent / "records.jsonl").write_text('{"id": "1", "text": "tea"}\n')
    with ingest.Collection("records", store=tree.parent / "other", state=tree.parent / "state", models=["bm25"]) as records:
        records.sync(tree.parent / "records.jsonl")
        assert not fields & records.info().indexes.keys()
        records.sync(tree / "d.MD")
        assert fields <= records.info().indexes.keys()

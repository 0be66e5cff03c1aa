"""What a collection can be synced with: files, records, documents, sources of one's own, and several of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ingest


class Wiki:
    """A source of one's own: a name, and documents."""

    name = "wiki"

    def read(self) -> Iterator[ingest.Document | ingest.Rejected]:
        yield ingest.Document("expenses", "File an expense report by Friday.", title="Expenses", metadata={"page": 1})
        yield ingest.Rejected("page 2", "the page is empty", doc_id="empty")


def test_a_folder(handbook: ingest.Collection, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "ferries.md").write_text("# Ferries\n\nThe ferry leaves at noon.")
    assert handbook.sync(tmp_path / "notes").written == 1
    assert handbook.search("ferry")[0].doc_id == "ferries.md"


def test_a_table_with_names_of_its_own(handbook: ingest.Collection, tmp_path: Path) -> None:
    (tmp_path / "parts.csv").write_text("sku,description,color\na1,A chair.,blue\na2,A table.,red\n")
    parts = ingest.open_source(tmp_path / "parts.csv", name="parts", fields=ingest.FieldMap(id="sku", text="description"))
    assert handbook.sync(parts).written == 2
    (hit,) = handbook.search("chair", where={"metadata.color": "blue"})
    assert (hit.doc_id, hit.source, hit.metadata) == ("a1", "parts", {"color": "blue"})


def test_documents_from_a_generator(handbook: ingest.Collection) -> None:
    documents = (ingest.Document(f"T-{n}", f"Ticket {n} is about invoices.", metadata={"n": n}) for n in range(3))
    assert handbook.sync(documents, name="tickets").written == 3
    assert [hit.doc_id for hit in handbook.search("invoices", where="metadata.n>=2")] == ["T-2"]


def test_a_source_of_ones_own(handbook: ingest.Collection) -> None:
    receipt = handbook.sync(Wiki())
    assert (receipt.read, receipt.written, receipt.rejected, receipt.balanced) == (2, 1, 1, True)
    assert handbook.search("expense")[0].title == "Expenses"


def test_several_sources_at_once(handbook: ingest.Collection, rules: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "ferries.txt").write_text("The ferry leaves at noon.")
    sources: list[str | ingest.Source] = [Wiki(), ingest.records_source(rules, name="rules"), str(tmp_path / "ferries.txt")]
    receipt = handbook.sync(sources)
    assert (receipt.read, receipt.written, receipt.balanced) == (6, 5, True)
    assert {hit.source for word in ("expense", "refunds") for hit in handbook.search(word)} == {"wiki", "rules"}


def test_a_bad_record_is_kept_with_its_reason(handbook: ingest.Collection, tmp_path: Path) -> None:
    records: list[Any] = [{"id": "good", "text": "Good."}, {"id": "empty", "text": ""}, "not a record"]
    receipt = handbook.sync(records, name="records", rejects=tmp_path / "rejects.jsonl")
    assert (receipt.written, receipt.rejected, receipt.balanced) == (1, 2, True)
    assert (tmp_path / "rejects.jsonl").read_text().count("reason") == 2


def test_progress(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    seen: list[ingest.Progress] = []
    handbook.sync(rules, name="rules", on_progress=seen.append)
    assert seen[-1] == ingest.Progress(read=3, done=3)
    assert "bm25" in {progress.model for progress in seen}


def test_records_need_a_name(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    with pytest.raises(ingest.ConfigurationError, match="pass name="):
        handbook.sync(rules)


def test_two_sources_of_one_name_are_refused(handbook: ingest.Collection, rules: list[dict[str, Any]]) -> None:
    with pytest.raises(ingest.ConfigurationError, match="given twice"):
        handbook.sync([ingest.records_source(rules, name="rules"), ingest.records_source(rules, name="rules")])


def test_the_files_of_a_folder_are_chosen_by_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    for name in ("a.md", "b.txt", "drafts/c.md", "d.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"A note called {name}.")
    chosen: dict[str, Any] = {"include": ["*.md", "*.bin"], "exclude": ["drafts/*"]}
    with ingest.Collection("notes", store=tmp_path / "store", state=tmp_path / "state", models=["bm25"]) as notes:
        plan = notes.plan(folder, **chosen)
        assert (plan.added, plan.skipped) == (1, {".bin": 1})
        receipt = notes.sync(folder, **chosen)
        assert (receipt.written, receipt.skipped) == (1, {".bin": 1})
        assert notes.verify(folder, **chosen).clean
        for wrong in ("*.md", [3], None):
            with pytest.raises(ingest.ConfigurationError, match="include: "):
                notes.plan(folder, include=wrong)  # type: ignore[arg-type]
        with pytest.raises(ingest.ConfigurationError, match="exclude chooses the files of a folder"):
            notes.sync([{"id": "a", "text": "x"}], name="records", exclude=["*.md"])

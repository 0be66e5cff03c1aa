"""`ingest adopt` on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import ingest
from foreign_collections import LAYOUTS, write

from ingest.store import open_store

FIELDS = ["--id-field", "metadata.source", "--order-field", "metadata.page", "--metadata-field", "metadata", "--dense", "none"]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A working directory with the collection `notes_v1` of another tool and its alias `notes`."""
    store = tmp_path / ".ingest" / "qdrant"
    write(store, "notes_v1", LAYOUTS["langchain"])
    with open_store(store) as opened:
        opened.set_aliases({"notes": "notes_v1"})
    return tmp_path


def test_a_collection_is_adopted_searched_and_given_back(desk: Path) -> None:
    planned = ingest("adopt", "notes", *FIELDS, "--dry-run", cwd=desk)
    assert planned.code == 0, planned.err
    assert "notes_v1: 6 points, text in page_content" in planned.out
    assert "bm25" in planned.out
    done = ingest("adopt", "notes", *FIELDS, "--json", cwd=desk)
    assert done.code == 0, done.err
    assert {name: done.json[name] for name in ("collection", "adopted_from", "swapped", "problem")} == {
        "collection": "notes",
        "adopted_from": "notes_v1",
        "swapped": True,
        "problem": None,
    }
    found = ingest("search", "notes", "part 2 about leave", "--json", cwd=desk).json["hits"]
    assert (found[0]["doc_id"], found[0]["chunk"]) == ("leave.pdf", 2)
    assert ingest("reindex", "notes", "--rollback", cwd=desk).code == 0
    again = ingest("adopt", "notes", *FIELDS, cwd=desk)
    assert "notes: 2 unchanged" in again.out
    assert "notes now stands for the new collection; notes_v1 is unchanged" in again.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["notes_v1"], "is the name of the collection itself and no alias"),
        (["nowhere"], "there is no collection nowhere"),
        (["notes", "--have", "bm25"], "--have bm25 has no model and vector: write --have all-miniLM-l6=NAME"),
        (
            ["notes", "--text-field", "body", "--into", "new"],
            "no text is in body of the first 6 points of notes: name another field",
        ),
        (["notes", "--order-field", "metadata.page"], "requires the field with the id of their document"),
    ],
)
def test_wrong_input_is_answered_by_a_sentence(desk: Path, arguments: list[str], message: str) -> None:
    done = ingest("adopt", *arguments, "--dense", "none", cwd=desk)
    assert done.code in {1, 2, 3}
    assert message in done.err
    assert "Traceback" not in done.err
    with open_store(desk / ".ingest" / "qdrant") as opened:
        assert opened.aliases()["notes"] == "notes_v1"

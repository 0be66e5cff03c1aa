"""Deletes with grace, from the command line: hidden, brought back, due, and stopped by the brake."""

from __future__ import annotations

from pathlib import Path

from command import Outcome, ingest, write_jsonl

SETTINGS = """
dense = "none"
delete = "full"
delete_after = "7d"
"""


def test_a_gone_document_is_hidden_until_it_is_brought_back_or_due(tmp_path: Path) -> None:
    (tmp_path / "ingest.toml").write_text(SETTINGS)
    words = ["apple", "bear", "cloud", "door", "engine", "flower", "garden"]
    records = [{"id": word, "text": f"All there is to say of the {word}."} for word in words]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)

    def run(*arguments: str) -> Outcome:
        return ingest(*arguments, cwd=tmp_path)

    def answers(question: str) -> list[str]:
        return [hit["doc_id"] for hit in run("search", "words", question, "--rerank", "off", "--json").json["hits"]]

    assert run("run", str(corpus), "-c", "words").code == 0
    write_jsonl(corpus, records[1:])
    hidden = run("run", str(corpus), "-c", "words", "--json").json
    assert (hidden["soft_deleted"], hidden["deleted"], hidden["balanced"]) == (1, 0, True)
    assert answers("apple") == []

    due = run("plan", str(corpus), "-c", "words", "--delete-after", "0s", "--json").json
    assert (due["deleted"], due["soft_deleted"], due["in_grace_period"]) == (1, 0, 0)
    back = run("collections", "undelete", "words", "--source", str(corpus), "--doc-id", "apple", "--json")
    assert (back.code, back.json) == (0, {"collection": "words", "undeleted": 1})
    assert answers("apple") == ["apple"]

    write_jsonl(corpus, records[6:])
    stopped = run("run", str(corpus), "-c", "words")
    assert stopped.code == 4
    assert "6 of the 7 documents" in stopped.err
    assert answers("apple") == ["apple"]

"""`ingest eval` on real text with judged questions: the real command, the real models, the embedded engine."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from command import Outcome, ingest, write_jsonl
from corpus import python_topics

SCORES = ("ndcg@10", "recall@100", "mrr@10")

QUESTIONS = {
    "how do I insert a debugging check that a condition holds?": {"assert": 2},
    "binding a name to a value": {"assignment": 2, "augassign": 1},
    "combining an operation such as + with an assignment in one statement": {"augassign": 2, "assignment": 1},
    "how are coroutines declared?": {"async": 2, "await": 1},
    "suspend a coroutine until an awaitable is done": {"await": 2, "async": 1},
    "what happens when an identifier is evaluated": {"atom-identifiers": 2},
    "string, bytes and number literals": {"atom-literals": 2},
    "which methods customize attribute access on my class?": {"attribute-access": 2, "attribute-references": 1},
    "a primary followed by a period and a name": {"attribute-references": 2},
    "priority of multiplication and addition": {"binary": 2},
    "bitwise and, or, xor": {"bitwise": 2, "binary": 1},
    "compiled executable code of a function body": {"bltin-code-objects": 2},
}


def topics(folder: Path) -> Path:
    """Topics of the language reference, with questions judged by hand, in the BEIR layout."""
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", [{**record, "_id": record.pop("id")} for record in python_topics(12)])
    write_jsonl(folder / "queries.jsonl", [{"_id": str(number), "text": text} for number, text in enumerate(QUESTIONS)])
    judged = [f"{number}\t{id_}\t{grade}\n" for number, by in enumerate(QUESTIONS.values()) for id_, grade in by.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    return folder


def test_bm25_alone_finds_nearly_everything(tmp_path: Path) -> None:
    folder = topics(tmp_path / "beir")
    made = ingest("run", str(folder / "corpus.jsonl"), "-c", "judged", "--dense", "none", cwd=tmp_path)
    assert made.code == 0, made.err
    bm25, fused = ingest("eval", "judged", str(folder), "--json", cwd=tmp_path).json["rows"]
    assert bm25["ndcg@10"] == pytest.approx(0.95, abs=0.05)
    # The fusion of one ranking is that ranking.
    assert {name: fused[name] for name in SCORES} == {name: bm25[name] for name in SCORES}
    tested = ingest("eval", "judged", "--self", "-n", "10", "--against", "judged", "--json", cwd=tmp_path).json
    assert (tested["queries"], tested["overlap"]) == (10, {"value": 1.0, "error": 0.0})
    assert [row["name"] for row in tested["rows"]] == ["bm25", "fused"]
    assert all(row["recall@10"]["value"] > 0.9 for row in tested["rows"])
    shown = ingest("eval", "judged", "--self", "-n", "10", cwd=tmp_path)
    assert "10 queries of its own" in shown.out
    for wrong in ((), (str(folder), "--self"), ("--self", "--tune"), (str(folder), "--against", "judged")):
        assert ingest("eval", "judged", *wrong, cwd=tmp_path).code == 2


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the topics, ingested by the default models."""
    folder = tmp_path_factory.mktemp("desk")
    done = ingest("run", str(topics(folder / "beir") / "corpus.jsonl"), "-c", "topics", cwd=folder)
    assert done.code == 0, done.err
    return folder


def evaluate(desk: Path, *arguments: str) -> Outcome:
    return ingest("eval", "topics", "beir", *arguments, cwd=desk)


def test_json_has_a_row_for_every_vector_and_their_fusion(desk: Path) -> None:
    done = evaluate(desk, "--tune", "--json")
    assert done.code == 0, done.err
    result: dict[str, Any] = done.json
    assert list(result) == ["collection", "questions", "rows", "tuned"]
    assert (result["collection"], result["questions"]) == ("topics", len(QUESTIONS))
    assert [row["name"] for row in result["rows"]] == ["all-miniLM-l6", "bm25", "fused"]
    for row in result["rows"]:
        assert list(row) == ["name", "ndcg@10", "recall@100", "mrr@10", "p50_ms", "p95_ms"]
        assert row["ndcg@10"] > 0.8
        assert row["mrr@10"] > 0.8
        assert 0 < row["p50_ms"] <= row["p95_ms"]
    # A dozen topics is fewer than a vector brings: all that are relevant are found by the one that always answers.
    assert result["rows"][0]["recall@100"] == result["rows"][2]["recall@100"] == 1.0
    training, held_out = result["tuned"]["training"], result["tuned"]["held_out"]
    assert training["questions"] + held_out["questions"] == len(QUESTIONS)
    assert training["tuned"] >= training["equal"]
    assert tomllib.loads(result["tuned"]["toml"])["weights"].keys() == {"all-miniLM-l6", "bm25"}


def test_a_person_gets_a_table(desk: Path) -> None:
    done = evaluate(desk, "--limit", "3", "--tune")
    assert done.code == 0, done.err
    assert "topics: 3 queries" in done.out
    assert [line for line in done.out.splitlines() if "all-miniLM-l6" in line and "1.0" in line]
    assert "[weights]" in done.out


@pytest.mark.parametrize(
    ("collection", "folder", "code", "says"),
    [("topics", "elsewhere", 2, "BEIR layout"), ("nothing", "beir", 1, "nothing")],
)
def test_what_is_not_there(desk: Path, collection: str, folder: str, code: int, says: str) -> None:
    done = ingest("eval", collection, folder, "--json", cwd=desk)
    assert (done.code, done.json["exit_code"]) == (code, code)
    assert says in done.json["error"]


def test_fusion_and_feedback_are_options_of_eval_and_search(desk: Path) -> None:
    def fused(*arguments: str) -> dict[str, float]:
        row = next(
            row
            for row in evaluate(desk, "--json", "--rerank", "off", "--limit", "4", *arguments).json["rows"]
            if row["name"] == "fused"
        )
        return {name: row[name] for name in SCORES}

    assert fused("--fusion", "rrf") == fused("--fusion", "rrf", "--no-feedback")
    assert fused("--fusion", "scores", "--feedback") == fused()
    assert evaluate(desk, "--fusion", "sum").code == 2

    def hits(*arguments: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = ingest("search", "topics", "binary operators", "--json", *arguments, cwd=desk).json["hits"]
        return found

    best = hits()[0]
    assert best["fused_score"] == pytest.approx(sum(best["contributions"].values()))
    assert hits("--fusion", "rrf")[0]["fused_score"] < 0.04
    shown = ingest("search", "topics", "binary operators", "--explain", cwd=desk)
    assert f"bm25 #{best['ranks']['bm25']} {best['vector_scores']['bm25']:.4f}" in " ".join(shown.out.split())
    assert "feedback took" in shown.err
    assert "feedback took" not in ingest("search", "topics", "binary operators", "--explain", "--no-feedback", cwd=desk).err

"""Questions nobody expected and collections nobody can search: an answer or one line, never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import Outcome, ingest, write_jsonl
from corpus import python_topics

from ingest.errors import ConfigurationError
from ingest.search import Searcher
from ingest.store.contract import CollectionOptions, Manifest, VectorSpec
from ingest.store.edge.store import EdgeStore
from ingest.testing import HashEncoder

HUGE = "binding a name " * 7_000
ODD = [
    HUGE,
    "🪑🔥🏳️‍🌈",
    "مرحبا بالعالم",
    "\u202e reversed \u2066isolated\u2069",
    "the of and",
    "'; DROP TABLE chunks; --",
    '{"must": [{"key": "_ingest", "match": {"any": []}}]}',
    "$(rm -rf .) `id` ${HOME} %s %n {0} \\x00",
    "-1e999 NaN null",
]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dozen topics: `words` under BM25 alone, `topics` under the default models."""
    folder = tmp_path_factory.mktemp("desk")
    source = write_jsonl(folder / "topics.jsonl", python_topics(12, characters=700))
    for arguments in (("words", "--dense", "none"), ("topics",)):
        done = ingest("run", str(source), "-c", *arguments, cwd=folder)
        assert done.code == 0, done.err
    return folder


def search(desk: Path, question: str, *arguments: str, collection: str = "words") -> Outcome:
    return ingest("search", collection, question, *arguments, "--rerank", "off", cwd=desk)


def assert_one_line(done: Outcome, code: int) -> None:
    assert done.code == code
    assert done.err.startswith("error: ")
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("question", ODD[:6])
def test_every_question_has_an_answer(desk: Path, question: str) -> None:
    done = ingest("search", "words", "--rerank", "off", "--json", "--", question, cwd=desk)
    assert (done.code, done.err) == (0, "")
    assert done.json["query"] == question
    assert bool(done.json["hits"]) == (question == HUGE)


@pytest.fixture(scope="module")
def searcher(desk: Path) -> Iterator[Searcher]:
    with Searcher.open("topics", desk / ".ingest" / "qdrant") as opened:
        yield opened


@pytest.mark.parametrize("question", ["--", "\x00", "\ud800", *ODD])
def test_the_default_models_answer_every_question(searcher: Searcher, question: str) -> None:
    if question == "\ud800":
        with pytest.raises(ConfigurationError, match="Unicode"):
            searcher.search(question)
        return
    assert len(searcher.search(question, limit=10)) == 10


@pytest.mark.parametrize("question", ["", " \t\n"])
def test_an_empty_question_is_refused(desk: Path, question: str) -> None:
    done = search(desk, question, "--json")
    assert_one_line(done, 2)
    assert "empty" in done.json["error"]


@pytest.mark.parametrize("where", ["metadata.length", "metadata.length>=now", "'; DROP TABLE", "", "= 1", "a" * 20_000])
def test_a_condition_that_cannot_be_read_is_refused(desk: Path, where: str) -> None:
    assert_one_line(search(desk, "binding", "--where", where), 2)


def test_a_field_that_no_chunk_has_is_told(desk: Path) -> None:
    done = search(desk, "binding", "--where", "metadata.lenght>10", "--json")
    assert (done.code, done.json["hits"]) == (0, [])
    [warning] = done.json["warnings"]
    assert done.err.strip() == warning
    assert "metadata.lenght" in warning
    known = search(desk, "binding", "--where", "metadata.length>10", "--json")
    assert (known.err, known.json["warnings"]) == ("", [])
    assert known.json["hits"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--limit", "1001"), "--offset"),
        (("--limit", "0"), "at least 1"),
        (("--offset", "9999"), "10,000"),
        (("--context", "-1"), "context"),
        (("--diversity", "1.5"), "diversity"),
        (("--group-size", "2"), "group_by"),
        (("--tenant", "acme"), "tenant"),
        (("--vectors", ""), "vectors"),
    ],
)
def test_a_limit_is_told_in_one_line(desk: Path, arguments: tuple[str, ...], says: str) -> None:
    done = search(desk, "binding", *arguments, "--json")
    assert_one_line(done, 2)
    assert says.removeprefix("--") in done.json["error"]


@pytest.mark.parametrize("names", ["words,words", "words, Words"])
def test_one_collection_cannot_be_searched_twice_at_once(desk: Path, names: str) -> None:
    done = search(desk, "binding", collection=names)
    assert_one_line(done, 2)
    assert "names a collection twice" in done.err


@pytest.mark.parametrize(
    ("arguments", "change"),
    [
        (("--offset", "1"), {"offset": 0}),
        (("--score-threshold", "99"), {"score_threshold": None}),
        (("--group-by", "metadata.nothing"), {"group_by": None}),
        (("--min-rank-vectors", "2"), {"min_rank_vectors": 1}),
    ],
)
def test_why_takes_the_options_of_a_search(desk: Path, arguments: tuple[str, ...], change: dict[str, object]) -> None:
    first = search(desk, "binding", "--json").json["hits"][0]["doc_id"]
    done = ingest("why", "words", "binding", "--doc-id", first, *arguments, "--rerank", "off", "--json", cwd=desk)
    assert (done.json["cause"], done.json["change"]) == ("option", change)


def test_the_change_that_why_names_can_be_sent_as_a_request(desk: Path) -> None:
    first = search(desk, "binding", "--json").json["hits"][0]["doc_id"]
    where = ("--where", "chunk>=0 and not title=nothing", "--where", f'doc_id!="{first}"')
    done = ingest("why", "words", "binding", "--doc-id", first, *where, "--rerank", "off", "--json", cwd=desk)
    kept = [{"chunk": {"gte": 0}}, {"not": [{"title": "nothing"}]}]
    assert (done.json["cause"], done.json["change"]) == ("filter", {"where": kept})


def test_a_hit_is_shown_with_its_headings_and_its_place(tmp_path: Path) -> None:
    folder = tmp_path / "handbook"
    folder.mkdir()
    (folder / "refunds.md").write_text("---\nlang: en\n---\n# Refunds\n\n## Limits\n\nClerks approve up to 100 euros.\n")
    (folder / "page.html").write_text(
        '<link rel="canonical" href="https://x.test/leave"><h1 id="days">Leave</h1><p>Thirty days.</p>'
    )
    assert ingest("run", str(folder), "-c", "places", "--dense", "none", cwd=tmp_path).code == 0
    shown = ingest("search", "places", "euros", "--rerank", "off", cwd=tmp_path).out
    assert shown.startswith(" 1. Refunds › Limits\n    refunds.md:4  score ")
    [hit] = ingest("search", "places", "thirty", "--rerank", "off", "--json", cwd=tmp_path).json["hits"]
    assert (hit["place"], hit["line"]) == ("https://x.test/leave#days", None)
    [hit] = ingest("search", "places", "euros", "--where", "line>=4", "--rerank", "off", "--json", cwd=tmp_path).json["hits"]
    assert (hit["place"], hit["line"]) == ("refunds.md:4", 4)


def test_models_that_are_not_those_the_collection_was_made_with(desk: Path) -> None:
    with EdgeStore(desk / ".ingest" / "qdrant") as store:
        for collection, model in (("unknown", HashEncoder("house")), ("another", HashEncoder("all-miniLM-l6"))):
            spec = VectorSpec(model.key, model.dim, model.fingerprint, space=model.space)
            store.ensure(Manifest(collection, collection, (spec,)), CollectionOptions())
    unknown = search(desk, "binding", "--json", collection="unknown")
    assert_one_line(unknown, 2)
    assert unknown.json["type"] == "UnknownModelError"
    assert "house" in unknown.err
    another = search(desk, "binding", "--json", collection="another")
    assert_one_line(another, 2)
    assert another.json["type"] == "ManifestMismatchError"
    assert "was made with another all-miniLM-l6" in another.err

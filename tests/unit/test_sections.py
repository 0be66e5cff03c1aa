"""Markdown is cut along its structure: sections, tables, lists and code stay whole where they fit."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.context import heading_path, path_line
from ingest.identity import doc_key
from ingest.records import Chunk, Document, Rejected
from ingest.source.chunking import Chunker, ChunkingOptions
from ingest.source.outline import outline_of
from ingest.store.schema import build_payload, encoded_text
from ingest.sync.fingerprints import digest_document, digest_stored_payload, fingerprint_chunks

SENTENCE = "This sentence explains how the team handles requests. "
BARE = re.compile(r"\s*(#{1,6} [^\n]*\s*)+")


def cut(text: str, *, tokens: int = 100, title: str | None = None, overlap: float = 0.0, **places: object) -> list[Chunk]:
    document = Document("d", text, title, format="markdown", **places)  # type: ignore[arg-type]
    (chunks,) = Chunker([], ChunkingOptions(tokens, overlap)).chunk([document], [doc_key("test", "d")])
    assert not isinstance(chunks, Rejected)
    return chunks


def table(rows: int) -> str:
    return "| Clause | Penalty |\n|---|---|\n" + "".join(f"| Late payment {n} | {n} percent per month |\n" for n in range(rows))


words = st.text("abcdefgh éß語", min_size=1, max_size=12).map(str.strip).filter(bool)
blocks = st.one_of(
    st.builds(lambda level, name: "#" * level + " " + name, st.integers(1, 6), words),
    st.builds(lambda word, times: f"{word} {SENTENCE * times}", words, st.integers(0, 12)),
    st.builds(table, st.integers(1, 30)),
    st.builds(lambda word, times: "```\n" + f"{word} = 1\n" * times + "```", words, st.integers(1, 30)),
    st.builds(lambda word, times: "\n".join(f"- {word} {n}\n  - inner {word}" for n in range(times)), words, st.integers(1, 30)),
    st.builds(lambda word: f"[{word}]: https://example.org/", words),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(blocks, min_size=1, max_size=15), st.integers(60, 200))
def test_chunks_cover_the_text_without_bare_headings_or_torn_rows(parts: list[str], tokens: int) -> None:
    text = "\n\n".join([*parts, "The end of the document."])
    chunks = cut(text, tokens=tokens)
    assert all(chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() for chunk in chunks)
    assert all(one.end <= other.start for one, other in pairwise(chunks))
    assert "".join("".join(chunk.text for chunk in chunks).split()) == "".join(text.split())
    assert not [chunk.text for chunk in chunks if BARE.fullmatch(chunk.text)]
    rows = [match.span() for match in re.finditer(r"^\|.*\|$", text, re.MULTILINE)]
    assert not [(start, chunk) for start, end in rows for chunk in chunks if start < chunk.start < end]


@pytest.mark.parametrize("length", range(40, 240, 20))
def test_a_long_heading_is_no_chunk_of_its_own(length: int) -> None:
    heading = f"### {'Commented blocks ' * 20}"[:length].strip()
    chunks = cut(f"# Guide\n\n{SENTENCE * 3}\n\n{heading}\n\n{SENTENCE * 3}", tokens=60, title="Guide")
    assert not [chunk.text for chunk in chunks if BARE.fullmatch(chunk.text)]
    assert max(len(chunk.encoded_text) for chunk in chunks) <= 240


def test_a_heading_stays_with_the_text_of_its_section() -> None:
    chunks = cut(
        "# Handbook\n\n## Billing\n\n### Refund deadline\n\n" + SENTENCE * 12 + "\n\n### Chargebacks\n\n" + SENTENCE * 12
    )
    assert [chunk.text.split("\n", 1)[0] for chunk in chunks if chunk.text.startswith("#")] == ["# Handbook", "### Chargebacks"]
    assert chunks[0].section == ("Handbook", "Billing", "Refund deadline")
    assert {chunk.context for chunk in chunks if "Refund deadline" in chunk.section} == {
        "",
        "Handbook > Billing > Refund deadline",
    }
    assert chunks[-1].section == ("Handbook", "Billing", "Chargebacks")
    assert all("Handbook" in chunk.encoded_text for chunk in chunks)


def test_a_last_heading_without_text_joins_the_text_before_it() -> None:
    assert cut("# A\n\n" + SENTENCE * 12 + "\n\n## References\n")[-1].text.endswith("\n\n## References")


def test_a_heading_of_links_only_keeps_them() -> None:
    chunks = cut(f"# A\n\n{SENTENCE * 6}\n\n## Links\n\n[a]: https://example.org/{'a' * 60}\n\n## B\n\n{SENTENCE * 7}")
    assert [chunk.section for chunk in chunks][-2:] == [("A", "Links"), ("A", "B")]


def test_each_piece_of_a_table_is_encoded_with_its_header_row() -> None:
    first, *others = cut("# Penalties\n\n" + table(60), title="Penalties")
    assert first.table_header is None
    assert others
    for chunk in others:
        assert chunk.table_header == "| Clause | Penalty |"
        assert chunk.context == "Penalties\n| Clause | Penalty |"
        assert chunk.text.startswith("| Late payment")
        assert chunk.text.endswith("per month |")


@pytest.mark.parametrize(
    "block", ["```\n" + "value = 1\n\n" * 20 + "```", table(5), "- item\n" * 30], ids=["code", "table", "list"]
)
def test_a_block_that_fits_is_not_torn(block: str) -> None:
    assert [chunk for chunk in cut(f"{SENTENCE * 5}\n\n{block}\n\n{SENTENCE * 5}") if block.strip() in chunk.text]


def test_marks_in_code_and_comments_are_no_headings() -> None:
    assert outline_of("```\n# no\n```\n\n<!--\n# no\n-->\n\n    # no\n\n> # no\n").headings == ()


def test_headings_are_read_without_their_markup() -> None:
    headings = outline_of("Über *uns*\n=====\n\n## The `run` [command](x) <b>now</b> ##\n\ntext").headings
    assert [heading.path for heading in headings] == [("Über uns",), ("Über uns", "The run command now")]


def test_tiny_rests_join_their_neighbor() -> None:
    chunks = cut("# A\n\nShort.\n\n## B\n\n" + SENTENCE * 12 + "\n\nEnd.")
    assert min(len(chunk.text) for chunk in chunks) >= 40


def test_cuts_fall_between_graphemes() -> None:
    family = "👩‍👩‍👧‍👦"
    assert all(len(chunk.text) % len(family) == 0 for chunk in cut(family * 400))
    assert all(len(chunk.text) % len(family) == 0 for chunk in cut(family * 400, overlap=0.2))


def test_blocks_of_a_long_text_without_spaces_end_between_graphemes() -> None:
    letter = "क्षी"
    assert all(len(chunk.text) % len(letter) == 0 for chunk in cut(letter * 9_000, tokens=500))


def test_a_chunk_names_its_page_and_anchor() -> None:
    text = "# One\n\n" + SENTENCE * 7 + "\n\n# Two\n\n" + SENTENCE * 7
    two = text.index("# Two")
    first, second = cut(text, pages=((3, 0), (4, two)), anchors=(("two", two),))
    assert (first.page, first.anchor) == (3, None)
    assert (second.page, second.anchor) == (4, "two")


def test_a_long_path_is_cut_in_its_middle() -> None:
    path = heading_path("Handbook", ("Handbook", "Billing and payments", "Refunds"))
    assert path_line(path, 99) == "Handbook > Billing and payments > Refunds"
    assert path_line(path, 30) == "Handbook > … > Refunds"
    assert all(len(path_line(path, length)) <= length for length in range(60))


def test_the_stored_payload_tells_what_was_encoded() -> None:
    text = "# One\n\n" + table(60)
    document = Document("d", text, "T", format="markdown", url="https://example.org/", pages=((1, 0),), anchors=(("a", 0),))
    (chunks,) = Chunker([], ChunkingOptions(100)).chunk([document], ["k"])
    assert not isinstance(chunks, Rejected)
    made = fingerprint_chunks(chunks, "k", digest_document(document, ""), {})
    for chunk, fingerprint in zip(chunks, made, strict=True):
        payload = build_payload(document, chunk, "s")
        assert (payload["section"], payload["page"], payload["url"], payload["anchor"]) == (["One"], 1, document.url, "a")
        assert encoded_text(payload, fingerprint) == chunk.encoded_text
        assert digest_stored_payload(payload) == fingerprint.payload_fp
        for name in ("section", "page", "url", "anchor"):
            assert digest_stored_payload({**payload, name: "edited"}) != fingerprint.payload_fp

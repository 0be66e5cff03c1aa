"""Judged questions, from a folder in the BEIR layout."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ingest.errors import ConfigurationError, SourceError
from ingest.search.metrics import MAX_RELEVANCE, Judgements

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Questions:
    """`texts` and `judgements` are by question id, have the same keys, and the order of the file."""

    texts: Mapping[str, str]
    judgements: Judgements

    def first(self, count: int | None) -> Questions:
        """The first `count`, or all."""
        return self._only(dict(islice(self.texts.items(), count)))

    def held_out(self) -> Questions:
        """The half that nothing is ever trained or tuned on."""
        return self._only({question: text for question, text in self.texts.items() if is_held_out(question)})

    def _only(self, texts: Mapping[str, str]) -> Questions:
        return Questions(texts, {question: self.judgements[question] for question in texts})


def is_held_out(question: str) -> bool:
    """True for about half of all question ids, always the same ones: those never to be trained on."""
    return hashlib.sha256(question.encode()).digest()[0] % 2 == 1


def load_beir(folder: Path | str) -> Questions:
    """Reads `queries.jsonl` and `qrels/test.tsv`. Questions that nobody judged are left out; of two judgements the later counts.

    Raises `ConfigurationError` if the folder or one of the files is not there, and `SourceError` with file and line for what is
    malformed, for a judgement of an unknown question, and if nothing is judged.
    """
    queries, qrels = Path(folder, "queries.jsonl"), Path(folder, "qrels", "test.tsv")
    for path in (queries, qrels):
        if not path.is_file():
            raise ConfigurationError(
                f"{path} is not there: name a folder in the BEIR layout, with queries.jsonl and qrels/test.tsv"
            )
    judgements: dict[str, dict[str, int]] = {}
    for question, document, relevance in _records(qrels, _judgement):
        judgements.setdefault(question, {})[document] = relevance
    texts = {question: text for question, text in _records(queries, _question) if question in judgements}
    if unknown := sorted(judgements.keys() - texts.keys()):
        raise SourceError(
            f"{qrels} judges question {unknown[0]!r}, which is not in {queries}: add it there, or drop its judgements"
        )
    if not texts:
        raise SourceError(f"{qrels} judges nothing: give it lines of question id, document id and relevance, split by tabs")
    return Questions(texts, {question: judgements[question] for question in texts})


def _records(path: Path, parse: Callable[[str], Record]) -> Iterator[Record]:
    """What every line that is not blank holds; a first line of a .tsv that cannot be parsed is its header."""
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    yield parse(line)
                except ValueError as exc:
                    if number > 1 or path.suffix != ".tsv":
                        raise SourceError(f"{path}:{number}: {exc}") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise SourceError(f"{path} cannot be read: {exc}") from exc


def _question(line: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as exc:
        raise ValueError(f"not JSON ({exc.msg}): write one object per line") from exc
    match record:
        case {"_id": str() | int() as id_, "text": str() as text} if text.strip():
            return str(id_), text
    raise ValueError("a question needs an _id and a text that is not empty")


def _judgement(line: str) -> tuple[str, str, int]:
    match line.rstrip("\r\n").split("\t"):
        case [question, document, relevance] if question and document:
            return question, document, _relevance(relevance)
    raise ValueError("a judgement is a question id, a document id and a relevance, split by tabs")


def _relevance(text: str) -> int:
    try:
        relevance = int(text)
    except ValueError as exc:
        raise ValueError(f"the relevance {text!r} is no whole number") from exc
    if relevance > MAX_RELEVANCE:
        raise ValueError(f"the relevance {relevance} is above {MAX_RELEVANCE}: grade on a smaller scale")
    return relevance

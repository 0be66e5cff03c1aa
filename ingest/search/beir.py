"""Judged queries, read from a folder in the BEIR layout."""

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
class JudgedQueries:
    """Queries with their judgements.

    Attributes:
        texts: query id → text, in the order of the file.
        judgements: query id → judgements, with the same keys in the same order.
    """

    texts: Mapping[str, str]
    judgements: Judgements

    def first(self, count: int | None) -> JudgedQueries:
        """Return the first `count` queries, or all for None."""
        return self._only(dict(islice(self.texts.items(), count)))

    def held_out(self) -> JudgedQueries:
        """Return the half that is never used for training or tuning."""
        return self._only({query_id: text for query_id, text in self.texts.items() if is_held_out(query_id)})

    def _only(self, texts: Mapping[str, str]) -> JudgedQueries:
        return JudgedQueries(texts, {query_id: self.judgements[query_id] for query_id in texts})


def is_held_out(query_id: str) -> bool:
    """Return whether a query belongs to the half that is never used for training or tuning. Depends on the id alone."""
    return hashlib.sha256(query_id.encode()).digest()[0] % 2 == 1


def load_beir(folder: Path | str) -> JudgedQueries:
    """Read `queries.jsonl` and `qrels/test.tsv`.

    Queries without judgements are left out. If a pair is judged twice, the later judgement counts.

    Raises `ConfigurationError` if the folder or a file is missing, and `SourceError` with file and line for a malformed record,
    for a judgement of an unknown query, and if there are no judgements.
    """
    queries, qrels = Path(folder, "queries.jsonl"), Path(folder, "qrels", "test.tsv")
    for path in (queries, qrels):
        if not path.is_file():
            raise ConfigurationError(f"{path} does not exist: name a folder in the BEIR layout, with those two files")
    judgements: dict[str, dict[str, int]] = {}
    for query_id, document, relevance in _records(qrels, _judgement):
        judgements.setdefault(query_id, {})[document] = relevance
    texts = {query_id: text for query_id, text in _records(queries, _query) if query_id in judgements}
    if unknown := sorted(judgements.keys() - texts.keys()):
        raise SourceError(f"{qrels} judges query {unknown[0]!r}, which is not in {queries}: add it there, or drop its judgements")
    if not texts:
        raise SourceError(f"{qrels} has no judgements: write lines of query id, document id and relevance, separated by tabs")
    return JudgedQueries(texts, {query_id: judgements[query_id] for query_id in texts})


def _records(path: Path, parse: Callable[[str], Record]) -> Iterator[Record]:
    """Yield the record of each non-blank line. A first line of a .tsv file that cannot be parsed is its header."""
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


def _query(line: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as exc:
        raise ValueError(f"not JSON ({exc.msg}): write one object per line") from exc
    match record:
        case {"_id": str() | int() as id_, "text": str() as text} if text.strip():
            return str(id_), text
    raise ValueError("a query requires an _id and a text that is not empty")


def _judgement(line: str) -> tuple[str, str, int]:
    match line.rstrip("\r\n").split("\t"):
        case [query_id, document, relevance] if query_id and document:
            return query_id, document, _relevance(relevance)
    raise ValueError("a judgement is a query id, a document id and a relevance, separated by tabs")


def _relevance(text: str) -> int:
    try:
        relevance = int(text)
    except ValueError as exc:
        raise ValueError(f"the relevance {text!r} is not a whole number") from exc
    if relevance > MAX_RELEVANCE:
        raise ValueError(f"the relevance {relevance} is above {MAX_RELEVANCE}: use a smaller scale")
    return relevance

"""Orders other than the fused one: boosted by a field of the payload, or diverse. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from ingest.errors import ConfigurationError
from ingest.parameters import MAX_WEIGHT, checked, normalize, optional, parse_duration, parse_number
from ingest.records import DenseMatrix, Payload
from ingest.search.fields import FieldUse
from ingest.search.fusion import Fused
from ingest.store.conditions import parse_field
from ingest.store.payload_path import values_at

_TEXT = re.compile(r"(?P<field>.+):(?:(?P<low>[^:*]+)\.\.(?P<high>[^:*]+)|(?P<half>[^:*]+))(?:\*(?P<weight>.+))?")


@dataclass(frozen=True, slots=True)
class Boost:
    """A field of the payload that raises the scores of candidates.

    A score is multiplied by `1 + weight * value`, where the value is 0 to 1; without the field it is 0.

    Attributes:
        field: payload path of a date or number: `metadata.date`, `metadata.stars`.
        half_life: for dates: seconds, a `timedelta` or text such as `30d`. The value is `0.5 ** (age / half_life)`, at most 1.
        low, high: for numbers: the value rises linearly from 0 at `low` to 1 at `high`, which may be the lower one.
        weight: more than 0, at most 1,000,000. With 1, the best value doubles a score.
    """

    field: str
    half_life: float | None = None
    low: float | None = None
    high: float | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        parse_field(self.field)
        normalize(self, "half_life", optional(parse_duration))
        normalize(self, "low", optional(parse_number), least=float("-inf"))
        normalize(self, "high", optional(parse_number), least=float("-inf"))
        normalize(self, "weight", parse_number, most=MAX_WEIGHT, positive=True)
        linear = self.low is not None and self.high is not None and self.low != self.high
        if bool(self.half_life) == linear or (self.low is None) != (self.high is None):
            raise ConfigurationError(f"boost: {self.field} needs a half_life (dates), or two different numbers low and high")

    @classmethod
    def of_text(cls, text: str) -> Boost:
        """Return the boost in a text: `metadata.date:30d`, `metadata.stars:0..5`, or with a weight `metadata.stars:0..5*0.5`.

        Raises `ConfigurationError`.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ConfigurationError(f"boost: {text!r} cannot be read: write metadata.date:30d or metadata.stars:0..5*0.5")
        numbers = {name: _number(text, found[name]) for name in ("low", "high", "weight") if found[name]}
        half_life = checked("boost", parse_duration, found["half"]) if found["half"] else None
        return cls(found["field"], half_life, **numbers)

    @property
    def use(self) -> FieldUse:
        """The kind of values that raise a score."""
        if self.half_life:
            return FieldUse("boost", self.field, ("date",), f"a half-life needs dates; for numbers, write {self.field}:0..10")
        return FieldUse("boost", self.field, ("number",), f"a range needs numbers; for dates, write {self.field}:30d")

    def value(self, payload: Payload, now: datetime) -> float:
        """Return the greatest value of the field, 0 to 1."""
        return max((self._of(each, now) for each in values_at(payload, self.field)), default=0.0)

    def _of(self, value: object, now: datetime) -> float:
        if self.half_life:
            age = _age(value, now)
            return 0.0 if age is None else 0.5 ** (max(0.0, age) / self.half_life)
        if self.low is None or self.high is None or isinstance(value, bool) or not isinstance(value, int | float):
            return 0.0
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def boosted(candidates: Sequence[Fused], payloads: Mapping[str, Payload], boosts: Sequence[Boost], now: datetime) -> list[Fused]:
    """Return the candidates with their boosted scores, best first."""
    raised = [
        replace(each, score=each.score * (1 + sum(boost.weight * boost.value(payloads[each.id], now) for boost in boosts)))
        for each in candidates
    ]
    return sorted(raised, key=lambda each: -each.score)


def diverse(candidates: Sequence[Fused], vectors: Mapping[str, DenseMatrix], diversity: float) -> list[Fused]:
    """Return the candidates in the order of maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each next one has the greatest `(1 - diversity) * score / best score - diversity * greatest cosine to those before it`.
    Candidates without a vector follow in their order.
    """
    with_vector = [each for each in candidates if each.id in vectors]
    if not with_vector:
        return list(candidates)
    matrix = np.array([vectors[each.id] for each in with_vector], dtype=np.float64)
    matrix /= np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    best = max(each.score for each in with_vector) or 1.0
    relevance = np.array([each.score / best for each in with_vector])
    similarity = np.full(len(with_vector), -1.0)
    left = np.ones(len(with_vector), dtype=bool)
    order: list[Fused] = []
    while left.any():
        penalty = diversity * similarity if order else np.zeros_like(similarity)
        gains = np.where(left, (1 - diversity) * relevance - penalty, -np.inf)
        chosen = int(np.argmax(gains))
        order.append(with_vector[chosen])
        left[chosen] = False
        similarity = np.maximum(similarity, matrix @ matrix[chosen])
    return [*order, *(each for each in candidates if each.id not in vectors)]


def _number(text: str, number: str) -> float:
    try:
        return float(number)
    except ValueError as exc:
        raise ConfigurationError(f"boost: {number!r} in {text!r} is not a number") from exc


def _age(value: object, now: datetime) -> float | None:
    """Return the age of a date in seconds, or None if it is none."""
    try:
        date = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if date is None:
        return None
    return (now - (date if date.tzinfo else date.replace(tzinfo=UTC))).total_seconds()

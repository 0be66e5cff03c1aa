"""What an endpoint proved when a collection was made: the vectors of canary texts, and how much of a text it reads. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Vectors
from ingest.identity import digest
from ingest.records import SparseVector

CANARIES = (
    "A refund above 100 euros must be approved by the head of support.",
    "The cat sat on the mat and watched the rain.",
    "Water boils at 100 degrees Celsius at sea level.",
    "def add(a: int, b: int) -> int:\n    return a + b",
    "SELECT name, price FROM parts WHERE price > 20 ORDER BY name;",
    "The patient was given 5 mg of the drug twice a day.",
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "Error: connection refused (host=127.0.0.1, port=6333)",
    "Die Kündigung muss schriftlich bis zum 30. September erfolgen.",
    "Le train de nuit pour Marseille part à vingt-deux heures.",
    "La reunión se ha aplazado hasta el próximo martes.",
    "東京は日本の首都です。",
    "北京的冬天很冷。",
    "Москва — столица России.",
    "القاهرة مدينة كبيرة على النيل.",
    "서울의 봄은 짧다.",
    "Invoice no. 2024-0815, total 1,234.56 EUR, due in 14 days",
    "https://example.com/docs/setup?lang=en#install",
    "The court held that the contract was void from the beginning.",
    "Interest rates rose by a quarter of a point in March.",
    "To be, or not to be, that is the question.",
    "The engine overheats when the coolant level is low.",
    "Mix flour, eggs and milk, and let the batter rest for an hour.",
    "The treaty was signed in 1648 and ended thirty years of war.",
    "A prime number has exactly two divisors.",
    "Blue whales are the largest animals that have ever lived.",
    "She scored the winning goal in the last minute.",
    "Please reset your password within 24 hours.",
    "x",
    "42",
    "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG",
    "no yes no yes no yes no yes",
)
"""Texts of several kinds and languages, whose vectors tell one model from another."""

MIN_COSINE = 0.999
"""Minimum cosine of a canary to its stored vector. Repeated requests to one model differ by less."""

MAX_LISTED = 4

_TEXTS = digest(list(CANARIES))


@dataclass(frozen=True, slots=True)
class Proof:
    """What an endpoint proved.

    Attributes:
        fingerprint: of the model that the endpoint was configured as.
        vectors: of the `CANARIES` as documents.
        measured: tokens of the longest text with which the reading was measured; 0 if it was not.
        reads: tokens that it reads of such a text; fewer than `measured` if it ignores or refuses the rest.
    """

    fingerprint: str
    vectors: Vectors
    measured: int
    reads: int

    def limit(self, most: int) -> int:
        """Return the token limit of a model whose configured one is `most`."""
        return min(most, self.reads) if self.reads < self.measured else most

    def to_json(self) -> dict[str, Any]:
        """Return the proof as JSON: vectors as base64 of float16, which shifts a cosine by less than 0.000001."""
        rows = [_written(row) for row in self.vectors]
        reading = {"measured": self.measured, "reads": self.reads}
        return {"fingerprint": self.fingerprint, "canaries": _TEXTS, "vectors": rows, **reading}


def proof_from_json(value: Mapping[str, Any]) -> Proof | None:
    """Return a stored proof; None if there is none, or one of other canaries."""
    if value.get("canaries") != _TEXTS:
        return None
    rows = [_read(row) for row in value["vectors"]]
    dense = [row for row in rows if isinstance(row, np.ndarray)]
    vectors: Vectors = np.stack(dense) if dense else [row for row in rows if isinstance(row, SparseVector)]
    return Proof(str(value["fingerprint"]), vectors, int(value["measured"]), int(value["reads"]))


def find_changes(stored: Proof, found: Proof) -> list[str]:
    """Return a phrase for each canary whose vector is no longer the stored one."""
    cosines = [cosine(one, other) for one, other in zip(stored.vectors, found.vectors, strict=True)]
    changed = [(number, cosine) for number, cosine in enumerate(cosines, 1) if not cosine >= MIN_COSINE]
    return [f"canary {number} has a cosine of {cosine:.4f}" for number, cosine in changed]


def describe_changes(name: str, changes: list[str]) -> str:
    """Return a phrase that says that an endpoint has another model than before."""
    more = f" and {len(changes) - MAX_LISTED} more" if len(changes) > MAX_LISTED else ""
    return (
        f"the endpoint of {name} no longer has the model that it had, although its address is the same ("
        f"{', '.join(changes[:MAX_LISTED])}{more}; required: >= {MIN_COSINE:g})"
    )


def cosine(one: NDArray[np.float32] | SparseVector, other: NDArray[np.float32] | SparseVector) -> float:
    """Return the cosine of two vectors, 0 if they are of different kinds or dimensions."""
    if isinstance(one, SparseVector) and isinstance(other, SparseVector):
        _, here, there = np.intersect1d(one.indices, other.indices, return_indices=True)
        product = float(one.values[here] @ other.values[there])
        lengths = float(np.linalg.norm(one.values) * np.linalg.norm(other.values))
        return product / lengths if lengths else float(len(one.values) == len(other.values))
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.shape == other.shape:
        return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    return 0.0


def _written(row: NDArray[np.float32] | SparseVector) -> str | list[str]:
    if isinstance(row, SparseVector):
        return [_base64(row.indices.astype("<u4")), _base64(row.values.astype("<f2"))]
    return _base64(row.astype("<f2"))


def _read(value: str | list[str]) -> NDArray[np.float32] | SparseVector:
    if isinstance(value, str):
        return _array(value, "<f2").astype(np.float32)
    indices, values = value
    return SparseVector(_array(indices, "<u4").astype(np.uint32), _array(values, "<f2").astype(np.float32))


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()


def _array(value: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(value), kind)

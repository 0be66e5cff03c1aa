"""The rates of models as runs measured them, for estimates of the next run."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ingest.atomic_files import replace_private
from ingest.receipt import ModelReport

logger = logging.getLogger(__name__)

DECAY = 0.5
"""Factor applied to earlier measurements with each new run, because machines and texts change."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The chunks encoded and the seconds spent, with earlier runs weighted less."""

    chunks: float
    seconds: float

    @property
    def per_second(self) -> float:
        return self.chunks / self.seconds


Rates = Mapping[tuple[str, str], Measured]
"""(model fingerprint, devices as a `ModelReport` names them) → the measurement."""


def learn(rates: Rates, fingerprints: Mapping[str, str], reports: Iterable[ModelReport]) -> dict[tuple[str, str], Measured]:
    """Return the rates updated with the measurements of a run. `fingerprints`: model key → fingerprint."""
    learned = dict(rates)
    for report in reports:
        if report.chunks and report.seconds:
            key = (fingerprints[report.key], report.device)
            before = learned.get(key, Measured(0.0, 0.0))
            learned[key] = Measured(DECAY * before.chunks + report.chunks, DECAY * before.seconds + report.seconds)
    return learned


def measured_rates(rates: Rates, places: Mapping[str, tuple[str, str]]) -> dict[str, float]:
    """Return model key → chunks per second, for the models that were measured where they run now.

    Args:
        places: model key → key of `Rates`.
    """
    return {model: rates[place].per_second for model, place in places.items() if place in rates}


def load_rates(path: Path) -> dict[tuple[str, str], Measured]:
    """Return the saved rates. A file that is missing or malformed counts as empty."""
    try:
        rows = [(str(f), str(d), float(chunks), float(seconds)) for f, d, chunks, seconds in json.loads(path.read_bytes())]
    except (OSError, ValueError, TypeError):
        return {}
    return {(fingerprint, device): Measured(chunks, seconds) for fingerprint, device, chunks, seconds in rows if seconds > 0}


def save_rates(path: Path, rates: Rates) -> None:
    """Replace the saved rates. Raises `OSError`."""
    rows = [[*key, round(measured.chunks, 3), round(measured.seconds, 6)] for key, measured in sorted(rates.items())]
    replace_private(path, json.dumps(rows).encode())


def remember_rates(path: Path, fingerprints: Mapping[str, str], reports: Sequence[ModelReport]) -> None:
    """Add the measurements of a run to the saved rates. If the file cannot be written, log a warning: only estimates suffer."""
    if reports:
        try:
            save_rates(path, learn(load_rates(path), fingerprints, reports))
        except OSError as exc:
            logger.warning("the measured rates were not saved: cannot write %s (%s)", path, exc.strerror)

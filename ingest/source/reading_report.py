"""Findings made while reading a source, for the receipt."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from ingest.source.places import printable

logger = logging.getLogger(__name__)

MAX_NOTES = 20
MAX_COLUMNS = 100


@dataclass(slots=True)
class ReadingReport:
    """Findings made while reading a source.

    Attributes:
        skipped: suffix, or name without one → number of files that are not read because their format is unknown.
        types: column → its type in CSV files; several types are joined by `or`.
        notes: sentences about what was guessed or changed, at most `MAX_NOTES`.
        position: bytes of the records that were read, as they are stored: compressed, if their file is.
        of_file: receives the types and notes of the file that is read now, too. None: of no file in particular.
    """

    skipped: Counter[str] = field(default_factory=Counter)
    types: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    position: int = 0
    of_file: ReadingReport | None = None
    _named: set[str] = field(default_factory=set)

    def clear(self) -> None:
        self.skipped.clear()
        self.types.clear()
        self.notes.clear()
        self.position = 0
        self.of_file = None

    def skip(self, path: str) -> None:
        """Count a file that is not read. The log names it once, although a run lists its files several times."""
        self.skipped[printable(PurePosixPath(path).suffix.lower() or PurePosixPath(path).name)] += 1
        if logger.isEnabledFor(logging.DEBUG) and path not in self._named:
            self._named.add(path)
            logger.debug("not read: %s", printable(path))

    def add(self, other: ReadingReport) -> None:
        """Add the findings of another part of the source, or of another source."""
        self.skipped.update(other.skipped)
        self.add_types(other.types)
        for note in other.notes:
            self.note(note)

    def note(self, note: str) -> None:
        if self.of_file is not None:
            self.of_file.note(note)
        if note not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(note)

    def add_types(self, types: Mapping[str, str]) -> None:
        if self.of_file is not None:
            self.of_file.add_types(types)
        for column, column_type in types.items():
            before = self.types.get(column)
            if before is None and len(self.types) < MAX_COLUMNS:
                self.types[column] = column_type
            elif before is not None:
                self.types[column] = " or ".join(dict.fromkeys([*before.split(" or "), *column_type.split(" or ")]))


def report_of(source: object) -> ReadingReport:
    """Return the report of a source, empty for a source that makes none."""
    report = getattr(source, "report", None)
    return report if isinstance(report, ReadingReport) else ReadingReport()


def merged(reports: Iterable[ReadingReport]) -> ReadingReport:
    """Return one report for several sources."""
    whole = ReadingReport()
    for report in reports:
        whole.add(report)
    return whole

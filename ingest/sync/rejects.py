"""The rejects file: every record that a run could not use, as JSON lines."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ingest.atomic_files import NO_FOLLOW, make_private_folder
from ingest.errors import ConfigurationError, IngestError
from ingest.records import RAW_LIMIT, Rejected

_KEYS = {"source", "position", "reason", "doc_id", "raw"}

_LINE_LIMIT = 64 * 1024
"""Maximum length of a line of a rejects file, in bytes: the escaped raw record and the other fields."""


class RejectsFile:
    """A file with the rejects of the last run: `{"source", "position", "reason", "doc_id", "raw"}` per line. Thread-safe.

    Only its owner can read it. The first reject replaces the rejects of an earlier run; a run without rejects deletes the file
    when it closes it. Raises `ConfigurationError` if the path has any other file, which is left alone, and `IngestError` if the
    file cannot be written, because a reject would be lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        self._stream: TextIO | None = None
        self._lock = threading.Lock()
        if not _is_ours(path):
            raise ConfigurationError(f"{path} is not a rejects file and will not be overwritten: name another with --rejects")

    def add(self, source: str, rejected: Rejected) -> None:
        """Write one reject and flush the file."""
        line = {
            "source": source,
            "position": rejected.position,
            "reason": rejected.reason,
            "doc_id": rejected.doc_id,
            "raw": rejected.raw[:RAW_LIMIT],
        }
        with self._lock:
            try:
                if self._stream is None:
                    make_private_folder(self.path.parent)
                    descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_FOLLOW, 0o600)
                    self._stream = os.fdopen(descriptor, "w", encoding="utf-8")
                self._stream.write(json.dumps(line) + "\n")
                self._stream.flush()
            except OSError as exc:
                raise self._unwritable(exc) from exc
            self.count += 1

    def close(self) -> None:
        """Close the file. Further calls do nothing."""
        with self._lock:
            if self._stream is not None:
                stream, self._stream = self._stream, None
                try:
                    stream.close()
                except OSError as exc:
                    raise self._unwritable(exc) from exc

    def _unwritable(self, exc: OSError) -> IngestError:
        return IngestError(f"the rejects file {self.path} cannot be written ({exc.strerror}): name another with --rejects")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if error is None and self.count == 0:
            self.path.unlink(missing_ok=True)


def common_reasons(path: Path, limit: int) -> list[tuple[str, int, str]]:
    """Return the most frequent reasons of a rejects file, each with its number of records and the position of the first.

    A file that is missing is empty.
    """
    numbers: Counter[str] = Counter()
    positions: dict[str, str] = {}
    for record in _records(path):
        reason = str(record.get("reason"))
        numbers[reason] += 1
        positions.setdefault(reason, str(record.get("position")))
    return [(reason, number, positions[reason]) for reason, number in numbers.most_common(limit)]


def rejected_because(path: Path, doc_id: str) -> str | None:
    """Return position and reason of a document in a rejects file, or None if it is not there. A file that is missing is empty."""
    found = [record for record in _records(path) if record.get("doc_id") == doc_id]
    return f"{found[-1].get('reason')} ({found[-1].get('position')})" if found else None


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a rejects file that can be read. Holds one of them at a time."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record
    except OSError:
        return


def _is_ours(path: Path) -> bool:
    """Return whether the path is free, or has the rejects file of an earlier run."""
    try:
        if not path.is_file():
            return not path.exists() and not path.is_symlink()
        with path.open("rb") as stream:
            first = stream.readline(_LINE_LIMIT)
        return not first or json.loads(first).keys() == _KEYS
    except (OSError, ValueError, AttributeError, RecursionError):
        return False

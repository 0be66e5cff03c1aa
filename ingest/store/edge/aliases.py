"""The aliases of the embedded store: one file beside its collections.

<root>/aliases.json    alias → collection; created with the first alias, replaced atomically
<root>/aliases.lock    locked while aliases change
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.errors import StoreError, StoreLockedError
from ingest.store.edge.directory import CollectionDirectory, translated, write_json

LOCK_SECONDS = 10.0
"""Maximum wait for another process that changes the aliases, which takes milliseconds."""


class AliasFile:
    """The aliases under `root`. Every method raises `StoreError` if the file is damaged or a file operation fails."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._path = root / "aliases.json"

    def read(self) -> dict[str, str]:
        """Return the present aliases, alias → collection. An alias whose collection was deleted no longer counts."""
        try:
            with translated(self._path):
                stored = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
        except ValueError as exc:
            raise self._damaged(exc) from exc
        if not isinstance(stored, dict) or not all(isinstance(target, str) for target in stored.values()):
            raise self._damaged("it should be one JSON object of texts")
        return {alias: target for alias, target in stored.items() if CollectionDirectory(self._root, target).exists}

    @contextmanager
    def changing(self) -> Iterator[dict[str, str]]:
        """Yield the aliases under the lock, and write them as the block leaves them. The root must exist."""
        from filelock import FileLock, Timeout  # noqa: PLC0415  imports asyncio, and only changes need the lock

        lock = FileLock(self._root / "aliases.lock", timeout=LOCK_SECONDS, mode=0o600)
        with translated(self._path):
            try:
                lock.acquire()
            except Timeout as exc:
                raise StoreLockedError(
                    f"the aliases in {self._root} have been locked by another process for {LOCK_SECONDS:.0f} s:"
                    " try again when it is done"
                ) from exc
        try:
            aliases = self.read()
            yield aliases
            with translated(self._path):
                write_json(self._path, aliases)
        finally:
            lock.release()

    def _damaged(self, reason: object) -> StoreError:
        return StoreError(
            f"the aliases {self._path} are damaged ({reason}): restore the file, or delete it and name each collection as its"
            " directory"
        )

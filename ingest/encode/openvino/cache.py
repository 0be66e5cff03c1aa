"""The cache of converted models: weights and ranges, nothing of the calibration texts."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ingest.encode.openvino.conversion import read, save
from ingest.errors import ModelError
from ingest.identity import digest

logger = logging.getLogger(__name__)

FORMAT = 3
"""Version of the conversion. Models of another version are converted again."""

_MODEL = "model.xml"


def default_cache_directory() -> Path:
    """Return the user's own cache directory."""
    return Path.home() / ".cache" / "ingest"


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """The cache entry of one model in one precision, converted by one version of the libraries. It may not exist yet.

    Attributes:
        key: registry key of the model.
        folder: folder of its files.
    """

    key: str
    folder: Path

    @classmethod
    def of(cls, directory: Path, key: str, space: str, precision: str) -> ConvertedModel:
        """Return the cache entry of a model with that vector space. Reads nothing."""
        identity = [FORMAT, space, precision, *map(_version, ("openvino", "nncf"))]
        name = re.sub(r"[^\w.-]", "_", key)
        return cls(key, directory / "openvino" / f"{name}-{precision}-{digest(identity)[:16]}")

    def exists(self) -> bool:
        return (self.folder / _MODEL).is_file()

    def read(self) -> Any | None:
        """Return the converted model, or None if it does not exist or is damaged, which is logged."""
        if not self.exists():
            return None
        try:
            return read(self.key, self.folder / _MODEL)
        except ModelError as exc:
            logger.warning("%s: it will be converted again", exc)
            return None

    def store(self, model: Any) -> None:
        """Store a model atomically for later runs. A failure is logged: this run has the model in memory."""
        try:
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder.parent))  # readable by this user only
            try:
                save(self.key, model, fresh / _MODEL)
                for file in fresh.iterdir():
                    _flush(file)
                shutil.rmtree(self.folder, ignore_errors=True)
                fresh.rename(self.folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        except (OSError, ModelError) as exc:
            logger.warning("%s was not stored in %s for later runs (%s)", self.key, self.folder.name, exc)

    @contextmanager
    def conversion_lock(self) -> Iterator[None]:
        """Let one process convert the model while others wait. If the cache is not writable, each process converts its own."""
        with ExitStack() as stack:
            try:
                self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(self._lock())
            except OSError as exc:
                logger.debug("converting %s without a lock: %s", self.key, exc)
            yield

    def _lock(self) -> AbstractContextManager[object]:
        lock = FileLock(f"{self.folder}.lock", mode=0o600)
        try:
            return lock.acquire(timeout=0)
        except Timeout:
            logger.info("%s is being converted by another process: waiting for it", self.key)
            return lock.acquire()


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

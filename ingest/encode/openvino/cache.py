"""Where converted models are kept: weights and ranges, nothing of the texts they were calibrated on."""

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
from ingest.records import digest

logger = logging.getLogger(__name__)

FORMAT = 3
"""Of the way from a model to what is kept. Of another, it is made anew."""

_MODEL = "model.xml"


def default_cache_directory() -> Path:
    """The user's own."""
    return Path.home() / ".cache" / "ingest"


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """The place of one model in one precision, by one version of the libraries; there or yet to be made.

    Attributes:
        key: of the model.
        folder: of its files.
    """

    key: str
    folder: Path

    @classmethod
    def of(cls, directory: Path, key: str, space: str, precision: str) -> ConvertedModel:
        """`space` stands for weights, pooling and limits of the model. Reads nothing."""
        made_by = [FORMAT, space, precision, *map(_version, ("openvino", "nncf"))]
        name = re.sub(r"[^\w.-]", "_", key)
        return cls(key, directory / "openvino" / f"{name}-{precision}-{digest(made_by)[:16]}")

    def exists(self) -> bool:
        return (self.folder / _MODEL).is_file()

    def read(self) -> Any | None:
        """None where it is not there, or is damaged, which is logged."""
        if not self.exists():
            return None
        try:
            return read(self.key, self.folder / _MODEL)
        except ModelError as exc:
            logger.warning("%s: it is made anew", exc)
            return None

    def keep(self, model: Any) -> None:
        """For later runs; all of it or nothing. That it cannot be kept is logged, and no error: this run has it."""
        try:
            fresh = Path(tempfile.mkdtemp(prefix=".new-", dir=self.folder.parent))  # for this user alone
            try:
                save(self.key, model, fresh / _MODEL)
                for file in fresh.iterdir():
                    _flush(file)
                shutil.rmtree(self.folder, ignore_errors=True)
                fresh.rename(self.folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        except (OSError, ModelError) as exc:
            logger.warning("%s in %s is not kept for later runs (%s)", self.key, self.folder.name, exc)

    @contextmanager
    def making(self) -> Iterator[None]:
        """One process makes it, the others wait. Where nothing can be kept, each makes its own."""
        with ExitStack() as stack:
            try:
                self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                stack.enter_context(self._turn())
            except OSError as exc:
                logger.debug("no turns are taken to convert %s: %s", self.key, exc)
            yield

    def _turn(self) -> AbstractContextManager[object]:
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

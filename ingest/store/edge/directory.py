"""The directory of an embedded collection, and its lock.

    <root>/<collection>/shard/          the engine's files; the collection exists once this directory does
    <root>/<collection>/shard.new/      a shard that is being created, or that a crash left incomplete
    <root>/<collection>/manifest.json   written before the shard, replaced atomically
    <root>/<collection>/notes.json      the notes of `Store.update_notes`, replaced atomically; may be missing
    <root>/<collection>/points.json     the number of points, and a digest of the shard's files; missing while the shard is open
    <root>/<collection>/lock, holder    the lock, and the process id of its holder
    <root>/.trash/                      dropped collections that are being deleted
    <root>/aliases.json, aliases.lock   see `aliases`

Directories (0700) and the files of this package (0600) are accessible to their owner alone.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.atomic_files import make_private_folder, replace_private, sync_folder
from ingest.errors import ConfigurationError, ForeignCollectionError, StoreError, StoreLockedError
from ingest.store.contract import Manifest
from ingest.store.schema import manifest_from_json, manifest_to_json

if TYPE_CHECKING:
    from filelock import FileLock

logger = logging.getLogger(__name__)

_TRASH = ".trash"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate the exceptions of file operations; the one border for that."""
    try:
        yield
    except OSError as exc:
        raise StoreError(f"the embedded store cannot use {path}: {exc.strerror or exc}; check its permissions and space") from exc


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically and durably. Raises `OSError`."""
    replace_private(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable=True)


def collection_names(root: Path) -> list[str]:
    """Return the names of all collections in `root`, sorted, even of unreadable ones and those of other tools."""
    with translated(root):
        if not root.is_dir():
            return []
        return sorted(entry.name for entry in root.iterdir() if not entry.name.startswith(".") and _may_be_collection(entry))


def _may_be_collection(path: Path) -> bool:
    try:
        return (path / "shard").is_dir()
    except OSError:  # unreadable, so it may be one
        return True


class CollectionDirectory:
    """The directory of one collection. Only the lock holder may write to it.

    Raises `ConfigurationError` for a name that is not a plain file name. Every method raises `StoreError` if a file operation
    fails.
    """

    def __init__(self, root: Path, name: str) -> None:
        if not name or name.startswith(".") or "/" in name or "\0" in name:
            raise ConfigurationError(f"{name!r} is no collection name: use letters, digits and _")
        self.root = root
        self.name = name
        self.path = root / name
        self.shard = self.path / "shard"
        self._manifest = self.path / "manifest.json"
        self._notes = self.path / "notes.json"
        self._holder = self.path / "holder"
        self._points = self.path / "points.json"

    @property
    def exists(self) -> bool:
        with translated(self.shard):
            return self.shard.is_dir()

    @property
    def ours(self) -> bool:
        """Whether this package made the collection: it has a manifest."""
        with translated(self._manifest):
            return self._manifest.is_file()

    def create(self) -> None:
        """Create the directory and its missing parents."""
        with translated(self.path):
            make_private_folder(self.path)

    @cached_property
    def _lock(self) -> FileLock:
        from filelock import FileLock  # noqa: PLC0415  imports asyncio, and most listings need no lock

        return FileLock(self.path / "lock", timeout=0, mode=0o600, thread_local=False)

    def lock(self) -> None:
        """Take the lock without waiting. Raises `StoreLockedError`, naming the process, if another one holds it."""
        from filelock import Timeout  # noqa: PLC0415  see `_lock`

        with translated(self.path):
            try:
                self._lock.acquire()
            except Timeout as exc:
                raise StoreLockedError(
                    f"the collection {self.name} in {self.root} is in use by {self._holder_name()}: the embedded store serves one"
                    " process at a time; wait until it is done, or use a Qdrant server, which serves many"
                ) from exc
            try:
                replace_private(self._holder, f"{os.getpid()}\n".encode())
            except OSError:
                self._lock.release()
                raise

    def unlock(self) -> None:
        with translated(self.path):
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    def _holder_name(self) -> str:
        try:
            return f"process {int(self._holder.read_text())}"
        except (OSError, ValueError):  # the lock is taken, the file not written yet
            return "another process"

    def read_manifest(self) -> Manifest:
        """Return the manifest. Raises `ForeignCollectionError` if there is none, `StoreError` if it cannot be read."""
        try:
            with translated(self._manifest):
                text = self._manifest.read_text(encoding="utf-8") if self.ours else None
            if text is None:
                raise ForeignCollectionError(
                    f"the collection {self.name} in {self.root} was not made by this package (it has no manifest):"
                    " choose another name"
                )
            return manifest_from_json(json.loads(text), self.name)
        except ValueError as exc:
            raise StoreError(f"the manifest {self._manifest} is damaged ({exc}): ingest into a new collection") from exc

    def write_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest atomically and durably."""
        with translated(self._manifest):
            write_json(self._manifest, manifest_to_json(manifest))

    def read_notes(self) -> dict[str, Any]:
        """Return the notes (see `Store.notes`). A damaged file is logged and counts as empty."""
        with translated(self._notes):
            text = self._notes.read_text(encoding="utf-8") if self._notes.is_file() else "{}"
        try:
            notes = json.loads(text)
        except ValueError:
            notes = None
        if isinstance(notes, dict):
            return notes
        logger.warning("the notes %s are damaged and ignored: the next run writes new ones", self._notes)
        return {}

    def write_notes(self, notes: Mapping[str, Any]) -> None:
        """Replace the notes atomically and durably."""
        with translated(self._notes):
            write_json(self._notes, notes)

    def read_points(self) -> int | None:
        """Return the number of points of a closed shard, which takes no lock.

        None while the shard is open, after a crash, and if a file of the shard has changed since it was closed.
        """
        with translated(self.shard):
            try:
                noted = json.loads(self._points.read_bytes())
                return int(noted["points"]) if noted["files"] == _files_digest(self.shard) else None
            except (FileNotFoundError, ValueError, TypeError, KeyError):
                return None

    def write_points(self, points: int) -> None:
        """Note the number of points of the shard, which has just been closed."""
        with translated(self._points):
            replace_private(self._points, json.dumps({"points": points, "files": _files_digest(self.shard)}).encode())

    def forget_points(self) -> None:
        """Remove the number of points, before the shard is opened."""
        with translated(self._points):
            self._points.unlink(missing_ok=True)

    @contextmanager
    def new_shard(self) -> Iterator[Path]:
        """Yield an empty directory to create a shard in; it becomes `shard` when the block ends without an error."""
        new = self.path / "shard.new"
        with translated(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
        yield new
        with translated(new):
            new.rename(self.shard)
            sync_folder(self.path)

    def discard(self) -> None:
        """Delete the collection and release the lock. Atomic: a crash may leave files in the trash, but no partial collection."""
        trash = self.root / _TRASH
        with translated(self.path):
            trash.mkdir(mode=0o700, exist_ok=True)
            self.path.rename(trash / uuid.uuid4().hex)
            self._lock.release()
            shutil.rmtree(trash, ignore_errors=True)


def _files_digest(folder: Path) -> str:
    """Return a digest of the paths, sizes and times of everything below a folder. Raises `OSError`."""
    digest = sha256()
    for path in sorted(folder.rglob("*")):
        found = path.lstat()
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()

"""Where an embedded collection lives on disk, and who may touch it.

    <root>/<collection>/shard/          the engine's; there from the moment it is complete: then the collection exists
    <root>/<collection>/shard.new/      a shard being made, or left by a crash while it was
    <root>/<collection>/manifest.json   written before the shard, replaced atomically
    <root>/<collection>/notes.json      small things to know about it, replaced atomically; may be missing
    <root>/<collection>/lock, holder    the lock, and the process id of who holds it
    <root>/.trash/                      dropped collections on their way out
    <root>/aliases.json, aliases.lock   see `aliases`

Directories are readable by their owner alone (0700), and so are our files (0600).
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ingest.atomic_files import make_private_folder, replace_private, sync_folder
from ingest.errors import ConfigurationError, ForeignCollectionError, StoreError, StoreLockedError
from ingest.store.contract import Manifest
from ingest.store.schema import manifest_from_json, manifest_to_json

logger = logging.getLogger(__name__)

_TRASH = ".trash"


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """The one border where the file system's exceptions become ours."""
    try:
        yield
    except OSError as exc:
        raise StoreError(f"the embedded store cannot use {path}: {exc.strerror or exc}; check its permissions and space") from exc


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically and durably. Raises `OSError`."""
    replace_private(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable=True)


def collection_names(root: Path) -> list[str]:
    """The collections in `root`, sorted; ours or not, readable or not."""
    with translated(root):
        if not root.is_dir():
            return []
        return sorted(entry.name for entry in root.iterdir() if not entry.name.startswith(".") and _may_be_collection(entry))


def _may_be_collection(path: Path) -> bool:
    try:
        return (path / "shard").is_dir()
    except OSError:  # it cannot be looked into: better named in vain than passed over
        return True


class CollectionDirectory:
    """One collection's directory. Only who holds its lock may write anything in it.

    Raises `ConfigurationError` for a name that is not a plain file name. Every method raises `StoreError` where the file system
    says no.
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
        self._lock = FileLock(self.path / "lock", timeout=0, mode=0o600, thread_local=False)

    @property
    def exists(self) -> bool:
        with translated(self.shard):
            return self.shard.is_dir()

    @property
    def ours(self) -> bool:
        """Whether there is a manifest."""
        with translated(self._manifest):
            return self._manifest.is_file()

    def create(self) -> None:
        """Makes the directory, and those above it, where they are missing."""
        with translated(self.path):
            make_private_folder(self.path)

    def lock(self) -> None:
        """Raises `StoreLockedError`, naming the process, if somebody else holds it. Never waits."""
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
        except (OSError, ValueError):  # between taking the lock and saying so
            return "another process"

    def read_manifest(self) -> Manifest:
        """Raises `StoreError` where there is none (the collection is not ours) or it cannot be read."""
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
        """Replaces the manifest: a crash leaves the old or the new one, whole."""
        with translated(self._manifest):
            write_json(self._manifest, manifest_to_json(manifest))

    def read_notes(self) -> dict[str, Any]:
        """See `Store.notes`. A file that is damaged says nothing, and that is logged."""
        with translated(self._notes):
            text = self._notes.read_text(encoding="utf-8") if self._notes.is_file() else "{}"
        try:
            notes = json.loads(text)
        except ValueError:
            notes = None
        if isinstance(notes, dict):
            return notes
        logger.warning("the notes %s are damaged and passed over: the next run writes them anew", self._notes)
        return {}

    def write_notes(self, notes: Mapping[str, Any]) -> None:
        """Replaces the notes: a crash leaves the old or the new ones, whole."""
        with translated(self._notes):
            write_json(self._notes, notes)

    @contextmanager
    def new_shard(self) -> Iterator[Path]:
        """An empty directory to make a shard in; it becomes `shard` when the block ends well."""
        new = self.path / "shard.new"
        with translated(new):
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir(mode=0o700)
        yield new
        with translated(new):
            new.rename(self.shard)
            sync_folder(self.path)

    def discard(self) -> None:
        """Deletes the collection and lets go of the lock. Gone at once; a crash leaves no more than rubbish in the trash."""
        trash = self.root / _TRASH
        with translated(self.path):
            trash.mkdir(mode=0o700, exist_ok=True)
            self.path.rename(trash / uuid.uuid4().hex)
            self._lock.release()
            shutil.rmtree(trash, ignore_errors=True)

"""The directory of an export.

    manifest.json       models and options that the vectors were made with, and the sources
    checksums.json      the complete shards (name, rows, bytes, SHA-256), and whether the export is complete
    shard-00000.parquet …

A shard is part of the export once it is listed. That happens after its file and its name are on disk, so a crash leaves at most
one unlisted shard. Only the owner can read the directory (0700) and its files (0600).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from ingest.atomic_files import make_private_folder
from ingest.errors import ConfigurationError, IngestError, ManifestMismatchError, SourceError, StoreError
from ingest.store.contract import SCHEMA_VERSION, Manifest
from ingest.store.edge.directory import write_json
from ingest.store.schema import manifest_from_json, manifest_to_json
from ingest.sync.manifest import find_drift

if TYPE_CHECKING:
    import pyarrow as pa

    from ingest.export.shards import ShardFile

FORMAT = 1
"""Version of the two JSON files and of the shards' columns. Directories with another version are rejected."""

MANIFEST = "manifest.json"
CHECKSUMS = "checksums.json"
LOCK = "lock"

_SHARD = re.compile(r"shard-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class Shard:
    """A complete shard as it is listed. `sha256` has 64 hex characters."""

    name: str
    rows: int
    bytes: int
    sha256: str


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate errors of the file system into `IngestError`."""
    try:
        yield
    except OSError as exc:
        raise IngestError(
            f"the export {path} cannot be used: {exc.strerror or exc}; check its permissions and the disk space, then run again"
        ) from exc


class ExportDirectory:
    """An export, complete or in progress. Only one thread may write to it.

    Attributes:
        manifest: manifest of the future collection. Its name is not known yet, so the path stands in for it.
        sources: names of the exported sources.
        shards: complete shards, in the order in which they were made.
        complete: True if every source was read to its end and all its documents are in the shards.
    """

    def __init__(
        self, path: Path, manifest: Manifest, sources: Sequence[str], shards: Sequence[Shard], *, complete: bool
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.sources = tuple(sources)
        self.shards = list(shards)
        self.complete = complete

    @classmethod
    def read(cls, path: Path) -> ExportDirectory:
        """Return the export at a path.

        Raises `ConfigurationError` if the path has no export that this version can read, `SourceError` if the export is damaged.
        """
        path = path.absolute()
        described = _read_json(path / MANIFEST)
        if described is None:
            raise ConfigurationError(f"{path} is not an export: make one with ingest embed SOURCE --out {path}")
        version = (described.get("format"), described.get("version"))
        if version != (FORMAT, SCHEMA_VERSION):
            raise ConfigurationError(
                f"the export {path} was made by another version of this package (its format is {version}, this one reads"
                f" {(FORMAT, SCHEMA_VERSION)}): use that version, or embed into another directory"
            )
        listed = _read_json(path / CHECKSUMS) or {"complete": False, "shards": []}
        try:
            manifest = manifest_from_json({**described, "collection": str(path), "raw_name": str(path)}, str(path))
            shards = [_checked(Shard(**shard)) for shard in listed["shards"]]
            sources = [str(source) for source in described["sources"]]
        except (KeyError, TypeError, ValueError, StoreError) as exc:
            raise SourceError(f"the export {path} is damaged ({exc}): copy it again, or embed into another directory") from exc
        return cls(path, manifest, sources, shards, complete=listed.get("complete") is True)

    @classmethod
    @contextmanager
    def writable(cls, path: Path, manifest: Manifest, sources: Sequence[str]) -> Iterator[ExportDirectory]:
        """Create or continue an export, locked for this process.

        Raises `ConfigurationError` if the directory has other files, another process is writing to it, or its export has other
        sources; `ManifestMismatchError` if it was made with other models, prompts, chunking or distances.
        """
        path = path.absolute()
        own = replace(manifest, collection=str(path), raw_name=str(path))
        with translated(path):
            make_private_folder(path)
            names = {entry.name for entry in path.iterdir()}
        remains = {name for name in names if name.startswith(f".{MANIFEST}.")}  # a crash interrupted a write
        if MANIFEST not in names and names - remains - {LOCK}:
            raise ConfigurationError(f"{path} has other files: name an empty or a new directory with --out")
        lock = FileLock(path / LOCK, timeout=0, mode=0o600, thread_local=False)
        with translated(path):
            try:
                lock.acquire()
            except Timeout as exc:
                raise ConfigurationError(f"another process is writing the export {path}: wait until it is done") from exc
        try:
            if (path / MANIFEST).exists():
                export = cls.read(path)
                export.check_same(own, sources)
            else:
                export = cls(path, own, sources, (), complete=False)
            export.begin(own)
            yield export
        finally:
            lock.release()

    def drop_damaged(self) -> list[str]:
        """Remove damaged shards from the list, and return their problems."""
        problems = {shard: problem for shard in self.shards if (problem := self._problem(shard))}
        if problems:
            self.replace(dict.fromkeys(problems))
        return list(problems.values())

    def check(self) -> None:
        """Raise `SourceError` unless the export is complete and every shard is identical to what was written."""
        if not self.complete:
            raise SourceError(f"the export {self.path} is not complete: run the same ingest embed again to continue it")
        problems = [problem for shard in self.shards if (problem := self._problem(shard))]
        if (_read_json(self.path / CHECKSUMS) or {}).get("manifest") != _digest(self.path / MANIFEST):
            problems.insert(0, f"{self.path / MANIFEST} is damaged: its checksum is not the one it was written with")
        if problems:
            more = f", and {len(problems) - 1} more shards are damaged" if len(problems) > 1 else ""
            raise SourceError(
                f"{problems[0]}{more}: nothing was written; copy the export again, or run the same ingest embed again"
            )

    def tables(self, shard: Shard) -> Iterator[pa.Table]:
        """Yield the row groups of a shard. Raises `SourceError` if it cannot be read."""
        from ingest.export.shards import READ_ERRORS, read_tables  # noqa: PLC0415  an extra

        try:
            yield from read_tables(self.path / shard.name)
        except READ_ERRORS as exc:
            raise SourceError(f"{self.path / shard.name} cannot be read ({exc}): copy the export again") from exc

    def new_shard(self) -> ShardFile:
        """Return a new shard to write to. It becomes part of the export with `add`."""
        from ingest.export.shards import ShardFile  # noqa: PLC0415  an extra

        with translated(self.path):
            return ShardFile(self.path / f"{self.next_name}.new", self.manifest.vectors)

    @property
    def next_name(self) -> str:
        """Name of the next shard."""
        numbers = [int(match[1]) for shard in self.shards if (match := _SHARD.fullmatch(shard.name))]
        return f"shard-{max(numbers, default=-1) + 1:05d}.parquet"

    def add(self, file: ShardFile, *, instead_of: Shard | None = None) -> None:
        """Close a shard and list it, optionally replacing another in the same write. A shard without rows is discarded."""
        if file.rows == 0:
            file.discard()
            added = None
        else:
            with translated(self.path):
                file.close()
                added = Shard(self.next_name, file.rows, file.path.stat().st_size, _digest(file.path))
                file.path.replace(self.path / added.name)
        if instead_of is not None:
            self.replace({instead_of: added})
        elif added is not None:
            self.shards.append(added)
            self._list(complete=False)

    def replace(self, replacements: Mapping[Shard, Shard | None]) -> None:
        """Replace shards in the list by others, or by none, and delete their files."""
        listed = [replacements.get(shard, shard) for shard in self.shards]
        self.shards = [shard for shard in listed if shard is not None]
        self._list(complete=False)
        with translated(self.path):
            for shard in replacements:
                (self.path / shard.name).unlink(missing_ok=True)

    def finish(self) -> None:
        """Mark the export as complete."""
        if not self.complete:
            self._list(complete=True)

    def check_same(self, manifest: Manifest, sources: Sequence[str]) -> None:
        """Raise `ConfigurationError` for other sources, `ManifestMismatchError` for other models or chunking."""
        if set(sources) != set(self.sources):
            raise ConfigurationError(
                f"the export {self.path} has the sources {', '.join(self.sources)}: name the same ones, or use another --out"
            )
        drift = find_drift(manifest, self.manifest)
        if differences := [*drift.vectors, *drift.models, *drift.chunking]:
            raise ManifestMismatchError(
                f"the export {self.path} was made differently: {'; '.join(differences)}. Use the models and options it was"
                " made with, or name another directory with --out"
            )

    def begin(self, manifest: Manifest) -> None:
        """Delete the leftovers of a crash, and bring the two JSON files up to date."""
        listed = {shard.name for shard in self.shards}
        with translated(self.path):
            has_list = (self.path / CHECKSUMS).exists()
            unlisted = [entry for entry in self.path.iterdir() if _SHARD.match(entry.name) and entry.name not in listed]
            if unlisted and not has_list:
                raise SourceError(f"{self.path / CHECKSUMS} is missing: put it back, or name another directory with --out")
            for entry in unlisted:
                entry.unlink()
        if not has_list or manifest != self.manifest:  # a new export, or other model weights
            self.manifest = manifest
            self._write(MANIFEST, {"format": FORMAT, "sources": self.sources, **_nameless(manifest)})
            self._list(complete=False)

    def _list(self, *, complete: bool) -> None:
        digest = _digest(self.path / MANIFEST)
        self._write(CHECKSUMS, {"complete": complete, "manifest": digest, "shards": [asdict(shard) for shard in self.shards]})
        self.complete = complete

    def _write(self, name: str, value: Mapping[str, Any]) -> None:
        with translated(self.path):
            write_json(self.path / name, value)

    def _problem(self, shard: Shard) -> str | None:
        """Return how a shard differs from what was written, or None if it is identical."""
        from ingest.export.shards import READ_ERRORS, read_shape, shard_schema  # noqa: PLC0415  an extra

        path = self.path / shard.name
        try:
            if (size := path.stat().st_size) != shard.bytes:
                return f"{path} is damaged: it has {size:,} bytes where {shard.bytes:,} were written"
            if _digest(path) != shard.sha256:
                return f"{path} is damaged: its checksum is not the one it was written with"
            rows, schema = read_shape(path)
        except READ_ERRORS as exc:
            return f"{path} is missing" if isinstance(exc, FileNotFoundError) else f"{path} cannot be read ({exc})"
        if not schema.equals(shard_schema(self.manifest.vectors)):
            return f"{path} does not have the columns that {MANIFEST} describes"
        return None if rows == shard.rows else f"{path} has {rows:,} rows where {CHECKSUMS} says {shard.rows:,}"


def _read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object in a file, or None if the file does not exist."""
    try:
        with translated(path.parent):
            value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as exc:
        raise SourceError(f"{path} is damaged ({exc}): copy the export again, or embed into another directory") from exc
    if value is not None and not isinstance(value, dict):
        raise SourceError(f"{path} is damaged (it is not a JSON object): copy the export again")
    return value


def _checked(shard: Shard) -> Shard:
    if not _SHARD.fullmatch(shard.name):
        raise ValueError(f"{shard.name!r} is not a valid shard name")
    return shard


def _nameless(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as JSON without the collection's names, which are chosen when it is loaded."""
    return {name: value for name, value in manifest_to_json(manifest).items() if name not in {"collection", "raw_name"}}


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex characters."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def exported_manifest(path: Path) -> Manifest | None:
    """Return the manifest of the export in a directory, or None if there is none. Raises as `ExportDirectory.read`."""
    return ExportDirectory.read(path).manifest if (path / MANIFEST).exists() else None

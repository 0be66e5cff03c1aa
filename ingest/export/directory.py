"""What an export is on disk.

    manifest.json       what the vectors were made with, and of which sources
    checksums.json      the shards that are whole: name, rows, bytes, SHA-256; and whether the export is complete
    shard-00000.parquet …

A shard counts from the moment it is listed, which is after it and its name are on the disk; a crash leaves at most one that is
not. The directory is readable by its owner alone (0700), and so are the files (0600).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ingest.atomic_files import make_private_folder
from ingest.errors import ConfigurationError, IngestError, ManifestMismatchError, SourceError, StoreError
from ingest.export.shards import ShardFile, read_tables, shard_schema
from ingest.store.contract import SCHEMA_VERSION, Manifest
from ingest.store.edge.directory import write_json
from ingest.store.schema import manifest_from_json, manifest_to_json
from ingest.sync.manifest import find_drift

FORMAT = 1
"""Of the two JSON files and the shards' columns. A directory of another is refused."""

MANIFEST = "manifest.json"
CHECKSUMS = "checksums.json"
LOCK = "lock"

_SHARD = re.compile(r"shard-(\d{5,})\.parquet")


@dataclass(frozen=True, slots=True)
class Shard:
    """A whole shard, as it is listed. `sha256`: 64 hex characters."""

    name: str
    rows: int
    bytes: int
    sha256: str


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """The file system's errors as ours: `IngestError`."""
    try:
        yield
    except OSError as exc:
        raise IngestError(
            f"the export {path} cannot be used: {exc.strerror or exc}; check its permissions and its disk's space, then run again"
        ) from exc


class ExportDirectory:
    """An export, being made or complete. One thread writes.

    Attributes:
        manifest: of the collection it is made for, whatever that will be called: its names are the directory's.
        sources: names of the sources whose documents it holds.
        shards: those that are whole, in the order in which they were made.
        complete: every source was read to its end and everything is in the shards.
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
        """Raises `ConfigurationError` where there is no export that this version can read, `SourceError` where it is damaged."""
        path = path.absolute()
        described = _read_json(path / MANIFEST)
        if described is None:
            raise ConfigurationError(f"{path} is not an export: make one with ingest embed SOURCE --out {path}")
        made_as = (described.get("format"), described.get("version"))
        if made_as != (FORMAT, SCHEMA_VERSION):
            raise ConfigurationError(
                f"the export {path} was made by another version of this package (its format is {made_as}, this one reads"
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
        """A new export, or the one that is there, for this process alone.

        Raises `ConfigurationError` if something else is there, another process writes it, or it is of other sources;
        `ManifestMismatchError` if it was made with other models, prompts, chunking or distances.
        """
        path = path.absolute()
        own = replace(manifest, collection=str(path), raw_name=str(path))
        with translated(path):
            make_private_folder(path)
            names = {entry.name for entry in path.iterdir()}
        remains = {name for name in names if name.startswith(f".{MANIFEST}.")}  # of a write that a crash interrupted
        if MANIFEST not in names and names - remains - {LOCK}:
            raise ConfigurationError(f"{path} holds something else: name an empty or a new directory with --out")
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
        """Takes shards off the list that are not as they were written, and gives their problems."""
        problems = {shard: problem for shard in self.shards if (problem := self._problem(shard))}
        if problems:
            self.replace(dict.fromkeys(problems))
        return list(problems.values())

    def check(self) -> None:
        """Raises `SourceError` unless the export is complete and every shard is, to the byte, as it was written."""
        if not self.complete:
            raise SourceError(
                f"the export {self.path} is not complete: run the ingest embed that makes it again, it will continue"
            )
        problems = [problem for shard in self.shards if (problem := self._problem(shard))]
        if (_read_json(self.path / CHECKSUMS) or {}).get("manifest") != _digest(self.path / MANIFEST):
            problems.insert(0, f"{self.path / MANIFEST} is damaged: its checksum is not the one it was written with")
        if problems:
            more = f", and {len(problems) - 1} more shards are damaged" if len(problems) > 1 else ""
            raise SourceError(
                f"{problems[0]}{more}: nothing was written; copy the export again, or run the ingest embed that makes it again"
            )

    def tables(self, shard: Shard) -> Iterator[pa.Table]:
        """A shard's row groups, one at a time. Raises `SourceError` where it cannot be read."""
        try:
            yield from read_tables(self.path / shard.name)
        except (OSError, pa.ArrowException) as exc:
            raise SourceError(f"{self.path / shard.name} cannot be read ({exc}): copy the export again") from exc

    def new_shard(self) -> ShardFile:
        """A shard to be written, under a name of its own; it counts once `add` has it."""
        with translated(self.path):
            return ShardFile(self.path / f"{self.next_name}.new", self.manifest.vectors)

    @property
    def next_name(self) -> str:
        """Of the shard that is added next."""
        numbers = [int(match[1]) for shard in self.shards if (match := _SHARD.fullmatch(shard.name))]
        return f"shard-{max(numbers, default=-1) + 1:05d}.parquet"

    def add(self, file: ShardFile, *, instead_of: Shard | None = None) -> None:
        """Closes and lists a shard, in one step with taking another off the list; one without rows is discarded."""
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
        """Takes shards off the list, and puts others in their places."""
        listed = [replacements.get(shard, shard) for shard in self.shards]
        self.shards = [shard for shard in listed if shard is not None]
        self._list(complete=False)
        with translated(self.path):
            for shard in replacements:
                (self.path / shard.name).unlink(missing_ok=True)

    def finish(self) -> None:
        """Everything is in the shards."""
        if not self.complete:
            self._list(complete=True)

    def check_same(self, manifest: Manifest, sources: Sequence[str]) -> None:
        """Raises `ConfigurationError` for other sources, `ManifestMismatchError` for other models or chunking."""
        if set(sources) != set(self.sources):
            raise ConfigurationError(
                f"the export {self.path} is of {', '.join(self.sources)}: name the same sources, or another directory with --out"
            )
        drift = find_drift(manifest, self.manifest)
        if differences := [*drift.vectors, *drift.models, *drift.chunking]:
            raise ManifestMismatchError(
                f"the export {self.path} was made differently: {'; '.join(differences)}. Use the models and options it was"
                " made with, or name"
                " another directory with --out"
            )

    def begin(self, manifest: Manifest) -> None:
        """Clears what a crash left, and makes the two files say what is so."""
        listed = {shard.name for shard in self.shards}
        with translated(self.path):
            has_list = (self.path / CHECKSUMS).exists()
            unlisted = [entry for entry in self.path.iterdir() if _SHARD.match(entry.name) and entry.name not in listed]
            if unlisted and not has_list:
                raise SourceError(f"{self.path / CHECKSUMS} is missing: put it back, or name another directory with --out")
            for entry in unlisted:
                entry.unlink()
        if not has_list or manifest != self.manifest:  # new, or of other weights
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
        """Why a shard is not as it was written, or None if it is."""
        path = self.path / shard.name
        try:
            if (size := path.stat().st_size) != shard.bytes:
                return f"{path} is damaged: it has {size:,} bytes where {shard.bytes:,} were written"
            if _digest(path) != shard.sha256:
                return f"{path} is damaged: its checksum is not the one it was written with"
            with pq.ParquetFile(path) as file:
                rows, schema = file.metadata.num_rows, file.schema_arrow
        except (OSError, pa.ArrowException) as exc:
            return f"{path} is missing" if isinstance(exc, FileNotFoundError) else f"{path} cannot be read ({exc})"
        if not schema.equals(shard_schema(self.manifest.vectors)):
            return f"{path} does not have the columns that {MANIFEST} speaks of"
        return None if rows == shard.rows else f"{path} has {rows:,} rows where {CHECKSUMS} says {shard.rows:,}"


def _read_json(path: Path) -> dict[str, Any] | None:
    """None where there is no such file."""
    try:
        with translated(path.parent):
            value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    except ValueError as exc:
        raise SourceError(f"{path} is damaged ({exc}): copy the export again, or embed into another directory") from exc
    if value is not None and not isinstance(value, dict):
        raise SourceError(f"{path} is damaged (it should be one JSON object): copy the export again")
    return value


def _checked(shard: Shard) -> Shard:
    if not _SHARD.fullmatch(shard.name):
        raise ValueError(f"{shard.name!r} is no name of a shard")
    return shard


def _nameless(manifest: Manifest) -> dict[str, Any]:
    """A manifest without the collection's names, which are chosen when it is loaded."""
    return {name: value for name, value in manifest_to_json(manifest).items() if name not in {"collection", "raw_name"}}


def _digest(path: Path) -> str:
    """64 hex characters."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def exported_manifest(path: Path) -> Manifest | None:
    """Return the manifest of the export in a directory, or None if there is none. Raises as `ExportDirectory.read`."""
    return ExportDirectory.read(path).manifest if (path / MANIFEST).exists() else None

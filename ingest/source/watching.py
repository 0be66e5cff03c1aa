"""Changes in local folders as they happen, and the part of a folder that has changed."""

from __future__ import annotations

import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from ingest.errors import MissingExtraError, SourceError
from ingest.source.files import FolderSource, is_junk
from ingest.source.ignore_files import NAMES, IgnoreFiles
from ingest.source.pieces import PiecesSource
from ingest.source.places import Entry
from ingest.source.streams import first_line

logger = logging.getLogger(__name__)

QUIET_MS = 200
"""Changes are reported once this many milliseconds have passed without another one."""

LONGEST_MS = 1000
"""Changes that never pause are reported after this many milliseconds."""

_STEP_MS = 250
"""Milliseconds after which a watcher without changes looks whether it is to stop and whether its folders are still the same."""

_RETRY_SECONDS = 5.0
"""Seconds after which a watcher that failed is opened again."""

Changed = frozenset[str] | None
"""Paths of files and folders that were written, made, moved or removed. None: any path, because changes may have been missed."""

NOTHING: frozenset[str] = frozenset()


class Changes(Protocol):
    """A stream of changes. It may miss, repeat and reorder them: no delete depends on it."""

    def wait(self, seconds: float) -> Changed:
        """Return the changes since the last call as soon as there are some, or `NOTHING` after this many seconds."""
        ...


class AnyChanges:
    """The changes of several streams, which are asked in turn. Returns early if it is to stop."""

    def __init__(self, streams: Sequence[Changes], stop: Callable[[], bool]) -> None:
        self._streams = streams
        self._stop = stop

    def wait(self, seconds: float) -> Changed:
        """See `Changes`."""
        until, share = time.monotonic() + seconds, _STEP_MS / 1000 / len(self._streams)
        while not self._stop() and time.monotonic() < until:
            found = [stream.wait(share) for stream in self._streams]
            if None in found:
                return None
            if changed := NOTHING.union(*(each for each in found if each)):
                return changed
        return NOTHING


@dataclass(frozen=True, slots=True)
class NoChanges:
    """A stream without changes, for what is read at intervals alone. `pause` waits for this many seconds."""

    pause: Callable[[float], object]

    def wait(self, seconds: float) -> Changed:
        self.pause(seconds)
        return NOTHING


def changed_part(folder: FolderSource, paths: Iterable[str], *, deletes_missing: bool) -> PiecesSource | None:
    """Return the files among `paths` that the folder yields, as a source, or None if the whole folder has to be read.

    It has to be if an ignore file has changed, a folder is new, or a changed file has several names (hard links), because other
    files are then concerned as well. If documents missing from the source are to be deleted, it has to be after a removal too,
    and if a table has changed: only a run that has read the whole source may decide that something is missing.

    Args:
        paths: absolute paths; those outside the folder are ignored.
    """
    root, ignored = Path(folder.place.path), IgnoreFiles(Path(folder.place.path))
    entries: list[Entry] = []
    for relative in sorted(relative_paths(folder, paths)):
        kind = _kind(root, relative)
        if kind == "directory" or relative.rpartition("/")[2] in NAMES:
            return None
        if kind == "file":
            try:
                entries.append(folder.place.entry_below(relative))
                continue
            except (FileNotFoundError, PermissionError):  # it was removed this moment, or cannot be seen any more
                kind = None
        if deletes_missing and not ignored.ignores(relative):
            return None
    part = folder.part(entries)
    if any(_has_several_names(piece.entry) for piece in part.pieces):
        return None
    if deletes_missing and any(piece.file_format.is_table for piece in part.pieces):
        return None
    return part


def relative_paths(folder: FolderSource, paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths from the folder of those `paths` below it that may concern it, each once. Reads nothing.

    Paths of hidden files, backup copies and temporary files are left out, except for ignore files.
    """
    root = folder.place.path.rstrip("/") + "/"
    for path in set(paths):
        if path.startswith(root) and (relative := path[len(root) :]):
            *folders, name = relative.split("/")
            if not any(map(is_junk, folders)) and (not is_junk(name) or name in NAMES):
                yield relative


def _kind(root: Path, relative: str) -> Literal["file", "directory"] | None:
    """Return what is at a path below `root`; None for nothing, a link, a path through a link, a pipe or a device."""
    path, mode = root, 0
    for part in relative.split("/"):
        path /= part
        try:
            mode = path.lstat().st_mode
        except OSError:
            return None
        if stat.S_ISLNK(mode):
            return None
    return "directory" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else None


def _has_several_names(entry: Entry) -> bool:
    """Return whether the file is found under other names, too. The system reports a change under the name it was made."""
    try:
        return Path(entry.path).lstat().st_nlink > 1
    except OSError:
        return False


class FolderChanges:
    """The changes in local folders and their subfolders. From its creation on, the system collects them. For one thread.

    If one of the folders is removed, replaced or mounted anew, anything may have changed, and it is watched anew.

    Args:
        folders: absolute paths.
        stop: returns whether to stop waiting.
        pause: waits this many seconds, or until it is to stop.

    Raises `MissingExtraError` if watchfiles is not installed, and `SourceError` if the folders cannot be watched.
    """

    def __init__(
        self,
        folders: Sequence[str],
        stop: Callable[[], bool] = lambda: False,
        *,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._folders = folders
        self._stop = stop
        self._pause = pause
        self._early: set[str] = set()
        self._known = self._identities()
        self._notices = self._open()

    def wait(self, seconds: float) -> Changed:
        """See `Changes`. Returns early if it is to stop."""
        if self._early:
            early, self._early = self._early, set()
            return frozenset(early)
        until = time.monotonic() + seconds
        while not self._stop() and time.monotonic() < until:
            if (identities := self._identities()) != self._known:
                self._watch_anew(identities)
                return None
            try:
                if found := next(self._notices):
                    return frozenset(found)
            except (OSError, RuntimeError) as exc:  # RuntimeError: also of watchfiles, for a path that is not UTF-8
                logger.warning("changes were missed, so everything is read: %s", first_line(exc))
                self._watch_anew(identities)
                return None
        return NOTHING

    def _watch_anew(self, identities: dict[str, tuple[int, int] | None]) -> None:
        self._known = identities
        try:
            self._notices = self._open()
        except SourceError as exc:
            logger.warning("%s", exc)
            self._known = {}  # so that the next call tries again
            self._pause(_RETRY_SECONDS)

    def _identities(self) -> dict[str, tuple[int, int] | None]:
        """Return folder → device and number of its directory, or None if there is none."""
        found: dict[str, tuple[int, int] | None] = {}
        for folder in self._folders:
            try:
                status = os.stat(folder)  # noqa: PTH116  a fourth of the time of Path.stat, four times a second
                found[folder] = (status.st_dev, status.st_ino)
            except OSError:
                found[folder] = None
        return found

    def _open(self) -> Iterator[set[str]]:
        """Begin to watch the folders that exist, and return what is noticed, an empty set every `_STEP_MS` without changes."""
        try:
            from watchfiles import watch  # noqa: PLC0415  only with the extra watch
        except ModuleNotFoundError as exc:
            raise MissingExtraError("watching requires watchfiles: pip install 'qdrant-ingest[watch]'") from exc
        present = [folder for folder, identity in self._known.items() if identity is not None]
        if not present:
            return _nothing_to_watch()
        noticed = (
            {path for _, path in changes}
            for changes in watch(
                *present,
                watch_filter=None,
                debounce=LONGEST_MS,
                step=QUIET_MS,
                rust_timeout=_STEP_MS,
                yield_on_timeout=True,
                ignore_permission_denied=True,
            )
        )
        try:
            self._early |= next(noticed)  # it watches from here on
        except (OSError, RuntimeError) as exc:
            raise SourceError(
                f"cannot watch {', '.join(present)}: {first_line(exc)}; if it is the limit of watches, raise"
                " fs.inotify.max_user_watches, else read it at intervals with --every 5m (in a job: every)"
            ) from exc
        return noticed


def _nothing_to_watch() -> Iterator[set[str]]:
    while True:
        time.sleep(_STEP_MS / 1000)
        yield set()

"""Watching: which part of a job's sources is read next, because something in them has changed.

Changes only make a run come sooner. They may be lost, doubled or reordered: every scheduled run reads the whole source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ingest.errors import SourceError
from ingest.source.files import FolderSource
from ingest.source.pieces import PiecesSource
from ingest.source.sql import SqlSource
from ingest.source.watching import NOTHING, Changed, Changes, changed_part, relative_paths

Watchable = FolderSource | SqlSource
"""A source that tells of its changes: a local folder, or a PostgreSQL database."""

MAX_PATHS = 1000
"""Changed paths from which the whole source is read instead."""

EVERY = 3600.0
"""Default seconds from one whole reading of a watched source to the next."""

LONGEST_BACKOFF = 300.0
"""Most seconds between a run that failed and the next attempt. The first one comes after a second."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Changes that no run has taken up.

    Attributes:
        paths: what has changed. None: anything may have.
        since: time at which the first of them was noticed; None if none was.
    """

    paths: Changed = NOTHING
    since: float | None = None

    def __bool__(self) -> bool:
        return self.paths is None or bool(self.paths)


def merge(one: Pending, other: Pending) -> Pending:
    """Return the changes of both. More than `MAX_PATHS` of them are anything."""
    times = [pending.since for pending in (one, other) if pending.since is not None]
    paths = None if one.paths is None or other.paths is None else one.paths | other.paths
    return Pending(None if paths is None or len(paths) > MAX_PATHS else paths, min(times, default=None))


@dataclass(slots=True)
class Batch:
    """Changes that a run takes up.

    Attributes:
        parts: the changed files, a source for each folder that has some. None: read the whole sources.
        failed: set it if the changes are to be taken up again, later.
    """

    parts: Sequence[PiecesSource] | None
    failed: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether no run is needed now."""
        return self.parts is not None and not self.parts


@dataclass(slots=True)
class _Watched:
    """The sources of one job, and their changes.

    Attributes:
        sources: local folders, and databases, whose changes have the source's name as their path.
        taken: changes of the run in hand.
        wait_until: no run before this time, after a failure.
        rest_until: no run of the whole source before this time, so that a storm of changes does not keep the job reading.
    """

    sources: Sequence[Watchable]
    deletes_missing: bool
    pending: Pending = Pending()
    taken: Pending = Pending()
    failures: int = 0
    wait_until: float = 0.0
    rest_until: float = 0.0

    def ready_at(self) -> float | None:
        """Return the time from which the pending changes may be taken up, or None if there are none."""
        if not self.pending:
            return None
        return max(self.wait_until, self.rest_until if self.pending.paths is None else 0.0)

    def note(self, changed: Changed, now: float) -> None:
        if changed is not None:
            changed = frozenset(path for path in changed if any(_concerns(each, path) for each in self.sources))
        if changed is None or changed:
            self.pending = merge(self.pending, Pending(changed, now))

    def take(self, now: float) -> Batch:
        self.taken, self.pending = self.pending, Pending()
        if self.taken.paths is None:
            return Batch(None)
        try:
            parts = self._parts(self.taken.paths)
        except SourceError:  # reading the whole source reports it
            return Batch(None)
        if parts is not None:
            return Batch(parts)
        if now >= self.rest_until:
            return Batch(None)
        self.pending = Pending(None, self.taken.since)
        return Batch([])

    def _parts(self, paths: frozenset[str]) -> list[PiecesSource] | None:
        """Return the changed files, a source for each folder that has some, or None if the whole sources have to be read."""
        parts: list[PiecesSource] = []
        for source in self.sources:
            if isinstance(source, FolderSource):
                part = changed_part(source, paths, deletes_missing=self.deletes_missing)
                if part is None:
                    return None
                if part.pieces:
                    parts.append(part)
            elif source.name in paths:
                return None
        return parts

    def end(self, *, failed: bool, whole: bool, began: float, now: float) -> None:
        if failed:
            self.pending = merge(self.taken, self.pending)
            self.wait_until = now + min(2.0**self.failures, LONGEST_BACKOFF)
        elif whole:
            self.rest_until = now + (now - began)
        self.failures = self.failures + 1 if failed else 0
        self.taken = Pending()


def _concerns(source: Watchable, path: str) -> bool:
    if isinstance(source, FolderSource):
        return next(relative_paths(source, [path]), None) is not None
    return path == source.name


class Watches:
    """The watched jobs of a process. One thread drives it, any thread may ask for `freshness`.

    Args:
        jobs: job → its sources, and whether its runs delete documents missing from them.
        changes: the changes in the sources of all jobs.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        jobs: Mapping[str, tuple[Sequence[Watchable], bool]],
        changes: Changes,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs = {job: _Watched(sources, deletes_missing) for job, (sources, deletes_missing) in jobs.items()}
        self._changes = changes
        self._clock = clock

    def wait(self, seconds: float) -> None:
        """Wait for changes, at most this many seconds, and note them."""
        now = self._clock()
        ready = [at - now for watched in self._jobs.values() if (at := watched.ready_at()) is not None]
        changed = self._changes.wait(max(0.0, min([seconds, *ready])))
        for watched in self._jobs.values():
            watched.note(changed, self._clock())

    def due(self) -> str | None:
        """Return the job whose oldest change has waited for longest, if one may run now."""
        now = self._clock()
        ready = [job for job, watched in self._jobs.items() if (at := watched.ready_at()) is not None and at <= now]
        return min(ready, key=lambda job: self._jobs[job].pending.since or now, default=None)

    def expect_all(self, job: str) -> None:
        """Let the job run as soon as it may and read its whole source, if it is watched."""
        if job in self._jobs:
            self._jobs[job].pending = merge(self._jobs[job].pending, Pending(None))

    @contextmanager
    def batch(self, job: str) -> Iterator[Batch]:
        """Take up the pending changes of a job during the context. They come back if it fails or raises, after a pause."""
        watched = self._jobs.get(job)
        if watched is None:
            yield Batch(None)
            return
        began = self._clock()
        batch = watched.take(began)
        try:
            yield batch
        except BaseException:
            batch.failed = True
            raise
        finally:
            watched.end(failed=batch.failed, whole=batch.parts is None, began=began, now=self._clock())

    def freshness(self, job: str) -> float | None:
        """Return the age in seconds of the oldest change of the job that is not searchable yet; 0 if there is none.

        None for a job that is not watched.
        """
        watched = self._jobs.get(job)
        if watched is None:
            return None
        times = [pending.since for pending in (watched.taken, watched.pending) if pending.since is not None]
        return max(0.0, self._clock() - min(times)) if times else 0.0

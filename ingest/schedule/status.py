"""What is known of a job: a lock that one run holds, across processes, and a status file that says how the last one went.

Both are for its owner alone. The lock decides; the status file only tells, and what is stored is never judged by it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from ingest.atomic_files import make_private_folder, replace_private
from ingest.errors import DeletionBrakeError, IngestError, JobRunningError
from ingest.records import Receipt

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
"""Gives the time, with its zone."""

Stop = Callable[[], bool]
"""Whether to stop; once True, always True."""

EXIT_UNBALANCED = 1
EXIT_REJECTS = 3
EXIT_STOPPED = 130

State = Literal["never", "running", "done", "rejects", "braked", "stopped", "failed"]
"""`rejects`: done, but more of them than allowed. `stopped`: as it was told to, before its end."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands. Times are UTC.

    Attributes:
        status: of the last run, `running` until it has ended.
        pid: of the process that runs it, None while nobody does.
        started: when the last run began.
        last_success: when the last run that did all it should began.
        next_run: when the daemon means to run it.
        failures: runs that failed since the last success.
        ended, seconds, exit_code, error, doc_ids, receipt: of the last run that has ended. `exit_code`: of a command that had run
            this alone. `error`: one line. `doc_ids`: documents it would have deleted, had the brake not stopped it (the first
            1,000). `receipt`: JSON, without the leases, if it came to one.
    """

    job: str
    status: State = "never"
    pid: int | None = None
    started: datetime | None = None
    last_success: datetime | None = None
    next_run: datetime | None = None
    failures: int = 0
    ended: datetime | None = None
    seconds: float | None = None
    exit_code: int | None = None
    error: str | None = None
    doc_ids: tuple[str, ...] = ()
    receipt: dict[str, Any] | None = None


def wall_clock() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


_STATUS = TypeAdapter(JobStatus)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; see `JobStatus`."""

    status: State
    exit_code: int
    error: str | None = None
    receipt: dict[str, Any] | None = None
    doc_ids: tuple[str, ...] = ()


def judge(receipt: Receipt, rejects_allowed: Fraction | int) -> Outcome:
    """Return what a receipt means. `rejects_allowed`: an exact share of the records read (`Fraction`), or a number of them."""
    limit = rejects_allowed if isinstance(rejects_allowed, int) else receipt.read * rejects_allowed
    account = {name: value for name, value in asdict(receipt).items() if name != "lease_events"}  # two for each window
    if not receipt.balanced:
        return Outcome("failed", EXIT_UNBALANCED, "the receipt does not balance", account)
    if receipt.stopped:
        return Outcome("stopped", EXIT_STOPPED, None, account)
    if receipt.rejected > limit:
        error = f"{receipt.rejected} of {receipt.read} records were rejected, more than allowed: see the rejects file"
        return Outcome("rejects", EXIT_REJECTS, error, account)
    return Outcome("done", 0, None, account)


def begun(before: JobStatus, now: datetime, pid: int, next_run: datetime | None = None) -> JobStatus:
    """A run begins."""
    return replace(recovered(before, next_run), status="running", pid=pid, started=now)


def ended(running: JobStatus, outcome: Outcome, now: datetime) -> JobStatus:
    """A run has come to its end. One that was stopped is neither a success nor a failure."""
    done = outcome.status == "done"
    return replace(
        running,
        status=outcome.status,
        pid=None,
        last_success=running.started if done else running.last_success,
        failures=0 if done else running.failures + (outcome.status != "stopped"),
        ended=now,
        seconds=(now - running.started).total_seconds() if running.started else None,
        exit_code=outcome.exit_code,
        error=outcome.error,
        doc_ids=outcome.doc_ids,
        receipt=outcome.receipt,
    )


def recovered(status: JobStatus, next_run: datetime | None = None) -> JobStatus:
    """As read by who holds the lock: a run that never said how it ended has died. `next_run` replaces what it says, if given."""
    status = replace(status, next_run=next_run or status.next_run)
    if status.pid is None:
        return status
    error = f"process {status.pid} died while it ran the job: what it wrote stays, and the next run continues"
    return replace(
        status,
        status="failed",
        pid=None,
        failures=status.failures + 1,
        ended=None,
        seconds=None,
        exit_code=IngestError.exit_code,
        error=error,
        doc_ids=(),
        receipt=None,
    )


def status_json(status: JobStatus) -> dict[str, Any]:
    """As it is printed and kept."""
    dumped: dict[str, Any] = _STATUS.dump_python(status, mode="json")
    return dumped


class JobRecord:
    """The lock and the status file of one job, in a directory that is made when it is first needed.

    `read` is for everyone; `write` for who holds the lock.
    """

    def __init__(self, directory: Path, job: str) -> None:
        self.job = job
        self._path = directory / f"{job}.json"
        self._lock = directory / f"{job}.lock"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """This process runs the job, until the end of the context. Raises `JobRunningError` if another one, or thread, does."""
        lock = FileLock(self._lock, timeout=0, mode=0o600, thread_local=False)
        try:
            make_private_folder(self._lock.parent)
            lock.acquire()
        except Timeout as exc:
            raise JobRunningError(f"the job {self.job} is being run by {self._holder()}: wait for it, or stop it") from exc
        except OSError as exc:
            raise IngestError(f"the lock of the job, {self._lock}, cannot be taken ({exc.strerror}): see jobs_dir") from exc
        try:
            yield
        finally:
            lock.release()

    def read(self) -> JobStatus:
        """As it was last written. A file that is damaged says nothing, and that is logged."""
        try:
            return _STATUS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return JobStatus(self.job)
        except (OSError, ValidationError):
            logger.warning("the status file %s cannot be read: the job is taken for one that never ran", self._path)
            return JobStatus(self.job)

    def write(self, status: JobStatus) -> None:
        """Replaces the status at once and whole. Raises `IngestError` if it cannot."""
        try:
            replace_private(self._path, _STATUS.dump_json(status, indent=2))
        except OSError as exc:
            raise IngestError(f"the status file {self._path} cannot be written ({exc.strerror}): see jobs_dir") from exc

    def _holder(self) -> str:
        status = self.read()
        if status.pid is None or status.started is None:
            return "another process, which has only just begun"
        return f"process {status.pid} since {status.started.astimezone().isoformat(sep=' ', timespec='seconds')}"


def run_recorded(
    record: JobRecord,
    run: Callable[[Stop], Receipt],
    *,
    stop: Stop,
    rejects_allowed: Fraction | int,
    time_limit: float | None = None,
    next_run: datetime | None = None,
    clock: Clock = wall_clock,
) -> JobStatus:
    """Runs a job under its lock and keeps its status. A run that fails is a status, not an exception.

    Args:
        run: does it; is given what tells it to stop, which is `stop` and the time limit (seconds).
        next_run: to stand in the status; where it is None, what stands there stays.

    Raises `JobRunningError` if another process runs it, and `IngestError` where the status cannot be kept.
    """
    with record.hold():
        started = clock()
        status = begun(record.read(), started, os.getpid(), next_run)
        record.write(status)

        def out_of_time() -> bool:
            return time_limit is not None and (clock() - started).total_seconds() >= time_limit

        try:
            outcome = judge(run(lambda: stop() or out_of_time()), rejects_allowed)
            if outcome.status == "stopped" and not stop():
                error = f"stopped at its time limit of {time_limit:.0f} s: what it wrote stays, and the next run continues"
                outcome = replace(outcome, status="failed", exit_code=IngestError.exit_code, error=error)
        except DeletionBrakeError as exc:
            outcome = Outcome("braked", exc.exit_code, str(exc), doc_ids=exc.doc_ids)
        except IngestError as exc:
            outcome = Outcome("failed", exc.exit_code, str(exc))
        except Exception as exc:  # a mistake of ours in one job must not keep the others from running
            logger.exception("the job %s failed in a way that it should not", record.job)
            outcome = Outcome("failed", IngestError.exit_code, f"{type(exc).__name__}: {exc}")
        except BaseException:
            record.write(ended(status, Outcome("stopped", EXIT_STOPPED, "interrupted at once"), clock()))
            raise
        status = ended(status, outcome, clock())
        record.write(status)
    return status

"""The state of a job: a lock, taken by one run across processes, and a status file with the result of the last run.

Both files are accessible to their owner alone. The lock decides whether a job runs; the status file only informs, and no decision
about stored points depends on it.
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
from ingest.process import is_running
from ingest.receipt import Receipt

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
"""Return the time with its zone."""

Stop = Callable[[], bool]
"""Return whether to stop; once True, always True."""

EXIT_UNBALANCED = 1
EXIT_REJECTS = 3
EXIT_STOPPED = 130

State = Literal["never", "running", "done", "rejects", "braked", "stopped", "failed"]
"""`rejects`: done, with more rejected records than allowed. `stopped`: stopped on request before its end."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    """The status of a job. Times are UTC.

    Attributes:
        status: state of the last run, `running` until it ends.
        pid: id of the process that runs the job, or None.
        started: start of the last run.
        last_success: start of the last successful run.
        next_run: next run that the daemon has planned.
        watching: whether the daemon watches the folders of the job, too.
        failures: failed runs since the last success.
        ended: end of the last run that ended; the attributes below are of this run.
        seconds: its duration.
        exit_code: the exit code of a command with this run alone.
        error: its error, on one line.
        doc_ids: the documents that the deletion brake kept (at most the first 1,000).
        receipt: its receipt as JSON without the lease events, if there is one.
    """

    job: str
    status: State = "never"
    pid: int | None = None
    started: datetime | None = None
    last_success: datetime | None = None
    next_run: datetime | None = None
    watching: bool = False
    failures: int = 0
    ended: datetime | None = None
    seconds: float | None = None
    exit_code: int | None = None
    error: str | None = None
    doc_ids: tuple[str, ...] = ()
    receipt: dict[str, Any] | None = None


def wall_clock() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


_STATUS = TypeAdapter(JobStatus)


@dataclass(frozen=True, slots=True)
class JobOutcome:
    """The result of a run of a job; see `JobStatus`."""

    status: State
    exit_code: int
    error: str | None = None
    receipt: dict[str, Any] | None = None
    doc_ids: tuple[str, ...] = ()


def judge(receipt: Receipt, rejects_allowed: Fraction | int) -> JobOutcome:
    """Return the outcome of a run. `rejects_allowed`: an exact share of the records read (`Fraction`), or a number of them."""
    limit = rejects_allowed if isinstance(rejects_allowed, int) else receipt.read * rejects_allowed
    account = {name: value for name, value in asdict(receipt).items() if name != "lease_events"}  # two per window
    if not receipt.balanced:
        return JobOutcome("failed", EXIT_UNBALANCED, "the receipt does not balance", account)
    if receipt.stopped:
        return JobOutcome("stopped", EXIT_STOPPED, None, account)
    if receipt.rejected > limit:
        error = f"{receipt.rejected} of {receipt.read} records were rejected, more than allowed: see the rejects file"
        return JobOutcome("rejects", EXIT_REJECTS, error, account)
    return JobOutcome("done", 0, None, account)


def begun(before: JobStatus, now: datetime, pid: int, next_run: datetime | None = None) -> JobStatus:
    """Return the status of a job at the start of a run."""
    return replace(recovered(before, next_run), status="running", pid=pid, started=now)


def ended(running: JobStatus, outcome: JobOutcome, now: datetime) -> JobStatus:
    """Return the status of a job at the end of a run. A stopped run is neither a success nor a failure."""
    done = outcome.status == "done"
    outcome = unicode_only(outcome)
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


def unicode_only(outcome: JobOutcome) -> JobOutcome:
    """Return the outcome with lone surrogates in its texts escaped: names of columns may have them, JSON may not."""
    error = None if outcome.error is None else _escaped(outcome.error)
    return replace(outcome, error=error, receipt=_escaped(outcome.receipt), doc_ids=tuple(map(_escaped, outcome.doc_ids)))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(key): _escaped(each) for key, each in value.items()}
    return [_escaped(each) for each in value] if isinstance(value, list | tuple) else value


def recovered(status: JobStatus, next_run: datetime | None = None) -> JobStatus:
    """Return the status as the lock holder reads it: a run without an end has died. `next_run` replaces the planned run."""
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
    """Return a status as the JSON that is printed and stored."""
    dumped: dict[str, Any] = _STATUS.dump_python(status, mode="json")
    return dumped


class JobRecord:
    """The lock and the status file of one job, in a directory that is created when it is first needed.

    Anyone may call `read`; only the lock holder may call `write`.
    """

    def __init__(self, directory: Path, job: str) -> None:
        self.job = job
        self._path = directory / f"{job}.json"
        self._lock = directory / f"{job}.lock"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock of the job during the context. Raises `JobRunningError` if another process or thread runs the job."""
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
        """Return the status as last written. A damaged file is logged and counts as a job that never ran."""
        try:
            return _STATUS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return JobStatus(self.job)
        except (OSError, ValidationError):
            logger.warning("the status file %s cannot be read: the job counts as one that never ran", self._path)
            return JobStatus(self.job)

    def current(self) -> JobStatus:
        """Return the status for people who look: like `read`, but a run whose process is gone has failed."""
        status = self.read()
        return status if status.pid is None or is_running(status.pid) else recovered(status)

    def write(self, status: JobStatus) -> None:
        """Replace the status atomically. Raises `IngestError` if that fails."""
        try:
            replace_private(self._path, _STATUS.dump_json(status, indent=2))
        except OSError as exc:
            raise IngestError(f"the status file {self._path} cannot be written ({exc.strerror}): see jobs_dir") from exc
        except ValueError as exc:  # of a value that JSON cannot represent
            raise IngestError(f"the status of the job {self.job} cannot be written as JSON: {exc}") from exc

    def _holder(self) -> str:
        status = self.read()
        if status.pid is None or status.started is None:
            return "another process, which has only just started"
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
    """Run a job under its lock, record its status and return it. A failed run is a status, not an exception.

    Args:
        run: runs the job until it ends or its argument returns True, which combines `stop` and the time limit.
        time_limit: maximum seconds of the run.
        next_run: next planned run for the status; None keeps the present one.

    Raises `JobRunningError` if another process runs the job, and `IngestError` if the status cannot be written.
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
            outcome = JobOutcome("braked", exc.exit_code, str(exc), doc_ids=exc.doc_ids)
        except IngestError as exc:
            logger.debug("the job %s failed", record.job, exc_info=exc)
            outcome = JobOutcome("failed", exc.exit_code, str(exc))
        except Exception as exc:  # a bug in one job must not keep the others from running
            logger.exception("the job %s failed unexpectedly", record.job)
            outcome = JobOutcome("failed", IngestError.exit_code, f"{type(exc).__name__}: {exc}")
        except BaseException:
            record.write(ended(status, JobOutcome("stopped", EXIT_STOPPED, "interrupted at once"), clock()))
            raise
        status = ended(status, outcome, clock())
        record.write(status)
    return status

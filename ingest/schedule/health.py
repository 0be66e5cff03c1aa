"""How scheduled jobs are: for whoever watches the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingest.schedule.status import Clock, JobRecord, JobStatus, status_json, wall_clock
from ingest.schedule.timetable import Timetable

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still healthy.

    Attributes:
        failures: in a row, that are too many.
        grace: seconds a job may be late, or beyond its time limit.
        time_limits: job → seconds, of those that have one.
    """

    failures: int
    grace: float
    time_limits: Mapping[str, float]


def problems(status: JobStatus, *, due: datetime, now: datetime, limits: Limits) -> list[str]:
    """What is wrong with a job, in sentences; empty for a healthy one."""
    found = []
    if status.failures >= limits.failures:
        found.append(f"failed {status.failures} times in a row: {status.error}")
    if status.pid is not None and status.started is not None:
        allowed = limits.time_limits.get(status.job)
        if allowed is not None and (now - status.started).total_seconds() > allowed + limits.grace:
            found.append(f"runs since {_shown(status.started)}, far over its time limit of {allowed:.0f} s")
    elif (now - due).total_seconds() > limits.grace:
        found.append(f"was due at {_shown(due)} and has not run")
    return found


def _shown(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


class JobsHealth:
    """Reads the statuses when asked, so that they are as new as the files. Safe from any thread. A Prometheus collector."""

    def __init__(
        self, records: Mapping[str, JobRecord], timetable: Timetable, limits: Limits, *, clock: Clock = wall_clock
    ) -> None:
        self._records = records
        self._timetable = timetable
        self._limits = limits
        self._clock = clock

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether all is well, and how each job is: its status without the receipt, and its problems. JSON."""
        now = self._clock()
        jobs = {}
        for job, record in self._records.items():
            status = record.read()
            found = problems(status, due=self._timetable.due_by_wall_time(status), now=now, limits=self._limits)
            shown = {name: value for name, value in status_json(status).items() if name != "receipt"}
            jobs[job] = {**shown, "problems": found}
        well = not any(job["problems"] for job in jobs.values())
        return well, {"healthy": well, "jobs": jobs}

    def collect(self) -> Iterator[Metric]:
        """Of the last run of each job."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415  most runs serve nothing

        statuses = {job: record.read() for job, record in self._records.items()}
        for name, what, figure in _FIGURES:
            family = GaugeMetricFamily(f"ingest_job_{name}", what, labels=["job"])
            for job, status in statuses.items():
                if (value := figure(status)) is not None:
                    family.add_metric([job], value)
            yield family
        documents = GaugeMetricFamily("ingest_job_documents", "Of the last run.", labels=["job", "outcome"])
        for job, status in statuses.items():
            if status.receipt is not None:
                for outcome in _DOCUMENT_COUNTS:
                    documents.add_metric([job, outcome], status.receipt[outcome])
        yield documents


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


_FIGURES: Sequence[tuple[str, str, Callable[[JobStatus], float | None]]] = (
    ("running", "1 while it runs.", lambda status: float(status.pid is not None)),
    ("consecutive_failures", "Runs that failed since the last success.", lambda status: status.failures),
    ("exit_code", "Of the last run.", lambda status: status.exit_code),
    ("duration_seconds", "Of the last run.", lambda status: status.seconds),
    ("last_success_timestamp_seconds", "When the last good run began.", lambda status: _seconds(status.last_success)),
    ("next_run_timestamp_seconds", "When it is due.", lambda status: _seconds(status.next_run)),
)

_DOCUMENT_COUNTS = ("read", "written", "updated", "unchanged", "deleted", "soft_deleted", "rejected")

"""The health and metrics of scheduled jobs, for monitoring the daemon."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ingest.schedule.status import Clock, JobRecord, JobStatus, status_json, wall_clock
from ingest.schedule.timetable import Timetable
from ingest.telemetry import FRESHNESS

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a healthy job.

    Attributes:
        failures: number of consecutive failures that is unhealthy.
        grace: seconds that a job may be late, or over its time limit.
        time_limits: job → seconds, for jobs with a time limit.
        freshness: seconds that a change in a watched folder may take to be searchable.
    """

    failures: int
    grace: float
    time_limits: Mapping[str, float]
    freshness: float = math.inf


Freshness = Callable[[str], float | None]
"""Return the age in seconds of a job's oldest change that is not searchable yet, or None if it is not watched."""


def problems(status: JobStatus, *, due: datetime, now: datetime, limits: Limits, freshness: float | None = None) -> list[str]:
    """Return the problems of a job as sentences; none for a healthy one. `freshness`: see `Freshness`."""
    found = []
    if status.failures >= limits.failures:
        found.append(f"failed {status.failures} times in a row: {status.error}")
    if status.pid is not None and status.started is not None:
        allowed = limits.time_limits.get(status.job)
        if allowed is not None and (now - status.started).total_seconds() > allowed + limits.grace:
            found.append(f"runs since {_shown(status.started)}, far over its time limit of {allowed:.0f} s")
    elif (now - due).total_seconds() > limits.grace:
        found.append(f"was due at {_shown(due)} and has not run")
    if freshness is not None and freshness > limits.freshness:
        found.append(f"has had changes for {freshness:.0f} s that are not searchable yet")
    return found


def _shown(moment: datetime) -> str:
    return moment.astimezone().isoformat(sep=" ", timespec="seconds")


class JobsHealth:
    """The health of all jobs, read from their status files on each request. A Prometheus collector. Safe from any thread."""

    def __init__(
        self,
        records: Mapping[str, JobRecord],
        timetable: Timetable,
        limits: Limits,
        *,
        freshness: Freshness = lambda _: None,
        clock: Clock = wall_clock,
    ) -> None:
        self._records = records
        self._timetable = timetable
        self._limits = limits
        self._freshness = freshness
        self._clock = clock

    def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether all jobs are healthy, and per job its status without the receipt and its problems, as JSON."""
        now = self._clock()
        jobs = {}
        for job, record in self._records.items():
            status = record.read()
            due, freshness = self._timetable.due_by_wall_time(status), self._freshness(job)
            found = problems(status, due=due, now=now, limits=self._limits, freshness=freshness)
            shown = {name: value for name, value in status_json(status).items() if name != "receipt"}
            jobs[job] = {**shown, "freshness_seconds": freshness, "problems": found}
        healthy = not any(job["problems"] for job in jobs.values())
        return healthy, {"healthy": healthy, "jobs": jobs}

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the last run of each job."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415  most runs serve nothing

        statuses = {job: record.read() for job, record in self._records.items()}
        for name, what, figure in _FIGURES:
            family = GaugeMetricFamily(f"ingest_job_{name}", what, labels=["job"])
            for job, status in statuses.items():
                if (value := figure(status)) is not None:
                    family.add_metric([job], value)
            yield family
        documents = GaugeMetricFamily("ingest_job_documents", "Documents of the last run.", labels=["job", "outcome"])
        for job, status in statuses.items():
            if status.receipt is not None:
                for outcome in _DOCUMENT_COUNTS:
                    documents.add_metric([job, outcome], status.receipt[outcome])
        yield documents
        freshness = GaugeMetricFamily("ingest_freshness_seconds", FRESHNESS, labels=["job"])
        for job in statuses:
            if (seconds := self._freshness(job)) is not None:
                freshness.add_metric([job], seconds)
        yield freshness


def _seconds(moment: datetime | None) -> float | None:
    return moment.timestamp() if moment else None


_FIGURES: Sequence[tuple[str, str, Callable[[JobStatus], float | None]]] = (
    ("running", "1 while the job runs.", lambda status: float(status.pid is not None)),
    ("consecutive_failures", "Runs that failed since the last success.", lambda status: status.failures),
    ("watching", "1 while the daemon watches the folders of the job.", lambda status: float(status.watching)),
    ("exit_code", "Exit code of the last run.", lambda status: status.exit_code),
    ("duration_seconds", "Duration of the last run.", lambda status: status.seconds),
    ("last_success_timestamp_seconds", "Start of the last successful run.", lambda status: _seconds(status.last_success)),
    ("next_run_timestamp_seconds", "Time of the next run.", lambda status: _seconds(status.next_run)),
)

_DOCUMENT_COUNTS = ("read", "written", "updated", "unchanged", "deleted", "soft_deleted", "rejected")

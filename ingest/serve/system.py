"""Operations about the server itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from starlette.responses import Response

from ingest.serve.endpoint import Call, Endpoint
from ingest.serve.problems import problem_response
from ingest.serve.schemas import Health, JobList

METRICS_TYPE = "text/plain; version=0.0.4"


@dataclass(slots=True)
class Readiness:
    """Whether the models are loaded. `detail`: why they could not be."""

    status: Literal["ok", "starting", "failed"] = "starting"
    detail: str | None = None


def system_endpoints(readiness: Readiness) -> tuple[Endpoint, ...]:
    """Return the operations that tell how the server is."""

    async def healthz(call: Call) -> Health | Response:
        if await asyncio.to_thread(call.service.is_well):
            return Health("ok", call.service.workers.pending)
        return problem_response(503, "a job that this server runs is late, or has failed: /v1/jobs says which, and why")

    async def readyz(call: Call) -> Health | Response:
        if readiness.status == "ok":
            return Health("ok", call.service.workers.pending)
        return problem_response(503, readiness.detail or "the models are being loaded", headers={"Retry-After": "1"})

    async def metrics(call: Call) -> Response:
        return Response(call.service.metrics.text(), media_type=METRICS_TYPE)

    async def jobs(call: Call) -> JobList:
        found = await call.service.workers.run(call.service.read_jobs)
        return JobList(tuple(each for each in found if call.grant.allows(each.collection, "read")))

    return (
        Endpoint(
            "GET", "/v1/jobs", "List the scheduled jobs with their last runs", jobs, JobList, access="token", tags=("jobs",)
        ),
        Endpoint(
            "GET",
            "/healthz",
            "Whether the server answers, and its jobs are well",
            healthz,
            Health,
            access="public",
            tags=("system",),
        ),
        Endpoint("GET", "/readyz", "Whether the models are loaded", readyz, Health, access="public", tags=("system",)),
        Endpoint("GET", "/metrics", "Metrics for Prometheus", metrics, METRICS_TYPE, access="token", tags=("system",)),
    )

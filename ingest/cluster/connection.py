"""The connection to Ray. The only module that imports it, and only when a run needs it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ingest.errors import ConfigurationError, IngestError, MissingExtraError

LOCAL = "local"
"""The address of a cluster that is started on this machine and ends with the run."""

MAX_DEATHS = 3
"""Deaths for each worker, without a result in between, after which a run gives up."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Connect this process to the Ray cluster at `address`, or keep the connection that it already has.

    Ray's own output goes to standard error.

    Raises `MissingExtraError`, `ConfigurationError` if there is no cluster at the address, and `IngestError` if Ray fails to
    start.
    """
    with contextlib.redirect_stdout(sys.stderr):
        ray = _ray()
        if ray.is_initialized():
            yield
            return
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        own: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False, **own)
        except (ConnectionError, ValueError) as exc:
            raise ConfigurationError(
                f"there is no Ray cluster at {address!r} ({_first_line(exc)}): start one (ray start --head) or pass --ray-address"
            ) from exc
        except Exception as exc:  # Ray has no type of its own for what happens while it starts
            raise IngestError(
                f"Ray did not start ({type(exc).__name__}: {_first_line(exc)}): check memory, disk and RAY_TMPDIR, then run again"
            ) from exc
        try:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():  # Ray replaces the handler of SIGTERM, and the run needs its own
                    signal.signal(number, handler)
            yield
        finally:
            ray.shutdown()


def cluster_resources() -> Mapping[str, float]:
    """Return the resources of the cluster: name (`CPU`, `GPU`, …) → amount."""
    resources: Mapping[str, float] = _ray().cluster_resources()
    return resources


def start_actor(kind: type[Any], *arguments: Any, **options: Any) -> Any:
    """Start an actor that reserves no CPU, and return its handle. The actor ends when its last handle is dropped."""
    return _ray().remote(kind).options(num_cpus=0, **options).remote(*arguments)


def run_task(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call the function on a machine of the cluster with the resources in `options`, and return its result."""
    return fetch(_ray().remote(function).options(**options).remote(*arguments))


def fetch(references: Any) -> Any:
    """Return the value of a reference, or the values of a list of them.

    Raises the `IngestError` that the remote call raised, or an `IngestError` with the message of any other failure.
    """
    try:
        return _get(references)
    except _ray().exceptions.RayError as exc:
        raise IngestError(
            f"Ray lost an actor of this run ({_first_line(exc)}): run it again; everything stored so far is kept"
        ) from exc


def _get(references: Any) -> Any:
    """Like `fetch`, but raise the `RayError` of a call that did not end, because its process died or cannot be reached."""
    ray = _ray()
    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as exc:
        if isinstance(exc.cause, IngestError):
            raise exc.cause from exc
        raise IngestError(f"a Ray task failed: {type(exc.cause).__name__}: {_first_line(exc.cause)}") from exc


def streamed(method: Any, *arguments: Any) -> Iterator[Any]:
    """Yield the items of a generator method of an actor."""
    for reference in method.options(num_returns="streaming").remote(*arguments):
        yield fetch(reference)


def map_in_tasks(items: Iterable[Any], function: Callable[..., None], *arguments: Any, workers: int) -> None:
    """Call the function with each item and the arguments, in as many processes at a time as there are workers."""
    ray = _ray()
    task = ray.remote(function).options(num_cpus=1, scheduling_strategy="SPREAD")
    running: list[Any] = []
    for item in items:
        if len(running) == workers:
            ended, running = ray.wait(running)
            fetch(ended)
        running.append(task.remote(item, *arguments))
    fetch(running)


def map_in_actors(
    items: Sequence[Any], worker: type[Any], arguments: Sequence[Any], *, workers: int, resources: Mapping[str, float]
) -> Iterator[Any]:
    """Yield the result of `worker(*arguments)(item)` for each item, in the order of completion.

    If a worker dies, a new one is started, and the next worker without an item gets its item. Raises the `IngestError` that a
    worker raises, or an `IngestError` if workers keep dying.
    """
    ray = _ray()
    number = min(workers, len(items))
    actor_class = ray.remote(_Host).options(scheduling_strategy="SPREAD", **resources)
    waiting, left, deaths = deque(items), len(items), 0
    calls: dict[Any, tuple[Any, Any]] = {}

    def start() -> None:
        """Start a worker. It gets an item only once it has started: the cluster may never have the resources for it."""
        actor = actor_class.remote()
        calls[actor.start.remote(worker, arguments)] = (actor, None)

    try:
        for _ in range(number):
            start()
        while left:
            (reference, *_), _ = ray.wait(list(calls))
            actor, item = calls.pop(reference)
            try:
                result = _get(reference)
            except ray.exceptions.RayError as exc:
                deaths += 1
                if deaths > MAX_DEATHS * number:
                    raise IngestError(
                        f"workers on Ray keep dying ({_first_line(exc)}): see the logs of Ray and run it again; everything stored"
                        " so far is kept"
                    ) from exc
                ray.kill(actor)  # if it cannot be reached, it may still be alive
                if item is not None:
                    waiting.appendleft(item)
                start()
                continue
            if waiting:
                following = waiting.popleft()
                calls[actor.call.remote(following)] = (actor, following)
            else:  # the trace of an error may keep the handle, and with it the worker's resources
                actor.__ray_terminate__.remote()
            if item is not None:
                left, deaths = left - 1, 0
                yield result
    finally:
        for actor, _ in calls.values():
            ray.kill(actor)


class _Host:
    """An actor that makes its worker in a call: if the constructor of an actor raises an error, Ray does not keep its type."""

    def start(self, worker: type[Any], arguments: Sequence[Any]) -> None:
        self._worker = worker(*arguments)

    def call(self, item: Any) -> Any:
        return self._worker(item)


class WorkerMetrics:
    """The metrics of a run that Ray's dashboard and Prometheus show."""

    def __init__(self) -> None:
        _ray()
        from ray.util.metrics import Counter, Gauge  # noqa: PLC0415

        self._documents = Counter("ingest_documents_done", "Documents written, unchanged or rejected.", ("source",))
        self._chunks = Counter("ingest_encoded_chunks", "Chunks encoded.", ("model",))
        self._seconds = Counter("ingest_encoded_seconds", "Seconds that models spent encoding.", ("model",))
        self._uploads = Gauge("ingest_uploads_allowed", "Write requests allowed at once.")

    def count_documents(self, source: str, number: int) -> None:
        self._documents.inc(number, {"source": source})

    def count_pass(self, model: str, chunks: int, seconds: float) -> None:
        self._chunks.inc(chunks, {"model": model})
        self._seconds.inc(seconds, {"model": model})

    def show_uploads(self, allowed: float) -> None:
        self._uploads.set(allowed)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports by default
    try:
        import ray  # noqa: PLC0415  an extra, and half a second
    except ImportError as exc:
        raise MissingExtraError("engine ray requires the extra ray: pip install 'qdrant-ingest[ray]'") from exc
    logging.getLogger("ray").setLevel(logging.ERROR)  # exceptions report every failure
    return ray


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(exc).__name__

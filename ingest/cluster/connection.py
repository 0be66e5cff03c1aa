"""The one module that imports ray, when it is needed."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ingest.errors import ConfigurationError, IngestError, MissingExtraError

LOCAL = "local"
"""The address of a Ray that is started on this machine and ends with the run."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Within it this process is a driver of the Ray at `address`, or of the one that it is a driver of already.

    What Ray prints goes to standard error. Raises `MissingExtraError`, `ConfigurationError` where nothing is at the address.
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
                f"there is no Ray at {address!r} ({_first_line(exc)}): start one with ray start --head, or give --ray-address"
            ) from exc
        try:
            if threading.current_thread() is threading.main_thread():
                for number, handler in before.items():  # Ray takes SIGTERM for itself, and the run has its own use for it
                    signal.signal(number, handler)
            yield
        finally:
            ray.shutdown()


def cluster_resources() -> Mapping[str, float]:
    """What there is of `CPU`, `GPU` and so on."""
    resources: Mapping[str, float] = _ray().cluster_resources()
    return resources


def start_actor(kind: type[Any], *arguments: Any, **options: Any) -> Any:
    """A handle to a new actor that takes up no processor of its own. It ends with its last handle."""
    return _ray().remote(kind).options(num_cpus=0, **options).remote(*arguments)


def run_task(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What the function gives, called on some machine of the cluster that has what `options` ask for."""
    return fetch(_ray().remote(function).options(**options).remote(*arguments))


def fetch(references: Any) -> Any:
    """What a reference, or a list of them, stands for. Raises the `IngestError` that was raised there, or one that says what Ray
    said.
    """
    ray = _ray()
    try:
        return ray.get(references)
    except ray.exceptions.RayTaskError as exc:
        if isinstance(exc.cause, IngestError):
            raise exc.cause from exc
        raise IngestError(f"a task failed on Ray: {type(exc.cause).__name__}: {_first_line(exc.cause)}") from exc
    except ray.exceptions.RayError as exc:
        raise IngestError(f"Ray lost an actor of this run ({_first_line(exc)}): run it again, what is stored stays") from exc


def streamed(method: Any, *arguments: Any) -> Iterator[Any]:
    """What a generator method of an actor yields."""
    for reference in method.options(num_returns="streaming").remote(*arguments):
        yield fetch(reference)


def map_in_actors(
    items: Sequence[Any], worker: type[Any], arguments: Iterable[Any], *, workers: int, resources: Mapping[str, float]
) -> Iterator[Any]:
    """What `worker(*arguments)(item)` gives of each item, as it comes. An item whose worker dies is given to another, for ever.

    Raises `IngestError` where Ray gives up.
    """
    from ray.data import ActorPoolStrategy  # noqa: PLC0415

    pool = ActorPoolStrategy(size=min(workers, len(items)), max_tasks_in_flight_per_actor=1)
    yield from _mapped(items, _Unpacking, [worker, *arguments], compute=pool, **resources)


def map_in_tasks(items: Sequence[Any], function: Callable[[Any], None], *, workers: int) -> None:
    """Calls the function with each item."""
    from ray.data import TaskPoolStrategy  # noqa: PLC0415

    def call(batch: dict[str, Any]) -> dict[str, Any]:
        return _Unpacking(_Function, function)(batch)

    for _ in _mapped(items, call, None, compute=TaskPoolStrategy(min(workers, len(items))), num_cpus=1):
        pass


class _Function:
    """A worker that is a function."""

    def __init__(self, function: Callable[[Any], None]) -> None:
        self._function = function

    def __call__(self, item: Any) -> None:
        self._function(item)


class _Unpacking:
    """A worker as Ray Data calls it: rows of one column of bytes, in and out."""

    def __init__(self, worker: type[Any], *arguments: Any) -> None:
        self._worker = worker(*arguments)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        pickle = _ray().cloudpickle
        return {"item": [pickle.dumps(self._worker(pickle.loads(item))) for item in batch["item"]]}


def _mapped(items: Sequence[Any], function: Any, arguments: list[Any] | None, **options: Any) -> Iterator[Any]:
    ray = _ray()
    from ray.data import DataContext, from_items  # noqa: PLC0415

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # which its import has undone
    DataContext.get_current().enable_progress_bars = False
    rows = from_items([{"item": ray.cloudpickle.dumps(item)} for item in items], override_num_blocks=len(items))
    mapped = rows.map_batches(function, fn_constructor_args=arguments, batch_size=1, **options)
    try:
        for row in mapped.iter_rows():
            yield ray.cloudpickle.loads(row["item"])
    except ray.exceptions.RayError as exc:
        raise IngestError(f"Ray gave up ({_first_line(exc)}): run it again, what is stored stays") from exc


class Figures:
    """Counters in Ray's own metrics, which its dashboard and Prometheus show."""

    def __init__(self) -> None:
        _ray()
        from ray.util.metrics import Counter, Gauge  # noqa: PLC0415

        self._documents = Counter("ingest_documents_done", "Documents stored, unchanged or rejected.", ("source",))
        self._chunks = Counter("ingest_encoded_chunks", "Chunks encoded.", ("model",))
        self._seconds = Counter("ingest_encoded_seconds", "Seconds of models at work.", ("model",))
        self._uploads = Gauge("ingest_uploads_allowed", "Requests that may write at once.")

    def count_documents(self, source: str, number: int) -> None:
        self._documents.inc(number, {"source": source})

    def count_pass(self, model: str, chunks: int, seconds: float) -> None:
        self._chunks.inc(chunks, {"model": model})
        self._seconds.inc(seconds, {"model": model})

    def show_uploads(self, allowed: float) -> None:
        self._uploads.set(allowed)


def _ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody unless somebody asks for it
    try:
        import ray  # noqa: PLC0415  an extra, and half a second
    except ImportError as exc:
        raise MissingExtraError("engine ray needs the extra ray: pip install 'qdrant-ingest[ray]'") from exc
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)  # what goes wrong is told by what is raised
    return ray


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(exc).__name__

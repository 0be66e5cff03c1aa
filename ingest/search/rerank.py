"""Reranking: a cross-encoder reads each of the best candidates together with the query, and its scores set the order."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

import numpy as np

from ingest.context import heading_path, path_line
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.devices import check_devices, compute_dtype, default_devices
from ingest.encode.lease import give_back
from ingest.encode.precision import reranker_precision
from ingest.encode.registry import CustomModels, EnsembleConfig, ModelConfig
from ingest.encode.rerankers import AnyReranker, make_reranker, reranker_config
from ingest.encode.resolve import locate
from ingest.encode.runner import BatchRunner
from ingest.errors import DeviceError, LeaseTimeoutError, ModelError, ModelUnavailableError, PluginError
from ingest.parameters import (
    checked,
    optional,
    parse_choice,
    parse_instance,
    parse_integer,
    parse_list,
    parse_number,
    parse_path,
    parse_text,
    parse_texts,
    parse_unicode,
)
from ingest.process import HomeProcess, NotCopied
from ingest.records import Hit
from ingest.retry import RetryPolicy
from ingest.search.answer import Answer, RerankResult
from ingest.telemetry import ThroughputMonitor

DEFAULT_RERANKER = "ms-marco-minilm-l6"

RERANK_CANDIDATES = 50
"""The number of fused candidates to rerank. More cost proportionally more time and seldom change the first ten."""

RERANK_LEASE_SECONDS = 1.0
"""Seconds a query waits for the accelerator before it is reranked on the CPU instead."""

HUB_SECONDS = 1.0
"""Seconds that `RerankMode` `auto` waits for the hub to say whether it has the model."""

RETRY_SECONDS = 60.0
"""Seconds that `auto` searches without an unavailable model before it tries again."""

TITLE_CHARACTERS = 256
"""Characters of a title that are read, so that a long title leaves room for the text. About what chunking allows a title."""

RerankMode = Literal["auto", "on", "off"]
"""`auto` reranks if the model is available and otherwise says why not, `on` raises if it is unavailable, `off` never reranks."""

_NO_RETRIES = RetryPolicy(attempts=1)
"""A query does not wait for an endpoint that is overloaded."""

logger = logging.getLogger(__name__)


def parse_rerank(value: object) -> RerankMode:
    """Return the mode. True means `on`, False means `off`."""
    modes: tuple[RerankMode, ...] = get_args(RerankMode)
    return ("on" if value else "off") if isinstance(value, bool) else parse_choice(value, modes)


class RerankPipeline(NotCopied):
    """A reranker that leases its devices like every other model, and stays on them until another model or process needs them.

    Computes in float16 on a GPU, in float32 if its scores overflow there, and in float32 on the CPU. Safe from several threads,
    which wait for each other.

    Args:
        model: registry key, one of `custom_models`, a folder, or a hub repository `owner/name` of a CrossEncoder.
        devices: devices to lease, such as `cuda:0`. None: the first GPU, or the CPU without one. `cpu` needs no lease: the query
            shares the CPU with other work.
        lease_timeout: seconds to wait for the devices; then the query is reranked on the CPU, as where a device fails.
        lease_directory: folder of the lease files, shared by all processes.
        exclusive: whether the lease is host-wide; False if an orchestrator already owns the devices.
        max_length: most tokens of query and document together; the rest is cut off. None: the model's own limit.
        monitor: receives lease, pass and rerank events.
        controller: learned batch sizes.
        custom_models: the user's own models, name → fields of `ModelConfig`.
        trust_remote_code: models whose own Python code may run, named like `model`.
        cache_directory: folder of models converted for OpenVINO. A converted model is used on the CPU, in its precision. None:
            torch computes.

    Nothing is read before the first query. Raises `UnknownModelError` and `ConfigurationError`. A pipeline belongs to the process
    that created it: in a forked child its methods raise `ForkError`.
    """

    what_instead = "create one in each process"

    def __init__(
        self,
        model: str | Path = DEFAULT_RERANKER,
        *,
        devices: Sequence[str] | None = None,
        lease_timeout: float = RERANK_LEASE_SECONDS,
        lease_directory: str | Path | None = None,
        exclusive: bool = True,
        max_length: int | None = None,
        monitor: ThroughputMonitor | None = None,
        controller: AdaptiveBatchController | None = None,
        custom_models: CustomModels | None = None,
        trust_remote_code: Collection[str] = (),
        cache_directory: str | Path | None = None,
    ) -> None:
        self.config = reranker_config(
            model if isinstance(model, Path) else checked("model", parse_text, model),
            custom_models=custom_models,
            trust_remote_code=checked("trust_remote_code", parse_texts, trust_remote_code),
            max_length=checked("max_length", optional(parse_integer), max_length, least=1),
        )
        self._home = HomeProcess("this RerankPipeline")
        self._is_remote = self.config.backend == "http"
        self._moves = self.config.moves or self.config.has_files
        self._devices = _leased(default_devices() if devices is None else devices) if self._moves else ()
        self._lease_timeout = checked("lease_timeout", parse_number, lease_timeout)
        self._lease_directory = checked("lease_directory", optional(parse_path), lease_directory)
        self._ensemble = EnsembleConfig((self.config.key,), exclusive_mode=exclusive)
        self._monitor = monitor
        self._cache_directory = checked("cache_directory", optional(parse_path), cache_directory)
        self._controller = controller or AdaptiveBatchController({self.config.key: self.config.batch_tokens})
        self._models: dict[str, AnyReranker] = {}
        self._lock = threading.Lock()
        self._failure = _RecentFailure()

    def rerank(self, query: str, hits: Sequence[Hit], limit: int | None = None) -> RerankResult:
        """Return the `limit` best hits (None: all), each scored with its title in front of its text.

        Downloads the model if necessary. Raises `ModelError` if the model is unavailable or cannot compute its scores, and
        `ConfigurationError` for invalid arguments.
        """
        query = checked("query", parse_unicode, query)
        hits = checked("hits", parse_list, hits, _parse_hit)
        limit = checked("limit", optional(parse_integer), limit, least=1)
        self._home.check()
        started = time.perf_counter()
        device, fallback = self.get_device(), None
        scores: Sequence[float] = ()
        if hits:
            with self._lock:
                patience = max(0.0, self._lease_timeout - (time.perf_counter() - started))
                scores, device, fallback = self._score(query, [text_to_read(hit) for hit in hits], patience)
        ordered = sorted(zip(scores, hits, strict=True), key=lambda pair: -pair[0])
        result = RerankResult(
            hits=tuple(replace(hit, score=score, rerank_score=score) for score, hit in ordered[:limit]),
            model=self.config.key,
            device=device,
            fallback=fallback,
            candidates=len(hits),
            seconds=time.perf_counter() - started,
        )
        if self._monitor is not None:
            self._monitor.log_rerank(result.model, result.device, result.candidates, result.seconds, result.fallback)
        return result

    def get_device(self) -> str:
        """Return the device that reranks the next query if the lease is free: `cuda:0`, `cpu`, or `remote` for an endpoint."""
        return "remote" if self._is_remote else _name(self._devices)

    def set_cross_encoder_device(self, device: str) -> None:
        """Rerank on this device from now on. Waits for a query under way. Raises `ConfigurationError` if it does not exist.

        An endpoint has no device here, and some plugins compute on the CPU alone: nothing changes.
        """
        devices = _leased([device])
        self._home.check()
        if not self._moves:
            return
        with self._lock:
            give_back(self._devices, self._lease_directory)
            self._devices = devices
            needed = reranker_precision(compute_dtype(devices))
            self._models = {dtype: model for dtype, model in self._models.items() if dtype == needed}

    def unload_reranker(self) -> None:
        """Release the devices and free the weights. Waits for a query under way; the next one loads them again. Idempotent."""
        self._home.check()
        with self._lock:
            give_back(self._devices, self._lease_directory)
            self._models.clear()

    def close(self) -> None:
        """Like `unload_reranker`, but do nothing in a forked child, where the devices are the parent's."""
        if self._home.is_current:
            self.unload_reranker()

    def missing(self) -> str | None:
        """Return why the model is unavailable, one sentence, or None if it is on this machine or the hub has it.

        Takes at most a second. A failure of the last minute is not checked again.
        """
        if (reason := self._failure.recent()) is not None:
            return reason
        if not self.config.has_files:
            return None
        try:
            if locate(self.config) is not None:
                return None
        except ModelError as exc:
            return str(exc)
        return self._failure.keep(_refused_by_hub(self.config))

    def is_here(self) -> bool:
        """Return whether this machine has files of the model, broken ones included, or needs none."""
        try:
            return not self.config.has_files or locate(self.config) is not None
        except ModelError:
            return True

    def _score(self, query: str, texts: Sequence[str], patience: float) -> tuple[list[float], str, str | None]:
        fallback = None
        if self._devices:
            try:
                return self._score_on(self._devices, query, texts, patience), _name(self._devices), None
            except (LeaseTimeoutError, DeviceError) as exc:
                fallback = f"reranked on the CPU: {exc}"
                logger.info("%s", fallback)
        return self._score_on((), query, texts, patience), self.get_device() if self._is_remote else _name(()), fallback

    def _score_on(self, devices: Sequence[str], query: str, texts: Sequence[str], patience: float) -> list[float]:
        model = self._load(reranker_precision(compute_dtype(devices)))
        model.set_query(query)
        # Not closed: the model stays on its devices until another model or another process needs them.
        runner = BatchRunner(
            [model],
            config=self._ensemble,
            devices=devices,
            monitor=self._monitor,
            lease_timeout=patience,
            lease_directory=self._lease_directory,
            controller=self._controller,
            retry=_NO_RETRIES,
        )
        try:
            encoded = runner.run({model.key: texts})[model.key]
        except ModelUnavailableError as exc:
            self._failure.keep(str(exc))
            raise
        for index, reason in encoded.failed.items():
            raise ModelError(f"model {model.key!r} could not score candidate {index + 1} of {len(texts)}: {reason}")
        scores: list[float] = np.asarray(encoded.vectors)[:, 0].tolist()
        return scores

    def _load(self, dtype: str) -> AnyReranker:
        if dtype not in self._models:
            try:
                model = self._make(dtype)
                model.load()
            except ModelError as exc:
                self._failure.keep(str(exc))
                raise
            self._models[dtype] = model
            self._failure.keep(None)
        return self._models[dtype]

    def _make(self, dtype: str) -> AnyReranker:
        if self.config.has_files and dtype == "float32" and self._cache_directory is not None:
            from ingest.encode.openvino.reranker import converted_reranker  # noqa: PLC0415  most searches rerank nothing

            converted = converted_reranker(self.config, self._cache_directory)
            if converted is not None:
                return converted
        return make_reranker(self.config, dtype)


def rerank_or_explain(
    mode: RerankMode | bool, pipeline: Callable[[], RerankPipeline], query: str, hits: Sequence[Hit], limit: int | None = None
) -> Answer:
    """Return the `limit` best candidates (None: all): reranked, or in their order with a sentence that says why not.

    Args:
        pipeline: returns the reranker; not called if `mode` is `off`.

    Raises what `pipeline` raises, `ConfigurationError` for an unknown mode and, with `on`, `ModelError` or `PluginError` if the
    model is unavailable.
    """
    fused = tuple(hits[:limit])
    mode = checked("rerank", parse_rerank, mode)
    if mode == "off":
        return Answer(fused, reranked=False)
    reranker = pipeline()
    if mode == "on":
        return _reranked(reranker.rerank(query, hits, limit))
    reason = reranker.missing()
    if reason is not None:
        missing = None if reranker.is_here() else reranker.config.key
        return Answer(fused, reranked=False, note=f"not reranked: {reason}", missing_reranker=missing)
    try:
        return _reranked(reranker.rerank(query, hits, limit))
    except (ModelError, PluginError) as exc:
        return Answer(fused, reranked=False, note=f"not reranked: {exc}")


def _reranked(result: RerankResult) -> Answer:
    return Answer(result.hits, reranked=True, note=result.fallback, details=result)


class _RecentFailure:
    """The reason of a failure, remembered for `RETRY_SECONDS`. Safe from several threads: each change is one assignment."""

    def __init__(self) -> None:
        self._kept: tuple[str | None, float] = (None, 0.0)

    def keep(self, reason: str | None) -> str | None:
        self._kept = (reason, time.monotonic() + RETRY_SECONDS)
        return reason

    def recent(self) -> str | None:
        reason, until = self._kept
        return reason if time.monotonic() < until else None


def _refused_by_hub(config: ModelConfig) -> str | None:
    """Return why the hub does not have the model, or None. A thread bounds the wait: DNS and dead connections ignore timeouts."""
    answers: list[str | None] = []

    def fetch() -> None:
        try:
            _ask_hub(config)
            answers.append(None)
        except Exception as exc:  # noqa: BLE001 - the hub lets the errors of its HTTP library through
            answers.append(next(iter(str(exc).strip().splitlines()), type(exc).__name__))

    thread = threading.Thread(target=fetch, name="ask-hub", daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    reason = answers[0] if answers else f"no answer within {HUB_SECONDS:g} s"
    if reason is None:
        return None
    return (
        f"model {config.key!r} is not on this machine and cannot be downloaded from the hub ({reason}): "
        f"run 'ingest models pull {config.key}' where the hub can be reached, or name the folder of a CrossEncoder"
    )


def _ask_hub(config: ModelConfig) -> None:
    """Raise an error of any kind unless the hub has the model."""
    from urllib.request import getproxies  # noqa: PLC0415 - only this needs it

    from huggingface_hub.constants import ENDPOINT, HF_HUB_OFFLINE  # noqa: PLC0415 - read late, like `HF_HOME`

    if HF_HUB_OFFLINE:
        raise ModelError("HF_HUB_OFFLINE is set")
    if not getproxies():  # a search without a network does not pay for the import of an HTTP library
        address = urlsplit(ENDPOINT)
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname, port), HUB_SECONDS).close()
    from huggingface_hub import HfApi  # noqa: PLC0415 - 0.4 s

    HfApi().model_info(config.hub_id or "", revision=config.revision, timeout=HUB_SECONDS)


def text_to_read(hit: Hit) -> str:
    """Return the text that a reranker reads for a hit: title, headings, the header row of a table, and text."""
    lines = (path_line(heading_path(hit.title, hit.section), TITLE_CHARACTERS), hit.table_header, hit.text)
    return "\n".join(line for line in lines if line)


def _parse_hit(value: object) -> Hit:
    return parse_instance(value, Hit)


def _leased(devices: Sequence[str]) -> tuple[str, ...]:
    """Return the devices without `cpu`, which needs no lease. Raises `ConfigurationError` for a GPU that does not exist."""
    return tuple(device for device in dict.fromkeys(check_devices(devices)) if device != "cpu")


def _name(devices: Sequence[str]) -> str:
    return ",".join(devices) or "cpu"

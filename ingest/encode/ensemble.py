"""The models of a run and their runner, as one value."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from ingest.encode.batching import CPU_TOKENS, AdaptiveBatchController
from ingest.encode.bm25_options import bm25_options, parse_language, stored_bm25
from ingest.encode.contract import Model
from ingest.encode.http.model import HttpModel
from ingest.encode.http.proof import Proof, proof_from_json
from ingest.encode.languages import options_for
from ingest.encode.lease import DEFAULT_TIMEOUT, devices_of, name_places, places_of
from ingest.encode.model_config import AUTO
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.registry import CustomModels, EnsembleConfig, ModelConfig, find_model, known_models
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, PrecisionError
from ingest.parameters import checked, shown
from ingest.records import TokenLimit
from ingest.retry import RetryPolicy
from ingest.telemetry import ThroughputMonitor

DEFAULT_MODELS = ("all-miniLM-l6", "bm25")

SPARSE_VECTOR_BYTES = 2048
"""Estimated size of a sparse vector: 256 entries. The size of a dense one is known."""

DEFAULT_ROWS = 512
"""Estimated rows of a multivector if no model limits the tokens of a chunk."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodingOptions:
    """How models are found and computed in a run, a search and a worker.

    Attributes:
        devices: devices to compute on, such as `("cuda:0",)`. None: the first GPU, else the CPU.
        backend_options: CPU inference backend and precision.
        exclusive_mode: True leases devices host-wide; False leases them within this process only, where an orchestrator owns
            them.
        enable_sparse: False leaves out the sparse models of a run. A search always has the models of its collection.
        lease_timeout: seconds to wait for a device that another process holds.
        lease_directory: folder of the lock files that processes share. None: the user's own.
        memory_limit_gb: used GiB of a GPU at which batches stop growing. None: 80 % of the GPU.
        cpu_batch_tokens: tokens per batch on the CPU, padding included.
        custom_models: the user's own models, name → fields of `ModelConfig`.
        trust_remote_code: keys of models whose repository's Python code may run.
        retry: limits on the retries of a batch while its model is unavailable.
        proofs: model key → what its endpoint proved, for models that an endpoint computes.
    """

    devices: tuple[str, ...] | None = None
    backend_options: BackendOptions = field(default_factory=lambda: BackendOptions(backend="auto"))
    exclusive_mode: bool = True
    enable_sparse: bool = True
    lease_timeout: float = DEFAULT_TIMEOUT
    lease_directory: Path | None = None
    memory_limit_gb: float | None = None
    cpu_batch_tokens: int = CPU_TOKENS
    custom_models: CustomModels | None = None
    trust_remote_code: tuple[str, ...] = ()
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    proofs: Mapping[str, Proof] = field(default_factory=dict)

    def in_float32(self) -> EncodingOptions:
        """Return the same options with float32 as the precision on the CPU."""
        return replace(self, backend_options=replace(self.backend_options, precision="float32"))

    def or_in_float32(self, run: Callable[[EncodingOptions], T], *, repeatable: bool) -> T:
        """Return `run(self)`, or if int8 is not accurate enough for its texts, `run` with these options in float32.

        A precision that is configured is kept, and `PrecisionError` raised; likewise if the run is not `repeatable`.
        """
        try:
            return run(self)
        except PrecisionError as exc:
            if self.backend_options.precision is not None or not repeatable:
                raise
            logger.warning("%s; starting again in float32", exc)
        return run(self.in_float32())

    def places(self, models: Sequence[Model]) -> dict[str, tuple[str, str]]:
        """Return model key → the model's fingerprint, and its devices as a `ModelReport` names them."""
        return {
            model.key: (model.fingerprint, name_places(places_of(model, devices_of(model, self.devices)))) for model in models
        }

    def check(self, models: Sequence[str | Model]) -> tuple[str | Model, ...]:
        """Return the models if each is known and named once. Raises `UnknownModelError` and `ConfigurationError`."""
        if (
            isinstance(models, str)
            or not isinstance(models, Sequence)
            or not models
            or not all(isinstance(each, str) or hasattr(each, "key") for each in models)
        ):
            raise ConfigurationError(f"models: {shown(models)} is not a list of registry keys or models, such as ['bm25']")
        keys = [each if isinstance(each, str) else each.key for each in models]
        for each in models:
            if isinstance(each, str):
                find_model(each, custom=self.custom_models)
        EnsembleConfig(keys)
        return tuple(models)

    def with_language(self, language: str) -> EncodingOptions:
        """Return the same options with a language for the model `bm25`, in place of the one in `custom_models`.

        Raises `ConfigurationError` for a language that it has no stems for.
        """
        if language != AUTO:
            checked("language", parse_language, language)
        return self._with_options({"bm25": {"language": language}})

    def in_collection(
        self, chosen: Sequence[str | Model], stored: Mapping[str, Mapping[str, Any]] | None, texts: Callable[[], Sequence[str]]
    ) -> EncodingOptions:
        """Return the same options with those of BM25 for a collection.

        Args:
            chosen: as in `models`.
            stored: vector name → options in the collection's manifest. None for a new collection.
            texts: returns the first texts of a new vector, whose language is detected. Called only if nothing else tells it.
        """
        made = {key: stored_bm25(options) for key, options in (stored or {}).items()}
        return self._with_options(
            {
                key: asdict(bm25_options(config, made.get(key), lambda: options_for(texts())))
                for key, config in self._bm25_of(chosen).items()
            }
        )

    def as_stored(self, chosen: Sequence[str | Model], stored: Mapping[str, Mapping[str, Any]]) -> EncodingOptions:
        """Return the same options with the stored ones of BM25, as a search needs them, whatever is configured."""
        return self._with_options({key: asdict(stored_bm25(stored.get(key, {}))) for key in self._bm25_of(chosen)})

    def with_stored_proofs(self, stored: Mapping[str, Mapping[str, Any]]) -> EncodingOptions:
        """Return the same options with the proofs of a collection's manifest: vector name → JSON."""
        found = {key: proof for key, value in stored.items() if (proof := proof_from_json(value)) is not None}
        return replace(self, proofs=found)

    def with_new_proofs(self, chosen: Sequence[str | Model]) -> EncodingOptions:
        """Let the endpoints of the chosen models prove themselves now, and return the same options with that.

        Sends requests, and none without such a model. Raises what `prove` raises.
        """
        configs = [find_model(each, custom=self.custom_models) for each in chosen if isinstance(each, str)]
        remote = [config for config in configs if config.endpoint and self._uses(config)]
        if not remote:
            return self
        from ingest.encode.http.proving import prove  # noqa: PLC0415 - only a run needs it

        found = {config.key: prove(HttpModel(config, self.proofs.get(config.key)), self.retry) for config in remote}
        return replace(self, proofs={**self.proofs, **found})

    def _bm25_of(self, chosen: Sequence[str | Model]) -> dict[str, ModelConfig]:
        known = known_models(self.custom_models)
        return {
            each: known[each] for each in chosen if isinstance(each, str) and each in known and known[each].backend == "qdrant"
        }

    def _with_options(self, options: CustomModels) -> EncodingOptions:
        custom = dict(self.custom_models or {})
        return replace(self, custom_models={**custom, **{key: {**custom.get(key, {}), **own} for key, own in options.items()}})

    def models(
        self,
        chosen: Sequence[str | Model],
        *,
        stored_precisions: Mapping[str, str] | None = None,
        worth_converting: bool = False,
    ) -> tuple[Model, ...]:
        """Return the models: those of the registry for keys, other models unchanged. Loads nothing.

        Args:
            stored_precisions: vector name → precision of the stored vectors, which the models keep.
            worth_converting: whether there is enough to encode to convert a model for it.

        Raises `UnknownModelError`, `ConfigurationError` and `MissingExtraError`.
        """
        keys = [each for each in chosen if isinstance(each, str)]
        if not keys:
            return tuple(each for each in chosen if not isinstance(each, str) and self._uses(each))
        manager = ModelManager(
            EnsembleConfig(keys, exclusive_mode=self.exclusive_mode),
            enable_sparse=self.enable_sparse,
            custom_models=self.custom_models,
            trust_remote_code=self.trust_remote_code,
            devices=self.devices,
            backend_options=replace(
                self.backend_options, stored_precisions=stored_precisions or {}, worth_converting=worth_converting
            ),
            proofs=self.proofs,
        )
        built = {model.key: model for model in manager.members}
        models = (built.get(each) if isinstance(each, str) else each for each in chosen)
        return tuple(model for model in models if model is not None and self._uses(model))

    def _uses(self, model: Model | ModelConfig) -> bool:
        return self.enable_sparse or model.kind != "sparse"


DEFAULT_ENCODING = EncodingOptions()


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Everything a run needs to encode: the models, and the runner that leases devices for them."""

    runner: BatchRunner

    @property
    def models(self) -> tuple[Model, ...]:
        """The models in the order of their passes."""
        return self.runner.models

    @property
    def fingerprints(self) -> dict[str, str]:
        """Vector name → fingerprint of the model that makes it."""
        return fingerprints(self.models)

    @property
    def token_limits(self) -> list[TokenLimit]:
        """The limits that a chunk must stay within, of the models that have one."""
        return token_limits(self.models)

    @property
    def vector_bytes(self) -> int:
        """Estimated bytes of one chunk's vectors."""
        return vector_bytes(self.models)

    @property
    def monitor(self) -> ThroughputMonitor:
        """The runner's monitor, which receives lease, pass and progress events."""
        return self.runner.monitor


def fingerprints(models: Sequence[Model]) -> dict[str, str]:
    """Return vector name → fingerprint of the model that makes it."""
    return {model.key: model.fingerprint for model in models}


def token_limits(models: Sequence[Model]) -> list[TokenLimit]:
    """Return the limits that a chunk must stay within, of the models that have one."""
    return [limit for model in models if (limit := model.token_limit) is not None]


def vector_bytes(models: Sequence[Model], chunk_tokens: int | None = None) -> int:
    """Return the estimated bytes of one chunk's vectors.

    `chunk_tokens`: most tokens of a chunk, each of which has a row in a multivector. None: what the models take.
    """
    rows = chunk_tokens or min((limit.max_tokens for limit in token_limits(models)), default=DEFAULT_ROWS)
    return sum(
        SPARSE_VECTOR_BYTES if model.dim is None else 4 * model.dim * (rows if model.kind == "multivector" else 1)
        for model in models
    )


@contextmanager
def open_ensemble(
    models: Sequence[Model],
    options: EncodingOptions,
    *,
    monitor: ThroughputMonitor | None = None,
    learned_batches: Path | None = None,
) -> Iterator[Ensemble]:
    """Open a runner for these models. Releases the devices at the end.

    Args:
        monitor: receives lease, pass and progress events.
        learned_batches: file with the batch sizes learned by earlier runs, which this run updates.
    """
    known = known_models(options.custom_models)
    controller = AdaptiveBatchController(
        {model.key: known[model.key].batch_tokens for model in models if model.key in known},
        soft_limit_gb=options.memory_limit_gb,
        cpu_tokens=options.cpu_batch_tokens,
    )
    if learned_batches is not None:
        controller.load(learned_batches)
    runner = BatchRunner(
        models,
        config=EnsembleConfig([model.key for model in models], exclusive_mode=options.exclusive_mode),
        devices=options.devices,
        monitor=monitor,
        lease_timeout=options.lease_timeout,
        lease_directory=options.lease_directory,
        controller=controller,
        retry=options.retry,
    )
    try:
        with runner:
            yield Ensemble(runner)
    finally:
        if learned_batches is not None:
            _save(controller, learned_batches)


def _save(controller: AdaptiveBatchController, path: Path) -> None:
    try:
        controller.save(path)
    except OSError as exc:  # the next run is slower at first
        logger.warning("the learned batch sizes were not saved: cannot write %s (%s)", path, exc.strerror)

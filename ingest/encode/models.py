"""Build the models of an ensemble from their registry keys."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from functools import cache, partial
from importlib.util import find_spec
from types import MappingProxyType
from typing import get_args

from ingest.encode.attention import AttentionModel
from ingest.encode.bm25_options import Bm25Options, bm25_options
from ingest.encode.contract import Model, ModelKind
from ingest.encode.dense import DenseModel
from ingest.encode.devices import check_devices, compute_dtype, default_devices, threads_of_each
from ingest.encode.file_model import OnLoaded, model_space
from ingest.encode.http.model import HttpModel
from ingest.encode.http.proof import Proof
from ingest.encode.multivector import MultivectorModel
from ingest.encode.onnx import OnnxModel
from ingest.encode.openvino.cache import ConvertedModel
from ingest.encode.openvino.choice import BackendOptions, choose_backend
from ingest.encode.openvino.conversion import is_installed
from ingest.encode.openvino.model import OpenVinoModel
from ingest.encode.plugin_model import PluginModel
from ingest.encode.precision import float_precision, precision_note
from ingest.encode.registry import CustomModels, EnsembleConfig, ModelConfig, find_model
from ingest.encode.resolve import resolve, status
from ingest.encode.sparse import Bm25Model, SpladeModel
from ingest.encode.torch_model import TorchModel
from ingest.errors import ConfigurationError, MissingExtraError, ModelError
from ingest.parameters import checked, parse_boolean, parse_instance, parse_texts

logger = logging.getLogger(__name__)


class ModelManager:
    """The builder of an ensemble's models. Libraries and weights are loaded when a model is first used.

    Args:
        config: registry keys, in the order of the passes.
        enable_sparse: False leaves out the sparse models.
        devices: devices to compute on; by default the first GPU, or the CPU if there is none.
        custom_models: the user's own models, name → fields of `ModelConfig`.
        trust_remote_code: keys of models whose repository's Python code may run.
        backend_options: CPU inference backend, and precision; by default torch, and the default float of the devices.
        proofs: model key → what its endpoint proved when the collection was made.

    Raises `UnknownModelError` and `ConfigurationError` before anything is loaded.
    """

    def __init__(
        self,
        config: EnsembleConfig,
        *,
        enable_sparse: bool = True,
        devices: Sequence[str] | None = None,
        custom_models: CustomModels | None = None,
        trust_remote_code: Collection[str] = (),
        backend_options: BackendOptions | None = None,
        proofs: Mapping[str, Proof] = MappingProxyType({}),
    ) -> None:
        self.config = checked("config", parse_instance, config, EnsembleConfig)
        self.enable_sparse = checked("enable_sparse", parse_boolean, enable_sparse)
        self.devices = default_devices() if devices is None else check_devices(devices)
        self._backend_options = backend_options or BackendOptions()
        self._trusted = frozenset(
            find_model(key, custom=custom_models, kinds=get_args(ModelKind)).key
            for key in checked("trust_remote_code", parse_texts, trust_remote_code)
        )
        self._proofs = proofs
        self._dtypes: dict[str, str] = {}
        self.configs: Mapping[str, ModelConfig] = MappingProxyType(
            {key: find_model(key, custom=custom_models) for key in config.ensemble_models},
        )
        self._chosen = {key: self._choose(config) for key, config in self.configs.items()}
        for key, (_, dtype) in self._chosen.items():
            if self.configs[key].backend != "torch":  # it has one precision, wherever it computes
                continue
            note = precision_note(key, self._backend_options.stored_precisions.get(key), dtype, compute_dtype(self.devices))
            if note is not None:
                _log_once(note)
        made = (*self._initialize_dense_models(), *self.initialize_sparse_models(), *self._initialize_multivector_models())
        members = {model.key: model for model in made}
        self.members: tuple[Model, ...] = tuple(members[key] for key in self.configs if key in members)

    def initialize_sparse_models(self) -> tuple[Model, ...]:
        """Return the sparse models in configured order; none if `enable_sparse` is False."""
        if not self.enable_sparse:
            return ()
        return tuple(self._sparse_model(config) for config in self.configs.values() if config.kind == "sparse")

    @property
    def model_dtypes(self) -> Mapping[str, str]:
        """Key → dtype of each model that has been loaded."""
        return MappingProxyType(self._dtypes)

    def _get_model_primary_dtype(self, key: str) -> str:
        """Return the dtype of a model: a float on GPUs, `float32` or `int8` on the CPU; BM25 `float32`."""
        return self._chosen[key][1]

    def _record_model_dtype(self, key: str, dtype: str) -> None:
        """Record the dtype of a loaded model. Raises `ModelError` unless it is as expected, or float32 in place of float16."""
        self._recorder(key)(key, dtype)

    def _recorder(self, key: str) -> OnLoaded:
        """Return what the model calls once loaded. It refers to no model: in a cycle, weights would stay after the last use."""
        return partial(_record, self._dtypes, self._get_model_primary_dtype(key))

    def _initialize_dense_models(self) -> tuple[Model, ...]:
        return tuple(self._dense_model(config) for config in self.configs.values() if config.kind == "dense")

    def _initialize_multivector_models(self) -> tuple[Model, ...]:
        late = [config for config in self.configs.values() if config.kind == "multivector"]
        return tuple(self._torch_model(MultivectorModel, config) for config in late)

    def _dense_model(self, config: ModelConfig) -> Model:
        if config.backend == "http":
            return HttpModel(config, self._proofs.get(config.key))
        if config.backend == "plugin":
            return PluginModel(config)
        if config.backend == "onnx":
            return OnnxModel(config, on_loaded=self._recorder(config.key))
        return self._torch_model(DenseModel, config)

    def _sparse_model(self, config: ModelConfig) -> Model:
        if config.backend == "http":
            return HttpModel(config, self._proofs.get(config.key))
        if config.backend == "plugin":
            return PluginModel(config)
        if config.backend == "qdrant":
            return Bm25Model(config, bm25_options(config, None, Bm25Options))
        return self._torch_model(AttentionModel if config.pooling == "attention" else SpladeModel, config)

    def _torch_model(self, member: type[TorchModel], config: ModelConfig) -> Model:
        """Return the model as computed by torch or by OpenVINO."""
        library, dtype = self._chosen[config.key]
        trusts = self._trusts(config)
        _check_installed(config)
        if library == "torch":
            return member(config, dtype=dtype, trust_remote_code=trusts, on_loaded=self._recorder(config.key))
        return OpenVinoModel(
            member(config, dtype="float32", trust_remote_code=trusts),
            precision="int8" if dtype == "int8" else "float32",
            cache_directory=self._backend_options.cache_directory,
            guard=self._backend_options.guard,
            has_stored_vectors=config.key in self._backend_options.stored_precisions,
            threads=threads_of_each(len(self.devices)),
            on_loaded=self._recorder(config.key),
        )

    def _choose(self, config: ModelConfig) -> tuple[str, str]:
        """Return the backend and the dtype of a model."""
        if config.backend != "torch":
            return config.backend, "float32"
        if config.pooling == "attention" or config.kind == "multivector":  # a converted model returns no attention and no tokens
            return "torch", float_precision(self._backend_options.wanted(config.key), compute_dtype(self.devices))

        def converted() -> bool:
            if status(config) == "missing":
                return False
            space = model_space(config, resolve(config))
            return ConvertedModel.of(self._backend_options.cache_directory, config.key, space, "int8").exists()

        chosen = choose_backend(
            self._backend_options, config.key, devices=self.devices, installed=is_installed(), converted=converted
        )
        if chosen[0] == "openvino" and config.key not in self._backend_options.stored_precisions and not is_installed():
            raise MissingExtraError("backend openvino requires OpenVINO and NNCF: pip install 'qdrant-ingest[openvino]'")
        return chosen

    def _trusts(self, config: ModelConfig) -> bool:
        if config.needs_remote_code and config.key not in self._trusted:
            raise ConfigurationError(
                f"model {config.key!r} runs Python code of its own: add it to trust_remote_code if you trust {config.hub_id}",
            )
        return config.key in self._trusted and config.verified is None  # verified without its own code


def _record(dtypes: dict[str, str], expected: str, key: str, dtype: str) -> None:
    if dtype != expected and (dtype, expected) != ("float32", "float16"):
        raise ModelError(f"model {key!r} was loaded as {dtype}, but must compute in {expected}")
    dtypes[key] = dtype


@cache
def _log_once(note: str) -> None:
    logger.info("%s", note)


def _check_installed(config: ModelConfig) -> None:
    """Raise `MissingExtraError` if a package that the model requires is not installed."""
    missing = [name for name in config.requires if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"model {config.key!r} requires {', '.join(missing)}: pip install 'qdrant-ingest[{config.extra}]'"
        )

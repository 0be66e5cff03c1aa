"""Convert a model ahead of time: for a machine image, and for rerankers, which no query converts."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ingest.encode.contract import CalibratedModel
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.openvino.reranker import convert_reranker
from ingest.encode.registry import CustomModels, EnsembleConfig, find_model
from ingest.encode.rerankers import reranker_config
from ingest.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        seconds: duration, loading included.
    """

    key: str
    kind: str
    precision: str
    seconds: float


def convert_ahead(
    key: str,
    *,
    cache_directory: Path,
    custom_models: CustomModels | None = None,
    trust_remote_code: Collection[str] = (),
) -> Conversion:
    """Convert a model to int8, calibrated on Python's language reference, unless it is converted already.

    A dense or sparse model is still compared on a new collection's own texts before it encodes them. Raises `PrecisionError` if
    int8 is too inaccurate, `ConfigurationError` for a model that OpenVINO cannot compute, and `ModelError`.
    """
    started = time.monotonic()
    config = find_model(key, custom=custom_models, kinds=("dense", "sparse", "reranker"))
    if config.kind == "reranker":
        config = reranker_config(key, custom_models=custom_models, trust_remote_code=trust_remote_code)
        convert_reranker(config, cache_directory)
    else:
        [model] = ModelManager(
            EnsembleConfig((key,)),
            devices=("cpu",),
            custom_models=custom_models,
            trust_remote_code=trust_remote_code,
            backend_options=BackendOptions("openvino", "int8", cache_directory=cache_directory),
        ).members
        if not isinstance(model, CalibratedModel):
            raise ConfigurationError(f"model {key!r} is not computed by OpenVINO: there is nothing to convert")
        model.calibrate([])
    return Conversion(key, config.kind, "int8", round(time.monotonic() - started, 1))

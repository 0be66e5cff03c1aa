"""Converting a model before anything needs it: for a machine image, and for rerankers, which no question waits for."""

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
    """What was converted. `seconds` with loading."""

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
    """Converts a model to int8, calibrated on texts that every Python has; one that is converted already stays as it is.

    A new collection's own texts are compared all the same before a dense or sparse model encodes them.
    Raises `PrecisionError` where it is too coarse, `ConfigurationError` for a model that OpenVINO cannot compute, `ModelError`.
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

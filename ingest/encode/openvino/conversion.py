"""The border to OpenVINO and NNCF, where their errors are translated.

Both libraries send usage reports unless the package `openvino_telemetry` is missing, so its import is blocked here.
"""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.encode.tokens import Inputs, padded
from ingest.errors import IngestError, MissingExtraError, ModelError

_USAGE_REPORTS = "openvino_telemetry"

_LIMIT = "ingest_max_tokens"


def is_installed() -> bool:
    """Return whether both libraries are installed. Imports neither."""
    return all(find_spec(name) is not None for name in ("openvino", "nncf"))


def convert(key: str, module: Any, texts: Sequence[Any], rows: Callable[[dict[str, Any]], Any], limit: int) -> Any:
    """Convert a loaded sentence-transformers module to OpenVINO, pooling included: tokens in, a row per text out.

    Args:
        texts: example texts to trace the module with.
        rows: function from the module's features to the output tensor, `(n, columns)`.
        limit: token limit of the model; stored with it, see `limit_of`.

    Raises `ModelError` if the module cannot be traced or requires inputs other than tokens.
    """
    import torch  # noqa: PLC0415 - imported already: the module is torch's

    example = {name: value for name, value in module.preprocess(list(texts)).items() if isinstance(value, torch.Tensor)}
    if unknown := example.keys() - padded([[0]]).keys():
        raise ModelError(
            f"model {key!r} requires {', '.join(sorted(unknown))} besides tokens: it cannot be converted to OpenVINO"
        )

    class OutputModule(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = rows(dict(zip(example, tensors, strict=True)))
            return output

    openvino = _openvino(key)
    with _translated(key, "converted to OpenVINO"), _quiet(), torch.inference_mode():
        # The check of `trace` compares variable names and fails on in-place operations; the guard compares the numbers.
        traced = torch.jit.trace(OutputModule().eval(), tuple(example.values()), check_trace=False)
        model = openvino.convert_model(traced)
        for port, name in zip(model.inputs, example, strict=True):
            port.get_tensor().set_names({name})
        model.set_rt_info(limit, _LIMIT)
    return model


def limit_of(model: Any) -> int:
    """Return the token limit of a converted model."""
    return int(model.get_rt_info(_LIMIT).value)


def quantize(key: str, model: Any, texts: Sequence[Inputs]) -> Any:
    """Return the model in int8, with ranges calibrated on `texts`. Raises `ModelError`."""
    nncf = _nncf(key)
    with _quiet():
        names = _input_names(model)
        samples = [{name: array for name, array in inputs.items() if name in names} for inputs in texts]
        with _translated(key, "quantized"):
            return nncf.quantize(
                model,
                nncf.Dataset(samples),
                model_type=nncf.ModelType.TRANSFORMER,
                target_device=nncf.TargetDevice.CPU,
                subset_size=len(samples),
                # Bias correction doubles the duration and does not improve the accuracy of these models.
                advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
            )


def save(key: str, model: Any, file: Path) -> None:
    """Write the model to `file`, an `.xml`, and a `.bin` beside it. Raises `ModelError`."""
    with _translated(key, f"written to {file.parent}"):
        _openvino(key).save_model(model, file, compress_to_fp16=False)


def read(key: str, file: Path) -> Any:
    """Read a model written by `save`. Raises `ModelError`."""
    with _translated(key, f"read from {file.parent}"):
        return _core(key).read_model(file)


class Network:
    """A model compiled for the CPU. Not thread-safe.

    Args:
        threads: number of threads to compute with. None: OpenVINO's default.
    """

    def __init__(self, key: str, model: Any, threads: int | None = None) -> None:
        self._key = key
        self._names = _input_names(model)
        # bfloat16 is the default on CPUs that support it, which would make other vectors than other CPUs. Pinned threads would
        # slow down other programs.
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        with _translated(key, "compiled for this CPU"):
            self._request = _core(key).compile_model(model, "CPU", options).create_infer_request()

    def __call__(self, texts: Inputs) -> NDArray[np.float32]:
        """Return one row per text, `(n, columns) float32`, valid until the next call."""
        inputs = {name: array for name, array in texts.items() if name in self._names}
        with _translated(self._key, "run"):
            self._request.infer(inputs, share_inputs=True)
            rows: NDArray[np.float32] = self._request.get_output_tensor().data
        return rows


def _input_names(model: Any) -> frozenset[str]:
    return frozenset(port.get_any_name() for port in model.inputs)


def _core(key: str) -> Any:
    return _new_core(_openvino(key))


@cache
def _new_core(openvino: Any) -> Any:
    return openvino.Core()


def _openvino(key: str) -> Any:
    return _imported("openvino", key)


def _nncf(key: str) -> Any:
    """Import NNCF without its output, and undo its change of the logger class."""
    logger_class, disabled = logging.getLoggerClass(), logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(sys.stderr):
            nncf = _imported("nncf", key)
    finally:
        logging.setLoggerClass(logger_class)
        logging.disable(disabled)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _imported(name: str, key: str) -> Any:
    sys.modules.setdefault(_USAGE_REPORTS, None)  # type: ignore[arg-type]  # None blocks an import
    try:
        return import_module(name)
    except ImportError as exc:
        raise MissingExtraError(
            f"model {key!r} requires OpenVINO, which is not installed: pip install 'qdrant-ingest[openvino]'"
        ) from exc


@contextmanager
def _translated(key: str, action: str) -> Iterator[None]:
    try:
        yield
    except IngestError:
        raise
    except Exception as exc:  # both libraries raise errors of many kinds
        line = next(iter(inspect.cleandoc(str(exc)).splitlines()), type(exc).__name__)
        raise ModelError(f"model {key!r} could not be {action} ({line})") from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the warnings of tracing, and progress bars on standard output."""
    from rich import get_console  # noqa: PLC0415 - NNCF draws with it

    console, loggers = get_console(), [logging.getLogger(name) for name in ("transformers", "sentence_transformers")]
    before = console.quiet, [each.level for each in loggers]
    try:
        console.quiet = True
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        console.quiet = before[0]
        for each, level in zip(loggers, before[1], strict=True):
            each.setLevel(level)

"""OpenVINO and NNCF at arm's length: a torch module goes in, numbers come out. Their errors are translated here and nowhere else.

Both libraries report to their maker unless they are told not to, and do without the package that does it where it is missing:
here it is.
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

_REPORTING = "openvino_telemetry"

_LIMIT = "ingest_max_tokens"


def is_installed() -> bool:
    """Whether both libraries are. Imports neither."""
    return all(find_spec(name) is not None for name in ("openvino", "nncf"))


def convert(key: str, module: Any, texts: Sequence[Any], rows: Callable[[dict[str, Any]], Any], limit: int) -> Any:
    """A loaded sentence-transformers module as a model of OpenVINO, pooling included: tokens in, a row per text out.

    Args:
        texts: some that it can read, to trace it with.
        rows: from its features to the `(n, columns)` tensor that is wanted of it.
        limit: tokens it takes; kept with it, see `limit_of`.

    Raises `ModelError` where it cannot be traced or takes more than tokens.
    """
    import torch  # noqa: PLC0415 - the module is torch's: it is there

    example = {name: value for name, value in module.preprocess(list(texts)).items() if isinstance(value, torch.Tensor)}
    if unknown := example.keys() - padded([[0]]).keys():
        raise ModelError(f"model {key!r} takes {', '.join(sorted(unknown))} beside tokens: OpenVINO cannot be given that here")

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = rows(dict(zip(example, tensors, strict=True)))
            return found

    openvino = _openvino(key)
    with _translated(key, "converted to OpenVINO"), _quiet(), torch.inference_mode():
        # Its own check would compare names of what is computed in place; the guard compares the numbers.
        traced = torch.jit.trace(Whole().eval(), tuple(example.values()), check_trace=False)  # type: ignore[no-untyped-call]
        model = openvino.convert_model(traced)
        for port, name in zip(model.inputs, example, strict=True):
            port.get_tensor().set_names({name})
        model.set_rt_info(limit, _LIMIT)
    return model


def limit_of(model: Any) -> int:
    """Tokens that a converted model takes."""
    return int(model.get_rt_info(_LIMIT).value)


def quantize(key: str, model: Any, texts: Sequence[Inputs]) -> Any:
    """The model in int8, with ranges taken from `texts`. Raises `ModelError`."""
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
                # Correcting biases takes as long as all the rest and brings these models no nearer.
                advanced_parameters=nncf.AdvancedQuantizationParameters(disable_bias_correction=True),
            )


def save(key: str, model: Any, file: Path) -> None:
    """Writes `file`, an `.xml`, and a `.bin` beside it."""
    with _translated(key, f"written to {file.parent}"):
        _openvino(key).save_model(model, file, compress_to_fp16=False)


def read(key: str, file: Path) -> Any:
    """What `save` wrote. Raises `ModelError`."""
    with _translated(key, f"read from {file.parent}"):
        return _core(key).read_model(file)


class Network:
    """A model that is ready to compute on the processor. One thread at a time.

    Args:
        threads: it computes with; OpenVINO's own choice unless given.
    """

    def __init__(self, key: str, model: Any, threads: int | None = None) -> None:
        self._key = key
        self._names = _input_names(model)
        # On processors that have it, bfloat16 would be the default: the same model would give other vectors elsewhere. Pinned
        # threads would get in the way of whatever else runs.
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        with _translated(key, "compiled for this processor"):
            self._request = _core(key).compile_model(model, "CPU", options).create_infer_request()

    def __call__(self, texts: Inputs) -> NDArray[np.float32]:
        """`(n, columns) float32`, valid until the next call."""
        given = {name: array for name, array in texts.items() if name in self._names}
        with _translated(self._key, "run"):
            self._request.infer(given, share_inputs=True)
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
    """Its import speaks on standard output, and makes its own logger the one that every library gets from then on: not here."""
    usual, disabled = logging.getLoggerClass(), logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with redirect_stdout(sys.stderr):
            nncf = _imported("nncf", key)
    finally:
        logging.setLoggerClass(usual)
        logging.disable(disabled)
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def _imported(name: str, key: str) -> Any:
    sys.modules.setdefault(_REPORTING, None)  # type: ignore[arg-type]  # how Python writes down that there is no such module
    try:
        return import_module(name)
    except ImportError as exc:
        raise MissingExtraError(
            f"model {key!r} is to be computed by OpenVINO, which is not installed: pip install 'qdrant-ingest[openvino]'"
        ) from exc


@contextmanager
def _translated(key: str, done: str) -> Iterator[None]:
    try:
        yield
    except IngestError:
        raise
    except Exception as exc:  # the two raise whatever their many parts raise
        line = next(iter(inspect.cleandoc(str(exc)).splitlines()), type(exc).__name__)
        raise ModelError(f"model {key!r} could not be {done} ({line})") from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what tracing warns of and without bars drawn on standard output."""
    from rich import get_console  # noqa: PLC0415 - what NNCF draws on

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

"""Models computed by OpenVINO on the CPU: converted from the torch module, in float32 or, three times as fast, in int8.

A collection is int8 from its first vector on, so a model that is too inaccurate in int8 raises `PrecisionError` before it encodes
anything, and the caller decides what to do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ingest.encode.contract import Encoder, RunsOn, Vectors
from ingest.encode.feeding import Replica
from ingest.encode.file_model import FileModel, OnLoaded, max_tokens
from ingest.encode.model_config import ModelConfig
from ingest.encode.openvino.cache import ConvertedModel
from ingest.encode.openvino.calibration import AccuracyGuard, common_pieces
from ingest.encode.openvino.conversion import Network, convert, quantize
from ingest.encode.tokens import DocumentTokens, padded
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import sparse_rows, unit_rows
from ingest.errors import ModelError, PrecisionError

logger = logging.getLogger(__name__)

ConvertedPrecision = Literal["float32", "int8"]

CALIBRATION_TEXTS = 100
"""More texts would take longer, and rare values would widen the ranges at the cost of common ones."""

OWN_TEXTS = 80
"""Maximum number of the collection's own calibration texts. The others are general, so a model for chemistry works for law."""

HELD_OUT_TEXTS = 48
"""Texts to compare with torch: the collection's own, none of the calibration texts."""

COMMON_HELD_OUT = 12
"""Minimum number of texts to compare; common texts are added if the collection has fewer."""

_BATCH = 16


class OpenVinoModel(FileModel):
    """A `CalibratedModel` computed by OpenVINO. Queries need no calibration: until the model is converted, torch encodes them.

    Args:
        source: the same model computed by torch in float32; loaded to convert or to compare.
        precision: precision to compute in. In float32 the vectors and the fingerprint are torch's.
        cache_directory: folder of the converted models.
        guard: accuracy required of a newly converted model, and of a cached one on a new collection's texts.
        has_stored_vectors: whether the collection has vectors of this model, so that a cached model is not compared again.
        threads: threads of each replica. None: OpenVINO's default.
        on_loaded: callback with the key and the dtype of the loaded model.
    """

    runs_on: RunsOn = "accelerator"

    def __init__(
        self,
        source: TorchModel,
        *,
        precision: ConvertedPrecision,
        cache_directory: Path,
        guard: AccuracyGuard,
        has_stored_vectors: bool = False,
        threads: int | None = None,
        on_loaded: OnLoaded | None = None,
    ) -> None:
        super().__init__(source.config, dtype=precision)
        self.kind = source.kind
        self.backend = "openvino"
        self._source = source
        self._cache_directory = cache_directory
        self._guard = guard
        self._compared = has_stored_vectors
        self._threads = threads
        self._on_loaded = on_loaded
        self._model: Any = None
        self._networks: dict[str, Network] = {}

    @property
    def is_converted(self) -> bool:
        """Whether the model is converted already, by this process or by one before it."""
        return self.backend == "openvino" and (self._model is not None or self._converted.exists())

    def calibrate(self, texts: Sequence[str]) -> None:
        """Convert the model unless it is cached, with ranges from some of `texts`, and compare it with torch on others.

        Raises `PrecisionError` if int8 is too inaccurate or the conversion to int8 fails, `MissingExtraError`, and `ModelError`
        if torch cannot load the model. If the conversion to float32 fails, torch computes the model, which is logged.
        """
        if self.backend == "torch" or (self._model is not None and self._compared):
            return
        with self._converted.conversion_lock():
            self._model = self._model or self._converted.read()
            if self._model is not None and self._compared:
                return
            self._source.load()
            try:
                self._prepare(texts)
            except ModelError as exc:
                self._model = None
                if self.dtype != "float32":
                    raise PrecisionError(f"{exc}: compute it in float32, with --precision float32") from exc
                logger.warning("%s: using torch instead", exc)
                self.backend = "torch"
                return
        self._compared = True
        self._source.unload()

    def load(self) -> None:
        if self._model is None and self.backend == "openvino":
            self._model = self._converted.read()
        if self._model is None:
            self._source.load()
        else:
            self._network("cpu")
        if self._on_loaded is not None and (self._model is not None or self.backend == "torch"):
            self._on_loaded(self.key, self.dtype)

    def to_device(self, device: str) -> Encoder:
        if self._model is None:
            encoder = self._source.to_device(device)
            return encoder if self.backend == "torch" else _QueryEncoder(self.key, encoder)
        return OpenVinoEncoder(self.config, self._network(device), self.tokens)

    @cached_property
    def _converted(self) -> ConvertedModel:
        return ConvertedModel.of(self._cache_directory, self.key, self.space, self.dtype)

    def offload(self) -> None:
        # The OpenVINO model is always in host memory.
        self._source.offload()

    def _network(self, device: str) -> Network:
        """Return the compiled model of a replica, cached because compiling takes longer than encoding a few texts."""
        if device not in self._networks:
            self._networks[device] = Network(self.key, self._model, self._threads)
        return self._networks[device]

    def _prepare(self, texts: Sequence[str]) -> None:
        started = time.monotonic()
        prompted = [self.config.document_prompt + text for text in texts]
        common = list(common_pieces())
        held_out, rest = _split(prompted, HELD_OUT_TEXTS)
        held_out += common[: max(0, COMMON_HELD_OUT - len(held_out))]
        if self._model is None:
            samples = _spread(rest, OWN_TEXTS)
            samples += _spread(common[COMMON_HELD_OUT:], CALIBRATION_TEXTS - len(samples))
            logger.info("converting %s to OpenVINO in %s, once on this machine", self.key, self.dtype)
            model = self._convert(samples)
            self._compare(model, held_out)
            self._converted.store(model)
            self._model = model
            logger.info("converted %s in %.1f s", self.key, time.monotonic() - started)
        else:
            self._compare(self._model, held_out)

    def _convert(self, samples: Sequence[str]) -> Any:
        module, limit = self._source.module, max_tokens(self.config)
        options = {"task": self.config.task} if self.config.task else {}
        model = convert(
            self.key,
            module,
            ["a", "a longer text"],
            lambda features: module(features, **options)["sentence_embedding"],
            limit,
        )
        if self.dtype == "float32":
            return model
        return quantize(self.key, model, [padded([ids]) for ids in self.tokens.ids(samples, limit)])

    def _compare(self, model: Any, texts: Sequence[str]) -> None:
        torch, network = TorchEncoder(self.config, Replica(self._source.module, "cpu")), Network(self.key, model)
        parts = []
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            expected = torch.forward(batch, prompt="", cut=True).cpu().numpy()
            actual = network(padded(self.tokens.ids(batch, max_tokens(self.config))))
            parts.append(_cosines(expected[:, : self.dim], actual[:, : self.dim]))
        cosines = np.concatenate(parts)
        accuracy = f"cosine to float32: mean {cosines.mean():.4f}, min {cosines.min():.4f}"
        if not self._guard.passes(cosines):
            raise ModelError(
                f"model {self.key!r} is too inaccurate in {self.dtype} for these texts ({accuracy}; required: mean >= "
                f"{self._guard.mean:g}, min >= {self._guard.lowest:g})"
            )
        logger.info("%s in %s is accurate enough on these texts: %s", self.key, self.dtype, accuracy)


class OpenVinoEncoder:
    """The encoder of a converted model. Rejects documents over the token limit and truncates queries to it."""

    def __init__(self, config: ModelConfig, network: Network, tokens: DocumentTokens) -> None:
        self._config = config
        self._network = network
        self._tokens = tokens

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        return self._encode([self._config.document_prompt + text for text in texts], cut=False)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encode([self._config.query_prompt + text for text in texts], cut=True)

    def _encode(self, texts: Sequence[str], *, cut: bool) -> Vectors:
        limit = max_tokens(self._config)
        ids = self._tokens.ids(texts, limit if cut else None)
        if max(map(len, ids)) > limit:
            raise ModelError(f"more than {limit} tokens, the limit of {self._config.key}: the text would be cut")
        rows = self._network(padded(ids))
        if self._config.kind == "sparse":
            row, column = rows.nonzero()
            return sparse_rows(len(texts), row, column, rows[row, column])
        return unit_rows(rows[:, : self._config.vector_dim])


class _QueryEncoder:
    """A torch encoder in float32 for queries, until the int8 model is calibrated. It rejects documents."""

    def __init__(self, key: str, encoder: Encoder) -> None:
        self._key = key
        self._encoder = encoder

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        raise ModelError(f"model {self._key!r} is not calibrated: call calibrate before encoding {len(texts)} texts")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_queries(texts)


def _split(texts: Sequence[str], held_out: int) -> tuple[list[str], list[str]]:
    """Return evenly spaced held-out texts, a quarter of all at most, and the others."""
    step = max(4, len(texts) // held_out)
    return list(texts[step // 2 :: step][:held_out]), [text for index, text in enumerate(texts) if index % step != step // 2]


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """Return at most `count` evenly spaced texts."""
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int)
    return [texts[place] for place in places]


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of each pair of rows; of a row of zeros, 1 with another such row and 0 with any other."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    equal = (one == other).all(axis=1)
    products = (one * other).sum(axis=1)
    divided = np.divide(products, lengths, where=lengths > 0, out=np.zeros_like(products))
    cosines: NDArray[np.float32] = np.where(equal, 1, divided)
    return cosines

"""Members computed by OpenVINO on the processor: converted from the torch module, in float32 or, three times as fast, in int8.

What is stored says int8 from its first vector on, so a model that turns out too coarse in int8 raises `PrecisionError` before it
has encoded anything: the caller decides what to do about it.
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
from ingest.encode.model_config import ModelConfig
from ingest.encode.openvino.cache import ConvertedModel
from ingest.encode.openvino.calibration import AccuracyGuard, common_pieces
from ingest.encode.openvino.conversion import Network, convert, quantize
from ingest.encode.staged import FileModel, OnLoaded, max_tokens
from ingest.encode.tokens import DocumentTokens, padded
from ingest.encode.torch_model import TorchEncoder, TorchModel
from ingest.encode.vectors import sparse_rows, unit_rows
from ingest.errors import ModelError, PrecisionError

logger = logging.getLogger(__name__)

Precision = Literal["float32", "int8"]

CALIBRATION_TEXTS = 100
"""More widen the ranges by what is rare, which costs the rest, and time."""

OWN_TEXTS = 80
"""Of these, at most. The others are the same for everybody, so that a model calibrated on chemistry also does for law."""

HELD_OUT_TEXTS = 48
"""On which the guard looks: own ones, none of those it was calibrated on."""

COMMON_HELD_OUT = 12
"""Where there are fewer own ones, it looks at so many together with common ones."""

_BATCH = 16


class OpenVinoModel(FileModel):
    """A `CalibratedModel`. Questions can be asked of it at any time: where nothing is converted yet, torch answers in float32.

    Args:
        source: the model as torch computes it, in float32; loaded where there is something to convert or to compare.
        precision: to compute in. In float32 its vectors are torch's, and so is its fingerprint.
        cache_directory: where converted models are kept.
        guard: of what was converted just now, and of what is kept the first time that it sees a collection's texts.
        known: it has stored vectors already, so that only what is converted anew is compared.
        threads: for each replica; OpenVINO's own choice unless given.
        on_loaded: told the dtype once it is there.
    """

    runs_on: RunsOn = "accelerator"

    def __init__(
        self,
        source: TorchModel,
        *,
        precision: Precision,
        cache_directory: Path,
        guard: AccuracyGuard,
        known: bool = False,
        threads: int | None = None,
        on_loaded: OnLoaded | None = None,
    ) -> None:
        super().__init__(source.config, dtype=precision)
        self.kind = source.kind
        self.backend = "openvino"
        self._source = source
        self._cache_directory = cache_directory
        self._guard = guard
        self._compared = known
        self._threads = threads
        self._on_loaded = on_loaded
        self._model: Any = None
        self._networks: dict[str, Network] = {}

    def calibrate(self, texts: Sequence[str]) -> None:
        """Converts the model if nobody did, with ranges taken from some of `texts`, and compares it with torch on others.

        Raises `PrecisionError` where int8 is too coarse or cannot be had, `MissingExtraError`, and `ModelError` where torch does
        not have the model. Where only the conversion in float32 fails, torch goes on, which is logged.
        """
        if self.backend == "torch" or (self._model is not None and self._compared):
            return
        with self._converted.making():
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
                logger.warning("%s: torch computes it", exc)
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
            return encoder if self.backend == "torch" else _QuestionsOnly(self.key, encoder)
        return OpenVinoEncoder(self.config, self._network(device), self.tokens)

    @cached_property
    def _converted(self) -> ConvertedModel:
        return ConvertedModel.of(self._cache_directory, self.key, self.space, self.dtype)

    def offload(self) -> None:
        # It is in host memory wherever it is.
        self._source.offload()

    def _network(self, device: str) -> Network:
        """Of a replica, kept for as long as the model: to compile it takes longer than a small model's pass over a few texts."""
        if device not in self._networks:
            self._networks[device] = Network(self.key, self._model, self._threads)
        return self._networks[device]

    def _prepare(self, texts: Sequence[str]) -> None:
        started = time.monotonic()
        ours = [self.config.document_prompt + text for text in texts]
        common = list(common_pieces())
        held_out, rest = _split(ours, HELD_OUT_TEXTS)
        held_out += common[: max(0, COMMON_HELD_OUT - len(held_out))]
        if self._model is None:
            samples = _spread(rest, OWN_TEXTS)
            samples += _spread(common[COMMON_HELD_OUT:], CALIBRATION_TEXTS - len(samples))
            logger.info("converting %s to OpenVINO in %s, which is done once on this machine", self.key, self.dtype)
            model = self._convert(samples)
            self._compare(model, held_out)
            self._converted.keep(model)
            self._model = model
            logger.info("%s is converted, in %.1f s", self.key, time.monotonic() - started)
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
        torch, network = TorchEncoder(self.config, self._source.module), Network(self.key, model)
        parts = []
        for start in range(0, len(texts), _BATCH):
            batch = texts[start : start + _BATCH]
            expected = torch.forward(batch, prompt="", cut=True).cpu().numpy()
            found = network(padded(self.tokens.ids(batch, max_tokens(self.config))))
            parts.append(_cosines(expected[:, : self.dim], found[:, : self.dim]))
        cosines = np.concatenate(parts)
        near = f"cosine to float32 {cosines.mean():.4f} on average, {cosines.min():.4f} at least"
        if not self._guard.passes(cosines):
            raise ModelError(
                f"model {self.key!r} is too coarse in {self.dtype} for these texts ({near}; {self._guard.mean:g} and "
                f"{self._guard.lowest:g} are due)"
            )
        logger.info("%s in %s is near enough on these texts: %s", self.key, self.dtype, near)


class OpenVinoEncoder:
    """A converted model, ready to compute. Documents over the limit are refused, queries are cut to it."""

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
            raise ModelError(f"more than {limit} tokens, and {self._config.key} takes no more: the text would be cut")
        rows = self._network(padded(ids))
        if self._config.kind == "sparse":
            row, column = rows.nonzero()
            return sparse_rows(len(texts), row, column, rows[row, column])
        return unit_rows(rows[:, : self._config.vector_dim])


class _QuestionsOnly:
    """Torch in float32, where int8 is yet to be calibrated: near enough to ask with, and not what is stored."""

    def __init__(self, key: str, encoder: Encoder) -> None:
        self._key = key
        self._encoder = encoder

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        raise ModelError(f"model {self._key!r} is not calibrated: it must see some texts before it encodes {len(texts)} of them")

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._encoder.encode_queries(texts)


def _split(texts: Sequence[str], held_out: int) -> tuple[list[str], list[str]]:
    """Some from everywhere, a quarter at most; and the others."""
    step = max(4, len(texts) // held_out)
    return list(texts[step // 2 :: step][:held_out]), [text for index, text in enumerate(texts) if index % step != step // 2]


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """At most `count` of them, from everywhere."""
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int)
    return [texts[place] for place in places]


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row by row. A row of zeros, a text without a word that counts, is like another such row and like no other."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    alike = (one == other).all(axis=1)
    products = (one * other).sum(axis=1)
    divided = np.divide(products, lengths, where=lengths > 0, out=np.zeros_like(products))
    cosines: NDArray[np.float32] = np.where(alike, 1, divided)
    return cosines

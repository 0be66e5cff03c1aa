"""What members computed by torch have in common: weights wait in host memory, replicas live on devices under a lease."""

from __future__ import annotations

import copy
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from ingest.encode.contract import Encoder, Kind, RunsOn
from ingest.encode.devices import torch_device
from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import verify
from ingest.encode.staged import FileModel, OnLoaded, max_tokens
from ingest.errors import IngestError, ModelError

if TYPE_CHECKING:
    import torch


logger = logging.getLogger(__name__)


class TorchModel(FileModel, ABC):
    """A `Model` over a sentence-transformers module. Its weights stay in host memory: leaving a device copies nothing.

    Args:
        config: what the registry says; checked against what is loaded.
        dtype: to compute in.
        trust_remote_code: run the repository's own Python code.
        on_loaded: told the dtype once the weights are there.
    """

    backend = "torch"
    runs_on: RunsOn = "accelerator"
    kind: Kind
    model_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """What the transformer beneath is loaded with beyond its dtype."""

    def __init__(
        self, config: ModelConfig, *, dtype: str, trust_remote_code: bool = False, on_loaded: OnLoaded | None = None
    ) -> None:
        super().__init__(config, dtype=dtype)
        self._trust_remote_code = trust_remote_code
        self._on_loaded = on_loaded
        self._host: Any = None
        self._replicas: dict[str, Any] = {}
        self._tokenizers: dict[str, Any] = {}

    def load(self) -> None:
        _use_torch()
        if self._host is None:
            self._host = self._load()

    def to_device(self, device: str) -> Encoder:
        if device not in self._replicas:
            self._replicas[device] = self._replicate(device)
        return self._encoder(self._replicas[device])

    def offload(self) -> None:
        # The host's own weights were never given up: nothing has to be moved back.
        self._replicas.clear()

    def unload(self) -> None:
        """Frees the weights. The next `load` reads them again."""
        self._host = None
        self._replicas.clear()
        self._tokenizers.clear()

    @property
    def module(self) -> Any:
        """The sentence-transformers module in host memory, once it is loaded. One thread at a time."""
        return self._host

    @staticmethod
    @abstractmethod
    def _library() -> Any:
        """The class of sentence-transformers that reads such a model."""

    def _read(self, folder: Path, dtype: torch.dtype) -> Any:
        """Loads the module from local files onto the processor."""
        return self._library()(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=self._trust_remote_code,
            model_kwargs={"dtype": dtype, "use_safetensors": True, **self.model_options},
        )

    @abstractmethod
    def _check(self, model: Any) -> None:
        """Raises `ModelError` where the loaded model is not what the registry says."""

    @abstractmethod
    def _encoder(self, replica: Any) -> Encoder: ...

    def _load(self) -> Any:
        verify(self.config, self.files)
        _refuse_pickles(self.key, self.files.folder)
        import torch  # noqa: PLC0415 - seconds, paid only by a run that encodes

        wanted: torch.dtype = getattr(torch, self.dtype)
        try:
            with _no_progress_bars():
                model = self._read(self.files.folder, wanted).eval()
        except IngestError:
            raise
        except Exception as exc:  # files of anybody's making, and libraries that raise what they like about them
            raise ModelError(f"model {self.key!r} in {self.files.folder} cannot be loaded ({_first_line(exc)})") from exc
        if model.dtype != wanted:
            model = model.to(wanted)
        if model.dtype != wanted:
            raise ModelError(f"model {self.key!r} came up in {model.dtype} and cannot be made {wanted}")
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and positions < max_tokens(self.config):
            raise ModelError(f"model {self.key!r} takes {positions} tokens, its configuration says {max_tokens(self.config)}")
        self._check(model)
        for weights in (*model.parameters(), *model.buffers()):
            weights.requires_grad_(requires_grad=False)
            if torch.cuda.is_available():
                weights.data = weights.data.pin_memory()  # moves to the card at full bus speed, every time
        if self._on_loaded is not None:
            self._on_loaded(self.key, str(model.dtype).removeprefix("torch."))
        return model

    def _replicate(self, device: str) -> Any:
        """A module of its own over weights on that device; on a processor, over the very same weights."""
        import torch  # noqa: PLC0415

        if device not in self._tokenizers:
            # One per device, for it serves one thread; kept, for copying it takes longer than moving a small model.
            self._tokenizers[device] = copy.deepcopy(self._host.tokenizer)
        target = torch_device(device)
        moved: dict[int, Any] = {id(self._host.tokenizer): self._tokenizers[device]}
        try:
            for weights in self._host.parameters():
                moved[id(weights)] = torch.nn.Parameter(weights.to(target, non_blocking=True), requires_grad=False)
            for buffer in self._host.buffers():
                moved[id(buffer)] = buffer.to(target, non_blocking=True)
        except torch.OutOfMemoryError as exc:
            raise ModelError(f"model {self.key!r} does not fit the memory of {device}: free some, or use another device") from exc
        return copy.deepcopy(self._host, moved).to(target)


class TorchEncoder:
    """Tokenizes and runs one replica. Documents over the limit are refused; queries are cut to it, for nothing is stored of them.

    Args:
        config: prompts and limits.
        model: the sentence-transformers module on its device.
    """

    def __init__(self, config: ModelConfig, model: Any) -> None:
        self.config = config
        self.model = model

    def forward(self, texts: Sequence[str], *, prompt: str, cut: bool) -> torch.Tensor:
        """The last module's float32 row per text, on the device. Raises `ModelError` for a text over the limit."""
        import torch  # noqa: PLC0415

        limit = max_tokens(self.config)
        # One token more than allowed is let through, so that what is too long shows instead of being cut in silence.
        self.model.max_seq_length = limit if cut else limit + 1
        with torch.inference_mode():
            features = self.model.preprocess([prompt + text for text in texts])
            mask = features.get("attention_mask")
            if not cut and mask is not None and int(mask.sum(dim=1).max()) > limit:
                raise ModelError(f"more than {limit} tokens, and {self.config.key} takes no more: the text would be cut")
            features = {
                name: value.to(self.model.device) if isinstance(value, torch.Tensor) else value
                for name, value in features.items()
            }
            options = {"task": self.config.task} if self.config.task else {}
            rows: torch.Tensor = self.model(features, **options)["sentence_embedding"].float()
            return rows


_used_in: int | None = None
"""The process that loaded a model last, of those that this one was forked from and itself."""


def _use_torch() -> None:
    """Compute with one thread in the forked child of a process that computed: torch would wait for threads that are not there."""
    global _used_in  # noqa: PLW0603  as are torch's own threads
    if _used_in not in {None, os.getpid()}:
        import torch  # noqa: PLC0415

        torch.set_num_threads(1)
        logger.info("torch computes with one thread, because the process that this one was forked from has used it already")
    _used_in = os.getpid()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """The library draws one per model; who draws here is decided elsewhere."""
    from transformers.utils import logging  # noqa: PLC0415 - its parent is imported a moment later anyway

    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _refuse_pickles(key: str, folder: Path) -> None:
    """Raises `ModelError` where a part of the model has its weights as a pickle alone: whoever made one decides what it runs."""
    for pickled in folder.rglob("pytorch_model*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise ModelError(
                f"model {key!r} keeps weights in {pickled}, a pickle, which can run any code: convert it to safetensors"
            )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

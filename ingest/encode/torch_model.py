"""The common part of models computed by torch: weights in host memory, replicas on devices under a lease."""

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
from weakref import WeakSet, WeakValueDictionary

from ingest.encode.accelerator import current_accelerator
from ingest.encode.contract import Encoder, ModelKind, RunsOn
from ingest.encode.devices import copy_tensor, is_accelerator, torch_device
from ingest.encode.feeding import Replica, TokenFeed, find_feed
from ingest.encode.file_model import FileModel, OnLoaded, max_tokens
from ingest.encode.model_config import ModelConfig
from ingest.encode.pinning import pin_together
from ingest.encode.resolve import verify
from ingest.errors import IngestError, ModelError

if TYPE_CHECKING:
    import torch


logger = logging.getLogger(__name__)


class TorchModel(FileModel, ABC):
    """A `Model` over a sentence-transformers module. Its weights stay in host memory, so offloading copies nothing.

    Models of the same weights and options, such as those of queries and of documents, have them in host memory once.

    Args:
        config: facts from the registry, checked against the loaded model.
        dtype: type to compute in.
        trust_remote_code: whether to run the repository's Python code.
        on_loaded: callback with the key and the dtype of the loaded model.
    """

    backend = "torch"
    runs_on: RunsOn = "accelerator"
    kind: ModelKind
    model_options: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Additional options for loading the transformer."""
    reads_token_ids: ClassVar[bool] = False
    """True if the model's encoders are `TorchEncoder`s, which reuse the token ids from counting the texts."""

    def __init__(
        self, config: ModelConfig, *, dtype: str, trust_remote_code: bool = False, on_loaded: OnLoaded | None = None
    ) -> None:
        super().__init__(config, dtype=dtype)
        self._trust_remote_code = trust_remote_code
        self._on_loaded = on_loaded
        self._host: Any = None
        self._replicas: dict[str, Replica] = {}
        self._tokenizers: dict[str, Any] = {}
        self._feed: TokenFeed | None = None

    def load(self) -> None:
        _use_torch()
        if self._host is None:
            same = repr((type(self), self.config, self.files.folder, self.dtype, self._trust_remote_code))
            shared = _hosts.get(same)
            self._host = _hosts[same] = self._load() if shared is None else shared
            if self._on_loaded is not None:
                self._on_loaded(self.key, str(self._host.dtype).removeprefix("torch."))
            if self.reads_token_ids:
                self._feed = find_feed(self._host, self.tokens, self.config.document_prompt)

    def to_device(self, device: str) -> Encoder:
        if device not in self._replicas:
            self._replicas[device] = Replica(self._replicate(device), device, self._feed)
        return self._encoder(self._replicas[device])

    def offload(self) -> None:
        # The weights are still in host memory: nothing to copy back. They are freed here and now, because the modules of many
        # models refer to each other in cycles, which only the garbage collector would find.
        for device, replica in self._replicas.items():
            if is_accelerator(device):
                for weights in (*replica.module.parameters(), *replica.module.buffers()):
                    weights.data = weights.data.new_empty(0)
        self._replicas.clear()

    def unload(self) -> None:
        """Free the weights, unless another model has them. The next `load` reads them again."""
        self.offload()
        self._host = None
        self._tokenizers.clear()

    def use_float32(self) -> None:
        self.unload()
        self.dtype = "float32"

    @property
    def module(self) -> Any:
        """The loaded sentence-transformers module in host memory, which other models may share. Not thread-safe."""
        return self._host

    @staticmethod
    @abstractmethod
    def _library() -> Any:
        """Return the class that loads such a model."""

    def _read(self, folder: Path, dtype: torch.dtype) -> Any:
        """Load the module from local files into host memory."""
        model = self._library()(
            str(folder),
            device="cpu",
            local_files_only=True,
            trust_remote_code=self._trust_remote_code,
            model_kwargs={"dtype": dtype, "use_safetensors": True, **self.model_options},
        )
        model.model_card_data.model = None  # no card is written, and the garbage collector alone would find the two
        return model

    @abstractmethod
    def _check(self, model: Any) -> None:
        """Raise `ModelError` if the loaded model differs from the registry."""

    @abstractmethod
    def _encoder(self, replica: Replica) -> Encoder:
        """Return an encoder over a replica."""

    def _load(self) -> Any:
        verify(self.config, self.files)
        _refuse_pickles(self.key, self.files.folder)
        import torch  # noqa: PLC0415 - takes seconds, and only encoding needs it

        dtype: torch.dtype = getattr(torch, self.dtype)
        try:
            with _no_progress_bars():
                model = self._read(self.files.folder, dtype).eval()
        except IngestError:
            raise
        except Exception as exc:  # the libraries raise arbitrary errors for unusual files
            raise ModelError(f"model {self.key!r} in {self.files.folder} cannot be loaded ({_first_line(exc)})") from exc
        if model.dtype != dtype:
            model = model.to(dtype)
        if model.dtype != dtype:
            raise ModelError(f"model {self.key!r} is in {model.dtype} and cannot be converted to {dtype}")
        positions = getattr(model.config, "max_position_embeddings", None)
        if positions is not None and positions < max_tokens(self.config):
            raise ModelError(f"model {self.key!r} takes {positions} tokens, its configuration says {max_tokens(self.config)}")
        self._check(model)
        for weights in (*model.parameters(), *model.buffers()):
            weights.requires_grad_(requires_grad=False)
        return model

    def _replicate(self, device: str) -> Any:
        """Return a module with its weights on that device; on the CPU, with the same weights."""
        import torch  # noqa: PLC0415

        if is_accelerator(device) and self._host not in _pinned:
            _pinned.add(self._host)
            pin_together((*self._host.parameters(), *self._host.buffers()), current_accelerator().pin)
        moved: dict[int, Any] = {id(self._host.tokenizer): self._tokenizer(device)}
        for weights in self._host.parameters():
            moved[id(weights)] = torch.nn.Parameter(copy_tensor(weights.data, device), requires_grad=False)
        for buffer in self._host.buffers():
            moved[id(buffer)] = copy_tensor(buffer, device)
        return copy.deepcopy(self._host, moved).to(torch_device(device))

    def _tokenizer(self, device: str) -> Any:
        """Return the tokenizer of a device's replica: the module's own if token ids are fed, because nothing calls it then."""
        if self._feed is not None:
            return self._host.tokenizer
        if device not in self._tokenizers:
            # One per device, because it is not thread-safe; kept, because copying it takes longer than moving a small model.
            self._tokenizers[device] = copy.deepcopy(self._host.tokenizer)
        return self._tokenizers[device]


class TorchEncoder:
    """An encoder that runs one replica. Rejects documents over the token limit and truncates queries to it.

    Args:
        config: prompts and limits.
        replica: the model on its device.
    """

    def __init__(self, config: ModelConfig, replica: Replica) -> None:
        self.config = config
        self.replica = replica

    def forward(self, texts: Sequence[str], *, prompt: str, cut: bool) -> torch.Tensor:
        """Return one float32 row per text, on the device. Raises `ModelError` for a text over the limit unless `cut`."""
        import torch  # noqa: PLC0415

        options = {"task": self.config.task} if self.config.task else {}
        with torch.inference_mode():
            features = self._features([prompt + text for text in texts], cut=cut)
            rows: torch.Tensor = self.replica.module(features, **options)["sentence_embedding"].float()
            return rows

    def _features(self, texts: Sequence[str], *, cut: bool) -> dict[str, Any]:
        """Return the inputs for prompted texts, on the device."""
        import torch  # noqa: PLC0415

        limit = max_tokens(self.config)
        module, feed = self.replica.module, self.replica.feed
        if feed is not None:
            token_ids = feed.token_ids(texts, limit if cut else None)
            self._check_limit(max(map(len, token_ids)))
            return self.replica.inputs(feed, token_ids)
        # One token more than allowed, so that a text over the limit is noticed instead of truncated.
        module.max_seq_length = limit if cut else limit + 1
        features = module.preprocess(texts)
        if (mask := features.get("attention_mask")) is not None:
            self._check_limit(int(mask.sum(dim=1).max()))
        return {name: value.to(module.device) if isinstance(value, torch.Tensor) else value for name, value in features.items()}

    def _check_limit(self, tokens: int) -> None:
        limit = max_tokens(self.config)
        if tokens > limit:
            raise ModelError(f"more than {limit} tokens, the limit of {self.config.key}: the text would be cut")


_hosts: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""The modules in host memory, by what makes two of them the same."""

_pinned: WeakSet[Any] = WeakSet()
"""The modules whose weights are in pinned memory."""

_torch_pid: int | None = None
"""Id of the process that last loaded a model: this one or one that it was forked from."""


def _use_torch() -> None:
    """Use one thread in a forked child of a process that used torch, which would wait for threads that do not exist."""
    global _torch_pid  # noqa: PLW0603  torch's threads are global, too
    if _torch_pid not in {None, os.getpid()}:
        import torch  # noqa: PLC0415

        torch.set_num_threads(1)
        logger.info("torch computes with one thread, because the parent of this forked process has used torch already")
    _torch_pid = os.getpid()


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """Hide the library's progress bars, of which it draws one per model."""
    from transformers.utils import logging  # noqa: PLC0415 - the library is imported a moment later anyway

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _refuse_pickles(key: str, folder: Path) -> None:
    """Raise `ModelError` if a part of the model has its weights only as a pickle, which can run any code when it is loaded."""
    for pickled in folder.rglob("pytorch_model*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise ModelError(
                f"model {key!r} has weights in {pickled}, a pickle, which can run any code: convert it to safetensors"
            )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

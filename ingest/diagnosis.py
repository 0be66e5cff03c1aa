"""Diagnose a machine for the report of a fault: versions, devices, models, the store and disk space."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from ingest.encode.accelerator import GIBIBYTE, current_accelerator
from ingest.encode.model_config import ModelConfig
from ingest.encode.resolve import status
from ingest.errors import IngestError
from ingest.process import usable_cores
from ingest.store.contract import Store

PACKAGES = (
    "qdrant-client",
    "qdrant-edge-py",
    "torch",
    "transformers",
    "sentence-transformers",
    "openvino",
    "onnxruntime",
)
"""The packages whose versions matter: engines and libraries that compute."""

LOW_DISK_BYTES = 2 * GIBIBYTE
"""Free bytes of a disk below which a run may not end: a conversion writes a model twice, the embedded engine its log ahead."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the machine.

    Attributes:
        topic: what it is about: `torch`, `cuda:0`, `store`.
        value: the fact, or what is wrong and what to do.
        ok: False if something that was asked for does not work.
    """

    topic: str
    value: str
    ok: bool = True


def diagnose(*, open_store: Callable[[], Store], models: Iterable[ModelConfig], folders: Mapping[str, Path]) -> list[Finding]:
    """Return what there is and what does not work, with the most basic facts first. Loads no model, downloads nothing.

    Args:
        open_store: opens the store; an `IngestError` of it is a finding.
        models: the models that are to be used.
        folders: topic → folder whose disk must have room. It need not exist yet.
    """
    return [*_versions(), *_devices(), *_models(models), _store(open_store), *_disks(folders)]


def _versions() -> Iterator[Finding]:
    yield Finding("ingest", metadata.version("qdrant-ingest"))
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    yield Finding("CPU", f"{usable_cores()} cores, {platform.machine()}")
    for package in PACKAGES:
        yield Finding(package, _version(package) or "not installed")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> Iterator[Finding]:
    accelerator = current_accelerator()
    gpus = accelerator.gpus()
    if not gpus:
        yield Finding("GPU", "none that this process sees: models compute on the CPU")
    for gpu in gpus:
        problem = accelerator.unusable(gpu.name)
        yield Finding(gpu.name, problem or f"{gpu.product}, {gpu.total_bytes / GIBIBYTE:.0f} GiB", ok=problem is None)


def _models(models: Iterable[ModelConfig]) -> Iterator[Finding]:
    for model in models:
        found = status(model)
        advice = f"not on this machine: it is downloaded when it is first used, or by ingest models pull {model.key}"
        yield Finding(model.key, advice if found == "missing" else found, ok=found != "missing")


def _store(open_store: Callable[[], Store]) -> Finding:
    try:
        with open_store() as store:
            return Finding("store", f"{store.engine} at {store.location}, {len(store.collections()):,} collections")
    except IngestError as exc:
        return Finding("store", str(exc), ok=False)


def _disks(folders: Mapping[str, Path]) -> Iterator[Finding]:
    for topic, folder in folders.items():
        existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / GIBIBYTE:.1f} GiB free at {existing}"
        enough = free >= LOW_DISK_BYTES
        yield Finding(topic, text if enough else f"{text}: free some, or a run may stop when the disk is full", ok=enough)

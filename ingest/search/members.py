"""The models that made a collection, as a search uses them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ingest.encode.contract import Model
from ingest.encode.models import ModelManager
from ingest.encode.openvino.choice import BackendOptions
from ingest.encode.registry import EnsembleConfig
from ingest.errors import ManifestMismatchError
from ingest.store.contract import Manifest

ModelLoader = Callable[[Sequence[str]], Sequence[Model]]
"""Registry keys → one staged model each, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A model and the lock under which its encoder serves one thread at a time."""

    model: Model
    turn: threading.Lock = field(default_factory=threading.Lock)


def members_of(
    manifest: Manifest, name: str, load: ModelLoader | None, before: tuple[Manifest, Mapping[str, Member]] | None = None
) -> Mapping[str, Member]:
    """Return the models that made a collection, by the name of their vector.

    Args:
        name: the name the caller uses for the collection, for messages.
        load: by default from the registries alone.
        before: the manifest and the models of a collection that was searched so far: a model that made both is kept.

    Raises `UnknownModelError`, and `ManifestMismatchError` for a model that would search another vector space than is stored.
    """
    known = {(spec.name, spec.fingerprint): before[1][spec.name] for spec in before[0].vectors} if before else {}
    kept = {spec.name: known[spec.name, spec.fingerprint] for spec in manifest.vectors if (spec.name, spec.fingerprint) in known}
    keys = [spec.name for spec in manifest.vectors]
    if len(kept) == len(keys):
        return kept
    staged = load(keys) if load else _registered(keys, manifest)
    _check_spaces(name, manifest, staged)
    return {model.key: kept.get(model.key) or Member(model) for model in staged}


def _registered(keys: Sequence[str], manifest: Manifest) -> Sequence[Model]:
    as_stored = BackendOptions(backend="auto", stored_precisions=manifest.precisions)
    return ModelManager(EnsembleConfig(ensemble_models=keys), backend_options=as_stored).members


def _check_spaces(name: str, manifest: Manifest, models: Sequence[Model]) -> None:
    """Raise `ManifestMismatchError` unless these are the models of the manifest, in its order."""
    wanted, given = [spec.name for spec in manifest.vectors], [model.key for model in models]
    if given != wanted:
        raise ManifestMismatchError(
            f"collection {name!r} was made with {', '.join(wanted)}, and the models are {', '.join(given)}: give one model for"
            " each, in this order"
        )
    for spec, model in zip(manifest.vectors, models, strict=True):
        if spec.space != model.space or spec.dim != model.dim:
            raise ManifestMismatchError(
                f"collection {name!r} was made with another {spec.name} (revision, prompt, pooling or dimension) "
                "than the one configured here: configure the one it was made with, or ingest it anew"
            )

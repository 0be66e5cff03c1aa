"""The models that made a collection, shared by the threads that search it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.combining import CombinedEncoding
from ingest.encode.contract import Model
from ingest.encode.ensemble import DEFAULT_ENCODING
from ingest.encode.multivector import MultivectorModel
from ingest.encode.queries import QueryModel, as_queries
from ingest.errors import ManifestMismatchError
from ingest.store.contract import Manifest

ModelLoader = Callable[[Sequence[str]], Sequence[Model]]
"""Registry keys → one model each, in the same order."""


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class SharedModel:
    """A model whose encoder serves one thread at a time.

    Attributes:
        queries: the same model as the runner of queries takes it.
        combined: encodes the queries of threads that wait for the encoder together.
        controller: the batch sizes that queries have learned.
        once: see `as_queries`.
    """

    model: Model
    once: bool = False
    combined: CombinedEncoding = field(default_factory=CombinedEncoding)
    controller: AdaptiveBatchController = field(default_factory=AdaptiveBatchController)
    queries: QueryModel = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "queries", as_queries(self.model, once=self.once))

    def truncation(self, query: str) -> str | None:
        """Return a sentence if the model reads only the beginning of a query, else None."""
        limit = self.model.query_limit if isinstance(self.model, MultivectorModel) else self.model.token_limit
        if limit is None or len(query.encode()) <= limit.max_tokens:  # no token is shorter than a byte
            return None
        [tokens] = limit.count([query])
        if tokens <= limit.max_tokens:
            return None
        return f"{self.model.key} reads the first {limit.max_tokens:,} of the query's {tokens:,} tokens"


class ModelPool:
    """The models of all collections that a process has open: those with one fingerprint are one model, loaded once. Thread-safe.

    Those of queries stay as long as a searcher has them, and those of documents until another one comes by the same key. They are
    not the same: a query waits for no run.

    Args:
        once: whether the process searches once and ends, see `as_queries`.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._queries: WeakValueDictionary[tuple[str, str], SharedModel] = WeakValueDictionary()
        self._documents: dict[str, Model] = {}
        self._lock = threading.Lock()

    def of_queries(self, model: Model) -> SharedModel:
        """Return the model that encodes the queries of all collections that have this one."""
        name = (model.key, model.fingerprint)
        with self._lock:
            shared = self._queries.get(name)
            if shared is None:
                shared = self._queries[name] = SharedModel(model, once=self._once)
            return shared

    def of_documents(self, models: Sequence[Model]) -> tuple[Model, ...]:
        """Return for each model the one that encoded before, if it has the same key and fingerprint. Runs must take turns.

        A remote model has nothing to keep, and is the one that has just proved itself.
        """
        with self._lock:
            for model in models:
                known = self._documents.get(model.key)
                if known is None or known.fingerprint != model.fingerprint or model.runs_on == "remote":
                    self._documents[model.key] = model
            return tuple(self._documents[model.key] for model in models)


def shared_models(
    manifest: Manifest,
    name: str,
    load: ModelLoader | None,
    *,
    pool: ModelPool,
    devices: tuple[str, ...],
    before: tuple[Manifest, Mapping[str, SharedModel]] | None = None,
) -> Mapping[str, SharedModel]:
    """Return vector name → the model that made it.

    Args:
        manifest: manifest of the collection.
        name: the caller's name for the collection, for messages.
        load: the loader. None: from the registries alone.
        pool: the models that other collections have.
        devices: where models of the registries compute.
        before: manifest and models of the collection searched so far; a model that made both collections is kept.

    Raises `UnknownModelError`, and `ManifestMismatchError` for a model whose vector space is not the stored one.
    """
    known = {(spec.name, spec.fingerprint): before[1][spec.name] for spec in before[0].vectors} if before else {}
    kept = {spec.name: known[spec.name, spec.fingerprint] for spec in manifest.vectors if (spec.name, spec.fingerprint) in known}
    keys = [spec.name for spec in manifest.vectors]
    if len(kept) == len(keys):
        return kept
    models = load(keys) if load else _registered(keys, manifest, devices)
    _check_spaces(name, manifest, models)
    return {model.key: kept.get(model.key) or pool.of_queries(model) for model in models}


def _registered(keys: Sequence[str], manifest: Manifest, devices: tuple[str, ...]) -> Sequence[Model]:
    encoding = replace(DEFAULT_ENCODING, devices=devices).as_stored(keys, manifest.options).with_stored_proofs(manifest.proofs)
    return encoding.models(keys, stored_precisions=manifest.precisions)


def _check_spaces(name: str, manifest: Manifest, models: Sequence[Model]) -> None:
    """Raise `ManifestMismatchError` unless these are the models of the manifest, in its order."""
    expected, given = [spec.name for spec in manifest.vectors], [model.key for model in models]
    if given != expected:
        raise ManifestMismatchError(
            f"collection {name!r} was made with {', '.join(expected)}, but the models are {', '.join(given)}: pass one model for"
            " each, in this order"
        )
    for spec, model in zip(manifest.vectors, models, strict=True):
        if spec.space != model.space or spec.dim != model.dim:
            raise ManifestMismatchError(
                f"collection {name!r} was made with another {spec.name} (revision, prompt, pooling or dimension) "
                "than the one configured here: configure the one it was made with, or ingest it anew"
            )

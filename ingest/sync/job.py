"""Jobs: how a collection is kept equal to its sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from types import MappingProxyType
from typing import Literal, get_args

from ingest.encode.contract import Model
from ingest.errors import ConfigurationError
from ingest.parameters import (
    checked,
    optional,
    parse_boolean,
    parse_choice,
    parse_duration,
    parse_instance,
    parse_mapping,
    parse_share,
    parse_text,
    parse_texts,
    parse_weight,
    set_fields,
)
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import CollectionOptions, Distance, Manifest
from ingest.store.schema import _normalize_collection_name
from ingest.sync.manifest import wanted_manifest
from ingest.sync.plan import DeleteMode
from ingest.sync.reading import WindowBounds
from ingest.sync.versions import Check


@dataclass(frozen=True, slots=True, init=False)
class Job:
    """A job: how a collection is kept equal to its sources.

    Attributes:
        collection: name of the collection, in any spelling; it is normalized.
        delete: what a run may delete: a `DeleteMode`, or its text (`none`, `incremental`, `full`).
        delete_after: grace period in seconds for which `full` keeps a missing document soft-deleted; None purges it at once.
            Also text such as `7d`, or a `timedelta`.
        max_delete: share of a source's live documents that `full` may delete or soft-delete before the brake stops the run: a
            number from 0 to 1, or text such as `20%`. It is compared exactly; see `ingest.sync.deletion.is_braked`.
        chunking: how documents are cut.
        weights: vector name → weight in query-time fusion, kept in the manifest.
        aliases: normalized name → name of the collection it stands for.
        options: layout of the collection if it has to be created.
        bounds: limits of the first windows.
        distance: distance of the dense vectors of a new collection.
        accept_fingerprints: accept the stored vectors as compatible with the job's models although their fingerprints differ.
            Dimensions and distances must be the same.
        moved_from: the former name of the job's only source: what is stored under it is taken along before the source is read
            (`ingest.sync.moving.move_source`). Or the former path of a folder in it: its files that are missing are deleted.
        reuse: other collections of the store whose vectors of equal texts are copied, if the same models made them; `all` for
            every collection that has any.
        check: how a run finds out whether a document has changed: a `Check`, or its text (`version`, `content`).
        full_check: time in seconds after which a run reads everything, even if `check` is `version`; None for never. Also text
            such as `7d`, or a `timedelta`.

    Raises `ConfigurationError` that names the parameter, its value and what is allowed.
    """

    collection: str
    delete: DeleteMode
    delete_after: float | None
    max_delete: Fraction
    chunking: ChunkingOptions
    weights: Mapping[str, float]
    aliases: Mapping[str, str]
    options: CollectionOptions
    bounds: WindowBounds
    distance: Distance
    accept_fingerprints: bool
    moved_from: str | None
    reuse: tuple[str, ...]
    check: Check
    full_check: float | None

    def __init__(
        self,
        collection: str,
        *,
        delete: DeleteMode | Literal["none", "incremental", "full"] = DeleteMode.INCREMENTAL,
        delete_after: float | str | timedelta | None = None,
        max_delete: float | str | Fraction = Fraction(1, 5),
        chunking: ChunkingOptions = ChunkingOptions(),
        weights: Mapping[str, float] = MappingProxyType({}),
        aliases: Mapping[str, str] = MappingProxyType({}),
        options: CollectionOptions = CollectionOptions(),
        bounds: WindowBounds = WindowBounds(),
        distance: Distance = "cosine",
        accept_fingerprints: bool = False,
        moved_from: str | None = None,
        reuse: Sequence[str] = (),
        check: Check | Literal["version", "content"] = Check.VERSION,
        full_check: float | str | timedelta | None = None,
    ) -> None:
        set_fields(
            self,
            collection=checked("collection", parse_text, collection),
            delete=checked("delete", parse_choice, delete, list(DeleteMode)),
            delete_after=checked("delete_after", optional(parse_duration), delete_after),
            max_delete=checked("max_delete", parse_share, max_delete),
            chunking=checked("chunking", parse_instance, chunking, ChunkingOptions),
            weights=checked("weights", parse_mapping, weights, parse_weight),
            aliases=checked("aliases", parse_mapping, aliases, parse_text),
            options=checked("options", parse_instance, options, CollectionOptions),
            bounds=checked("bounds", parse_instance, bounds, WindowBounds),
            distance=checked("distance", parse_choice, distance, get_args(Distance)),
            accept_fingerprints=checked("accept_fingerprints", parse_boolean, accept_fingerprints),
            moved_from=checked("moved_from", optional(parse_text), moved_from),
            reuse=checked("reuse", parse_texts, reuse),
            check=checked("check", parse_choice, check, list(Check)),
            full_check=checked("full_check", optional(parse_duration), full_check),
        )
        _normalize_collection_name(self.collection, self.aliases)  # raises for a name that cannot be one

    def manifest(self, models: Sequence[Model]) -> Manifest:
        """Return what a collection made by this job with these models says of itself.

        Raises `ConfigurationError` for models that are no sequence or empty, and for a weight of a vector that they do not make.
        """
        if not isinstance(models, Sequence) or not models:
            raise ConfigurationError(f"models: {models!r} is not a list of at least one model")
        for vector in self.weights:
            checked("weights", parse_choice, vector, [model.key for model in models])
        return wanted_manifest(
            self.collection,
            models,
            chunking=self.chunking,
            weights=self.weights,
            aliases=self.aliases,
            distance=self.distance,
            layout=self.options.layout,
        )

"""Agreement between what a job asks for and what its collection was made with. Comes before anything is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from ingest.encode.contract import StagedModel
from ingest.errors import ManifestMismatchError
from ingest.source.chunking import ChunkingOptions
from ingest.store.contract import Distance, Manifest, VectorSpec
from ingest.store.schema import _normalize_collection_name

logger = logging.getLogger(__name__)


def wanted_manifest(
    collection: str,
    models: Sequence[StagedModel],
    *,
    chunking: ChunkingOptions,
    weights: Mapping[str, float],
    aliases: Mapping[str, str],
    distance: Distance,
) -> Manifest:
    """What a collection made by this job says of itself."""
    return Manifest(
        collection=_normalize_collection_name(collection, aliases),
        raw_name=collection,
        vectors=tuple(
            VectorSpec(
                name=model.key,
                dim=model.dim,
                fingerprint=model.fingerprint,
                space=model.space,
                distance=distance if model.kind == "dense" else "dot",
                idf=model.uses_idf,
                model={"kind": model.kind, "dtype": model.dtype, "backend": model.backend},
            )
            for model in models
        ),
        chunking={"tokens": chunking.tokens, "overlap": chunking.overlap},
        weights=dict(weights),
    )


def check_manifest(wanted: Manifest, stored: Manifest) -> None:
    """Raises `ManifestMismatchError` naming every difference that would mix vector spaces or chunkings.

    A second raw name that normalizes to the same collection is logged as a warning: it is legal, and rarely meant.
    """
    differences = [*_vector_differences(wanted.vectors, stored.vectors)]
    if dict(wanted.chunking) != dict(stored.chunking):
        differences.append(f"chunking is {dict(stored.chunking)}, asked for {dict(wanted.chunking)}")
    if differences:
        raise ManifestMismatchError(
            f"collection {stored.collection!r} was made differently: {'; '.join(differences)}. "
            "Ask for what it was made with, or use a new collection"
        )
    if wanted.raw_name != stored.raw_name:
        logger.warning(
            "the names %r and %r both mean collection %r: it was made under the first",
            stored.raw_name,
            wanted.raw_name,
            stored.collection,
        )


def _vector_differences(wanted: Sequence[VectorSpec], stored: Sequence[VectorSpec]) -> list[str]:
    have = {spec.name: spec for spec in stored}
    ask = {spec.name: spec for spec in wanted}
    differences = []
    if missing := [name for name in ask if name not in have]:
        differences.append(f"it has no vector {', '.join(missing)}")
    if extra := [name for name in have if name not in ask]:
        differences.append(f"it also has the vector {', '.join(extra)}, which was not asked for")
    for name in ask.keys() & have.keys():
        if ask[name].dim != have[name].dim:
            differences.append(f"{name} has {have[name].dim} dimensions, asked for {ask[name].dim}")
        elif ask[name].distance != have[name].distance:
            differences.append(f"{name} compares by {have[name].distance}, asked for {ask[name].distance}")
        elif ask[name].fingerprint != have[name].fingerprint:
            differences.append(f"{name} was made by another revision, prompt, pooling or dtype")
    return differences

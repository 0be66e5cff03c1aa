"""Taking vectors for made by another fingerprint of their model, because somebody who knows says that they are alike."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from ingest.records import Payload
from ingest.store.contract import Manifest, Store
from ingest.store.request_sizes import batches
from ingest.store.schema import INGEST_FIELD, fingerprint_of, with_fingerprint
from ingest.store.writer import Effects, Writer

logger = logging.getLogger(__name__)

RELABELLED_TOGETHER = 1000
"""Points whose payloads are held at a time."""


def accept_models(wanted: Manifest, stored: Manifest, *, store: Store) -> Manifest:
    """The stored manifest with the fingerprints of `wanted`, and every point relabelled to it; no vector is touched.

    Only what says it was made by the model of the stored manifest is relabelled: the rest stays foreign, and the next run encodes
    it. The manifest is last, so after a crash the collection is refused as before, and accepting again goes on.
    Both have the same vectors but for fingerprints. Raises `StoreError`.
    """
    made_by = {spec.name: spec.fingerprint for spec in wanted.vectors}
    before = {spec.name: spec.fingerprint for spec in stored.vectors}
    relabelled = 0
    with Writer(store, stored.collection) as writer:
        points = store.scroll(stored.collection, page=RELABELLED_TOGETHER)
        for group in batches(points, lambda _: 1, RELABELLED_TOGETHER, RELABELLED_TOGETHER):
            payloads = {
                point.id: payload for point in group if (payload := _relabelled(point.id, point.payload, before, made_by))
            }
            writer.submit(Effects(payloads=payloads))
            relabelled += len(payloads)
    by_name = {spec.name: spec for spec in wanted.vectors}
    accepted = replace(stored, vectors=tuple(by_name[spec.name] for spec in stored.vectors))
    store.write_manifest(accepted)
    logger.warning(
        "accepted: the vectors of %d points of %s count as made by the models that are configured now",
        relabelled,
        wanted.collection,
    )
    return accepted


def _relabelled(id_: str, payload: Payload, before: Mapping[str, str], made_by: Mapping[str, str]) -> Payload | None:
    """The payload with the new fingerprints, or None where it stays as it is."""
    made = fingerprint_of(id_, payload)
    if made is None:
        return None
    vectors = {name: made_by[name] if by == before.get(name) else by for name, by in made.vectors.items()}
    if vectors == made.vectors:
        return None
    visible = {name: value for name, value in payload.items() if name != INGEST_FIELD}
    return with_fingerprint(visible, replace(made, vectors=vectors))

"""Adopt a collection that another tool made: a collection of ours is built beside it and takes its alias. It is only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ingest.adopt.documents import (
    PAGE_POINTS,
    ForeignDocuments,
    PayloadFields,
    check_places,
    check_title_field,
    encoded_text,
    text_field,
    title_field,
)
from ingest.adopt.vectors import KeptVectors, check_vectors
from ingest.encode.contract import Model
from ingest.encode.ensemble import Ensemble
from ingest.errors import ConfigurationError, ForeignCollectionError
from ingest.receipt import Receipt
from ingest.records import Document, StoredPoint
from ingest.store.contract import Store
from ingest.store.schema import physical_name
from ingest.sync.copying import FindCopies
from ingest.sync.job import Job
from ingest.sync.ownership import ADOPTED_FROM, check_name
from ingest.sync.preview import Preview
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job

MAX_PASSES = 10
"""Maximum number of passes over a collection that keeps changing before an adoption gives up."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The report of an adoption, or of what one would do.

    Attributes:
        collection: normalized name of our collection.
        adopted_from: the collection of the other tool, which is unchanged.
        points: its points.
        text_field, title_field: the payload fields that text and title were read from; None without titles.
        kept: model key → least cosine of the sampled vectors to those that the model makes.
        encoded: model key → number of chunks that were encoded although vectors are kept, for lack of one that fits.
        swapped: whether the name of the other collection now stands for ours.
        problem: why our collection is not complete, or None.
        receipt: the account of the run; None if it was only planned.
        preview: what the run would do; None if it was done.
    """

    collection: str
    adopted_from: str
    points: int
    text_field: str
    title_field: str | None = None
    kept: Mapping[str, float] = field(default_factory=dict)
    encoded: Mapping[str, int] = field(default_factory=dict)
    swapped: bool = False
    problem: str | None = None
    receipt: Receipt | None = None
    preview: Preview | None = None


class Adoption:
    """A collection of another tool that is to become `name`.

    Args:
        collection: its name or alias.
        name: normalized name of our collection. If it is the alias of the other one, it is swapped.
        fields: where the payload has what. Without `title`, the usual field is taken, or none if vectors are kept: they were
            made without titles.
        have: model key → name of the vector that it made; "" for a vector without a name.

    Raises `CollectionNotFoundError`, and `ConfigurationError` if the collection is ours already, if no alias can be swapped, or
    if the first points have no such text, title or vector. Changes nothing.
    """

    def __init__(self, store: Store, collection: str, name: str, fields: PayloadFields, have: Mapping[str, str]) -> None:
        self._store = store
        self.name = name
        self.collection = _foreign(store, collection)
        self.swaps = _swaps(store, collection, self.collection, name)
        first = list(islice(store.scroll(self.collection, vectors=True, page=PAGE_POINTS), PAGE_POINTS))
        if not first:
            raise ConfigurationError(f"the collection {collection} has no points: there is nothing to adopt")
        self.have = dict(have)
        self.fields = _found_fields(fields, [point.payload for point in first], collection, titles=not have)
        _check_names(first, self.have, collection)

    def texts(self) -> list[str]:
        """Return some texts, which tell the language of the collection."""
        return [document.text for document, _ in self.source().samples(PAGE_POINTS) if isinstance(document, Document)]

    def source(self, kept: KeptVectors | None = None) -> ForeignDocuments:
        """Return the documents. `kept` receives their vectors while they are read."""
        if kept is None:
            return ForeignDocuments(self._store, self.collection, self.fields)
        return ForeignDocuments(self._store, self.collection, self.fields, self.have, kept.keep)

    def check_vectors(self, ensemble: Ensemble) -> dict[str, float]:
        """Return model key → least cosine of sampled vectors to those that the model makes. Raises `ConfigurationError`."""
        sampled = ForeignDocuments(self._store, self.collection, self.fields, self.have).samples(PAGE_POINTS)
        points = [(document, vectors) for document, vectors in sampled if isinstance(document, Document)]
        points.sort(key=lambda point: point[0].title is None)  # a text without a title does not tell how titles were encoded
        remedy = "leave it out (--have), so that the chunks are encoded"
        if self.fields.title is not None:
            remedy += ", or leave out --title-field if it was made without titles"
        least = {}
        for model in ensemble.models:
            if model.key in self.have:
                sample = [(encoded_text(document), vectors[model.key]) for document, vectors in points if model.key in vectors]
                least[model.key] = check_vectors(model, self.have[model.key], sample, ensemble.runner, remedy)
        return least

    def target(self, job: Job, models: Sequence[Model]) -> str:
        """Return the name of the collection to build: `name`, or while that is an alias of the other one, the new one's own."""
        return physical_name(job.manifest(models)) if self.swaps else self.name

    def report(self, kept: Mapping[str, float]) -> Adopted:
        """Return a report of what is known before a run."""
        points = self._store.count(self.collection)
        return Adopted(self.name, self.collection, points, str(self.fields.text), self.fields.title, kept)

    def run(
        self,
        job: Job,
        build: Job,
        *,
        ensemble: Ensemble,
        rejects: Path,
        accept_rejects: bool,
        stop: Callable[[], bool],
    ) -> Adopted:
        """Build the collection and swap it in once it is complete. Repeat an interrupted adoption to continue it.

        Args:
            job: the job of our collection.
            build: the same job for the collection `target`.
            rejects: file of the points that cannot be adopted.
            accept_rejects: swap even if there are any.
        """
        check_name(self.name)
        store, target = self._store, build.collection
        report = self.report(self.check_vectors(ensemble))
        if self.swaps:
            manifest = job.manifest(ensemble.models)
            made = store.ensure(replace(manifest, collection=target, base_name=self.name, raw_name=target), job.options)
            if made.collection != target:
                raise ConfigurationError(
                    f"{target} is an alias of {made.collection}, and the new collection needs that name: remove it"
                )
            if made.raw_name != target:  # it was in use before a rollback
                store.write_manifest(replace(made, raw_name=target))
        kept = KeptVectors({model.key: model for model in ensemble.models if model.key in self.have})
        last = receipt = self._pass(build, self.source(kept), rejects, kept.find, ensemble=ensemble, stop=stop)
        chunks = {model.key: model.chunks for model in receipt.models}
        encoded = {key: chunks.get(key, 0) for key in self.have}
        for _ in range(MAX_PASSES):  # what was written to it meanwhile; the last pass verifies that nothing is missing
            if last.stopped or not (last.written or last.updated or last.deleted):
                break
            last = self._pass(build, self.source(), rejects, ensemble=ensemble, stop=stop)
        problem = _problem(last, accept_rejects=accept_rejects, rejects=rejects)
        if problem is None and self.swaps and store.aliases().get(self.name) != self.collection:
            problem = f"the alias {self.name} no longer stands for {self.collection}: point it there, and run it again"
        if problem is None and self.swaps:
            store.write_manifest(replace(store.manifest(target), raw_name=job.collection))
            store.update_notes(target, {ADOPTED_FROM: self.collection})
            store.set_aliases({self.name: target})
        swapped = problem is None and self.swaps
        receipt = replace(receipt, collection=self.name, balanced=last.balanced)
        return replace(report, encoded=encoded, swapped=swapped, problem=problem, receipt=receipt)

    def _pass(
        self, job: Job, source: ForeignDocuments, rejects: Path, find_copies: FindCopies | None = None, **options: Any
    ) -> Receipt:
        with RejectsFile(rejects) as file:
            return run_job(job, [source], store=self._store, rejects=file, find_copies=find_copies, **options)


def _foreign(store: Store, collection: str) -> str:
    """Return the collection of another tool behind a name. Raises `ConfigurationError` if it is ours."""
    own = store.aliases().get(collection, collection)
    try:
        store.manifest(own)
    except ForeignCollectionError:
        return own
    raise ConfigurationError(f"{collection} was made by ingest already: use ingest reindex {collection} for other models")


def _swaps(store: Store, given: str, own: str, name: str) -> bool:
    """Return whether our collection takes the name of the other one. Raises `ConfigurationError` if that is no alias."""
    if name == own:
        raise ConfigurationError(
            f"{name} is the name of the collection itself and no alias, so nothing can be swapped in under it: adopt it under a"
            f" new name (ingest adopt {given} --into NAME) and let your programs search that one"
        )
    return name in store.aliases() and store.aliases()[name] == own


def _found_fields(
    fields: PayloadFields, payloads: Sequence[Mapping[str, Any]], collection: str, *, titles: bool
) -> PayloadFields:
    """Return the fields with those for text and title that were not given. `titles`: whether to look for titles."""
    check_places(payloads, fields, collection)
    if fields.title is not None:
        check_title_field(payloads, fields.title, collection)
    elif titles:
        fields = replace(fields, title=title_field(payloads))
    return fields if fields.text is not None else replace(fields, text=text_field(payloads))


def _check_names(points: Sequence[StoredPoint], have: Mapping[str, str], collection: str) -> None:
    """Raise `ConfigurationError` unless the first points have each vector."""
    names = {name for point in points for name in point.vectors}
    for model, name in have.items():
        if name not in names:
            listed = ", ".join(sorted(each or "one without a name" for each in names)) or "none"
            raise ConfigurationError(f"--have {model}={name}: {collection} has no such vector (it has {listed})")


def _problem(receipt: Receipt, *, accept_rejects: bool, rejects: Path) -> str | None:
    """Return why a collection is not complete, or None."""
    if receipt.stopped:
        return "stopped before the end: run it again to continue"
    if receipt.rejected and not accept_rejects:
        return f"{receipt.rejected:,} documents cannot be adopted, see {rejects}: correct them, or pass --accept-rejects"
    if receipt.written or receipt.updated or not receipt.balanced:
        return "the collection kept changing: run it again when nothing writes to it"
    return None

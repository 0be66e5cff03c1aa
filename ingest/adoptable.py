"""The part of `Collection` that adopts a collection of another tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from ingest.adopt.adoption import Adopted, Adoption
from ingest.adopt.documents import PayloadFields
from ingest.encode.contract import Model
from ingest.encode.ensemble import EncodingOptions, open_ensemble
from ingest.encode.model_config import nearest
from ingest.errors import ConfigurationError
from ingest.parameters import checked, parse_boolean, parse_text
from ingest.searchable import OnProgress, SearchableCollection, Share
from ingest.store.contract import Manifest
from ingest.sync.preview import preview_job


class AdoptableCollection(SearchableCollection):
    """A collection that can be made from one of another tool."""

    def adopt(
        self,
        collection: str | None = None,
        *,
        text_field: str | None = None,
        id_field: str | None = None,
        order_field: str | None = None,
        metadata_field: str | None = None,
        title_field: str | None = None,
        have: Mapping[str, str] | None = None,
        max_delete: Share = Fraction(1, 5),
        dry_run: bool = False,
        accept_rejects: bool = False,
        rejects: str | Path | None = None,
        on_progress: OnProgress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Adopted:
        """Make this collection from one that another tool made, from its payloads. That one is only read, and stays.

        Args:
            collection: its name or alias. None: it has the name of this collection, an alias, which then stands for this one.
            text_field, id_field, order_field, metadata_field, title_field: its payload fields, see `PayloadFields`. Without
                `title_field`, the usual one that it has is taken, or none if vectors are kept (`have`).
            have: model key → name of a vector that the model made, "" for one without a name. It is kept if those of a sample
                that is encoded again are the same.
            max_delete: share of the documents of an earlier adoption that this one may delete, as of a `full` sync. All may go of
                a collection that does not stand for the alias yet.
            dry_run: only say what would be done.
            accept_rejects: take the alias even if some documents cannot be adopted.
            rejects: the rejects file. None: `rejects/NAME.jsonl` in the state folder.

        Repeat an interrupted adoption to continue it. `rollback` gives the alias back. Raises `ConfigurationError` before
        anything is written, and what `run_job` raises.
        """
        path = self._rejects_path(rejects)
        dry_run = checked("dry_run", parse_boolean, dry_run)
        accept_rejects = checked("accept_rejects", parse_boolean, accept_rejects)
        given = self._raw_name if collection is None else checked("collection", parse_text, collection)
        fields = PayloadFields(text_field, id_field, order_field, metadata_field, title_field)
        adoption = Adoption(self.store, given, self.name, fields, have or {})
        stored = None if adoption.swaps else self._stored()
        encoding = self._proven_encoding(stored, self._encoding, adoption.texts)
        models = self._models_with_kept(stored, encoding, adoption.have)
        job = self._job(stored, delete="full", max_delete=1 if adoption.swaps else max_delete)
        build = replace(job, collection=adoption.target(job, models))
        with open_ensemble(models, encoding, monitor=self._monitored(on_progress)) as ensemble:
            if dry_run:
                report = adoption.report(adoption.check_vectors(ensemble))
                preview = preview_job(build, [adoption.source()], store=self.store, models=models)
                for key in adoption.have:
                    preview.chunks.pop(key, None)
                return replace(report, preview=replace(preview, collection=self.name))
            return adoption.run(job, build, ensemble=ensemble, rejects=path, accept_rejects=accept_rejects, stop=stop)

    def _models_with_kept(self, stored: Manifest | None, encoding: EncodingOptions, have: Mapping[str, str]) -> Sequence[Model]:
        """Return the models, those whose vectors are kept in float32, as other tools compute."""
        chosen = {each if isinstance(each, str) else each.key: each for each in self._models_for(stored)}
        for key in have:
            if key not in chosen:
                raise ConfigurationError(f"--have names {key!r}, which is not among the models: {nearest(key, chosen)}")
        exact = replace(encoding, backend_options=replace(encoding.backend_options, backend="torch", precision="float32"))
        kept = {key: model for key in have for model in exact.models([chosen[key]])}
        if multi := [key for key, model in kept.items() if model.kind == "multivector"]:
            raise ConfigurationError(f"{multi[0]} makes multivectors, which cannot be kept yet: leave it out of --have")
        return [kept.get(model.key, model) for model in self._model_maker(stored, encoding)()]

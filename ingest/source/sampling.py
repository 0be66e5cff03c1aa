"""The first documents of sources, read before a run for what must be known about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ingest.errors import SourceError
from ingest.records import Document, Rejected, Source
from ingest.source.inputs import reads_once
from ingest.source.usable import usable_records

MAX_RECORDS = 50
MAX_CHARACTERS = 200_000


class SampledSources:
    """Sources, and a sample of their documents that is read when it is needed.

    Attributes:
        sources: the sources to read afterwards. One that can be read only once begins with its part of the sample.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)

    def texts(self) -> list[str]:
        """Return the texts of the first documents of each source.

        The sample has about `MAX_RECORDS` records and ends with the document that brings it to `MAX_CHARACTERS`. An unreadable
        source has no part in it: reading it in the run reports the error.
        """
        texts: list[str] = []
        share = max(1, MAX_RECORDS // max(1, len(self.sources)))
        for number, source in enumerate(self.sources):
            records = usable_records(source.read(), source)
            begun = _Begun(source, [], records)
            try:
                for record in islice(records, share):
                    begun.first.append(record)
                    if isinstance(record, Document):
                        texts.append(record.text)
                    if sum(map(len, texts)) >= MAX_CHARACTERS:
                        break
            except SourceError as exc:
                begun.error = exc
            if reads_once(source):
                self.sources[number] = begun
            if sum(map(len, texts)) >= MAX_CHARACTERS:
                break
        return texts


@dataclass(slots=True)
class _Begun:
    """A source whose first records were read already."""

    source: Source
    first: list[Document | Rejected]
    rest: Iterator[Document | Rejected]
    error: SourceError | None = None

    @property
    def name(self) -> str:
        return self.source.name

    def read(self) -> Iterator[Document | Rejected]:
        yield from self.first
        if self.error is not None:
            raise self.error
        yield from self.rest

    def __getattr__(self, name: str) -> Any:
        """Return an optional attribute of the source, except for another way to read it, which would lack the first records."""
        if name in {"read_changed", "read_files"}:
            raise AttributeError(name)
        return getattr(self.source, name)

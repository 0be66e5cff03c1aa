"""The account of a part whose worker died and that another worker read again from its start. Pure.

The second worker finds everything that the first one wrote, and counts it as unchanged. So each worker notes what it is about to
do to a document before it writes any of it. If the second worker reads the document again, the first note counts: only that one
was made before this run had stored anything of the document. A note of something that was never written does no harm, because
the second worker then does exactly that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ingest.sync.account import Tally
from ingest.sync.plan import DocumentPlan, Status
from ingest.sync.reading import PlannedDocument

Accounts = Mapping[str, "DocumentAccount"]
"""Document key → the account of the document."""


@dataclass(frozen=True, slots=True)
class DocumentAccount:
    """The account of one document. The numbers are chunks, as in `Tally`."""

    status: Status
    inserted: int
    written: int
    reused: int


def account_of(plan: DocumentPlan) -> DocumentAccount:
    writes = [action.write for action in plan.actions]
    written = writes.count("point") + writes.count("vectors")
    return DocumentAccount(plan.status, sum(action.new for action in plan.actions), written, len(writes) - written)


def accounts_of(documents: Iterable[PlannedDocument]) -> dict[str, DocumentAccount]:
    return {planned.fingerprints[0].doc_key: account_of(planned.plan) for planned in documents}


def first_accounts(notes: Iterable[Accounts]) -> dict[str, DocumentAccount]:
    """Return the first note of each document."""
    first: dict[str, DocumentAccount] = {}
    for accounts in notes:
        first = {**accounts, **first}
    return first


def correct(tally: Tally, first: Accounts, now: Accounts, read_again: Iterable[str]) -> None:
    """Correct a tally, so that it counts what the run did to the documents instead of what the last worker did.

    Args:
        first: first notes of the workers that died.
        now: accounts of the same documents by the last worker, if it had to write them.
        read_again: keys in `first` that the last worker has read.
    """
    for key in read_again:
        was = first[key]
        counted = now.get(key, DocumentAccount("unchanged", 0, 0, was.written + was.reused))
        for account, sign in ((counted, -1), (was, 1)):
            setattr(tally, account.status, getattr(tally, account.status) + sign)
            tally.chunks_inserted += sign * account.inserted
            tally.chunks_written += sign * account.written
            tally.chunks_reused += sign * account.reused

"""The account of a part whose worker died, and that another has read from its start. Pure.

What the dead one wrote, the other finds stored and counts as unchanged. So each worker notes of each document, before anything of
it is written, what it is about to do to it. Of a document noted and found again, the first note holds: it alone was made when
nothing of this run was stored of it. A note of what was never written does no harm, since the other then does that very thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ingest.sync.account import Tally
from ingest.sync.plan import DocumentPlan, Status
from ingest.sync.reading import PlannedDocument

Accounts = Mapping[str, "DocumentAccount"]
"""Document key → what is done to it."""


@dataclass(frozen=True, slots=True)
class DocumentAccount:
    """What is done to one document; chunks, as in `Tally`."""

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
    """Of each document, the first note."""
    first: dict[str, DocumentAccount] = {}
    for accounts in notes:
        first = {**accounts, **first}
    return first


def correct(tally: Tally, first: Accounts, now: Accounts, found: Iterable[str]) -> None:
    """Counts what the run did to the documents, where `tally` counts what the last worker did.

    Args:
        first: of the documents that workers noted who died.
        now: of those that the last worker had to write.
        found: those of the first that it has read.
    """
    for key in found:
        was = first[key]
        counted = now.get(key, DocumentAccount("unchanged", 0, 0, was.written + was.reused))
        for account, sign in ((counted, -1), (was, 1)):
            setattr(tally, account.status, getattr(tally, account.status) + sign)
            tally.chunks_inserted += sign * account.inserted
            tally.chunks_written += sign * account.written
            tally.chunks_reused += sign * account.reused

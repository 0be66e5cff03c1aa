"""Operations that change a collection. They exist only if the server is writable."""

from __future__ import annotations

import json
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

from starlette.exceptions import HTTPException

from ingest.serve.endpoint import Call, Endpoint
from ingest.serve.schemas import Deleted, DocumentQuery, PushBody, PushReceipt, Reject


async def push_documents(call: Call) -> PushReceipt:
    """Write documents, as a sync of a source of records does that deletes nothing else."""
    body: PushBody = call.body
    documents = [each.model_dump() for each in body.documents]
    turn = _turn(call, body.source)

    def write() -> PushReceipt:
        collection = call.service.served.get(call.path["name"])
        with turn, tempfile.TemporaryDirectory(prefix="ingest-") as folder:
            rejects = Path(folder, "rejects.jsonl")
            receipt = collection.upsert(documents, source=body.source, rejects=rejects)
            return PushReceipt.of(receipt, _rejects(rejects))

    return await call.service.writer.run(write)


async def delete_document(call: Call) -> Deleted:
    """Delete a document."""
    turn = _turn(call, call.query.source)

    def delete() -> Deleted:
        collection = call.service.served.get(call.path["name"])
        with turn:
            return Deleted(collection.name, collection.delete([call.path["doc_id"]], source=call.query.source))

    found = await call.service.writer.run(delete)
    if not found.deleted:
        raise HTTPException(404, "the collection has no such document")
    return found


def _turn(call: Call, source: str | None) -> AbstractContextManager[None]:
    """Return the turn to write a source. It is waited for until half of the time that the request may take has passed."""
    return call.service.served.turns.of_client(source, time.monotonic() + call.service.options.deadline / 2)


def _rejects(file: Path) -> tuple[Reject, ...]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return tuple(Reject(reject["doc_id"], reject["reason"]) for reject in map(json.loads, lines))


_DOCUMENTS = "/v1/collections/{name}/documents"

WRITES = (
    Endpoint("POST", _DOCUMENTS, "Write documents", push_documents, PushReceipt, access="write", body=PushBody),
    Endpoint(
        "DELETE",
        f"{_DOCUMENTS}/{{doc_id:path}}",
        "Delete a document",
        delete_document,
        Deleted,
        access="write",
        query=DocumentQuery,
    ),
)

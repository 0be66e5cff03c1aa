"""`ingest verify`: the real command over a collection that somebody damaged."""

from __future__ import annotations

from pathlib import Path

from command import Outcome, ingest, write_jsonl
from corpus import python_topics

from ingest.records import StoredPoint
from ingest.store import open_store

SPARSE_ONLY = {"INGEST_DENSE": "none"}
"""Loading the dense model takes seconds each time, and it is not the point here."""


def test_damage_is_named_repaired_and_gone(tmp_path: Path, server_url: str, collection: str) -> None:
    records = python_topics(10, characters=300)
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    common = [str(corpus), "-c", collection, "--store", server_url]

    def verify(*arguments: str) -> Outcome:
        return ingest("verify", *common, *arguments, cwd=tmp_path, **SPARSE_ONLY)

    assert ingest("run", *common, cwd=tmp_path, **SPARSE_ONLY).code == 0
    before = _stored(server_url, collection)
    lost, edited = sorted(before)[:2]
    with open_store(server_url) as store:
        store.delete(collection, [lost])
        store.set_payload(collection, {edited: {**before[edited].payload, "text": "Somebody was here."}})

    found = verify("--json")
    assert (found.code, found.json["clean"], found.json["repaired"]) == (1, False, False), found.err
    assert {kind: finding["count"] for kind, finding in found.json["findings"].items()} == {
        "missing_points": 1,
        "damaged_payloads": 1,
    }
    assert lost in found.json["findings"]["missing_points"]["examples"][0]

    told = verify()
    assert (told.code, "--repair" in told.out, before[edited].payload["doc_id"] in told.out) == (1, True, True)

    mended = verify("--repair", "--sample", "all", "--json")
    assert (mended.code, mended.json["repaired"], mended.json["repairs"]["points"]) == (0, True, 2), mended.err
    after = _stored(server_url, collection)
    assert {id_: point.payload for id_, point in after.items()} == {id_: point.payload for id_, point in before.items()}

    clean = verify("--sample", "all")
    assert (clean.code, "clean" in clean.out) == (0, True), clean.err

    write_jsonl(corpus, records[:1])
    braked = verify("--repair", "--json")
    assert (braked.code, len(braked.json["doc_ids"])) == (4, 9)
    assert len(_stored(server_url, collection)) == len(before)


def test_wrong_requests_are_told_apart(tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(2, characters=300))
    missing = ingest("verify", str(corpus), "-c", "nothing", cwd=tmp_path, **SPARSE_ONLY)
    assert (missing.code, "there is no collection nothing" in missing.err) == (1, True)
    nonsense = ingest("verify", str(corpus), "-c", "nothing", "--sample", "some", cwd=tmp_path, **SPARSE_ONLY)
    assert (nonsense.code, "--sample" in nonsense.err) == (2, True)
    assert not (tmp_path / ".ingest" / "qdrant").exists()


def _stored(place: str, collection: str) -> dict[str, StoredPoint]:
    with open_store(place) as store:
        return {point.id: point for point in store.scroll(collection)}


def test_what_was_rejected_was_not_compared(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "A record."}\n{"id": "b"\n')
    assert ingest("run", str(corpus), "-c", "docs", "--max-rejects", "1", cwd=tmp_path, **SPARSE_ONLY).code == 0
    found = ingest("verify", str(corpus), "-c", "docs", cwd=tmp_path, **SPARSE_ONLY)
    assert (found.code, "clean, apart from 1 rejected record:" in found.out) == (0, True), found.out

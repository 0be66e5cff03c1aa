"""A job on Ray leaves what the same job leaves in one process, from every kind of source, and says so in the same receipt."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_cluster import RayBench
from sync_bench import counts, text_of

from ingest.errors import DeletionBrakeError
from ingest.records import Source
from ingest.source import open_source
from ingest.sync.plan import DeleteMode
from ingest.sync.stored_sources import list_sources


def record(number: int, letters: str = "ab") -> dict[str, Any]:
    return {"id": f"d{number}", "text": f"{number} \U0001f600 漢é. {text_of(letters)}", "year": number}


def write_lines(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_bytes("".join(json.dumps(each, ensure_ascii=False) + "\r\n" for each in records).encode())
    return path


def every_kind(folder: Path) -> list[Source]:
    """A folder, JSON Lines with an id that comes again far below and a bad line, Parquet, a database."""
    folder.mkdir()
    notes = folder / "notes"
    notes.mkdir()
    for number in range(8):
        (notes / f"{number}.md").write_text(f"# Note {number}\n\n{text_of('cd')}")
    write_lines(notes / "inner.jsonl", [record(number) for number in range(20)])
    lines = [record(number) for number in range(30)]
    corpus = write_lines(folder / "corpus.jsonl", [*lines, {"id": "bad"}, record(3, "another"), record(99)])
    rows = [record(number, "e") for number in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.parquet", row_group_size=7)
    database = sqlite3.connect(folder / "docs.db")
    with database:
        database.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT)")
        database.executemany("INSERT INTO docs VALUES (?, ?)", [(number, f"{number}. {text_of('f')}") for number in range(50)])
    database.close()
    return [
        open_source(str(notes)),
        open_source(str(corpus)),
        open_source(str(folder / "rows.parquet")),
        open_source(f"sqlite:///{folder}/docs.db", query="SELECT id, text FROM docs WHERE id <> 7"),
    ]


def test_every_kind_of_source_gives_the_very_collection_and_again_encodes_nothing(ray_bench: RayBench, tmp_path: Path) -> None:
    sources = every_kind(tmp_path / "sources")
    alone = ray_bench.alone.run(sources)
    spread = ray_bench.run(sources)
    assert counts(spread) == counts(alone)
    assert counts(spread)["rejected"] == 2
    assert (spread.chunks, spread.errors) == (alone.chunks, alone.errors)
    (model,) = spread.models
    assert 0 < model.chunks <= spread.chunks.written  # equal texts of a window once
    assert ray_bench.stored() == ray_bench.alone.stored()
    rejected = [json.loads(line) for line in (tmp_path / "ray-rejects.jsonl").read_text().splitlines()]
    assert {each["doc_id"] for each in rejected} == {"bad", "d3"}
    assert any("came before in this run" in each["reason"] for each in rejected)

    again = ray_bench.run(sources)
    assert counts(again) == {"read": alone.read, "unchanged": alone.written, "rejected": 2}
    assert (again.models, again.chunks.written) == ((), 0)


def test_the_brake_keeps_what_is_gone_lists_it_and_lets_old_text_go(ray_bench: RayBench, tmp_path: Path) -> None:
    def version(count: int, first: str = "ab") -> list[Source]:
        records = [record(0, first), *(record(number) for number in range(1, count))]
        return [open_source(str(write_lines(tmp_path / "corpus.jsonl", records)))]

    ray_bench.here.run(version(36))
    before = ray_bench.stored()
    with pytest.raises(DeletionBrakeError, match="26 of the 36 documents") as braked:
        ray_bench.run(version(10, "yz"), delete=DeleteMode.FULL)
    assert braked.value.doc_ids == tuple(sorted(f"d{number}" for number in range(10, 36)))
    new = ray_bench.here.stored(doc_id="d0")
    old = {point for point, (payload, _) in before.items() if payload["doc_id"] == "d0"}
    assert not old & new.keys()
    assert {point: each for point, each in ray_bench.stored().items() if point not in new} == {
        point: each for point, each in before.items() if point not in old
    }


def test_a_folder_is_moved_and_when_it_is_emptied_synced_only_with_leave(ray_bench: RayBench, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text(text_of("a"))
    ray_bench.here.run([open_source(str(folder), name="old")])
    moved = ray_bench.run([open_source(str(folder))], moved_from="old")
    assert (counts(moved), moved.moved, moved.models) == ({"read": 1, "unchanged": 1}, 1, ())
    (noted,) = list_sources(ray_bench.store, ray_bench.collection)
    assert (noted.name, noted.location, noted.last_run is not None) == (str(folder), str(folder), True)
    (folder / "a.md").unlink()
    with pytest.raises(DeletionBrakeError, match="notes yielded no record"):
        ray_bench.run([open_source(str(folder))], delete=DeleteMode.FULL)
    receipt = ray_bench.run([open_source(str(folder))], delete=DeleteMode.FULL, max_delete=1.0)
    assert counts(receipt) == {"deleted": 1}
    assert ray_bench.stored() == {}

"""A job on Ray: the same collection and receipt as in one process, whatever dies. In one file, for one Ray at a time."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import DEADLINE, INGEST, environment, ingest, ingest_process, until, write_jsonl
from qdrant_server import Address
from ray_cluster import (
    Deadly,
    DoublingWorker,
    RayBench,
    dies,
    gcs_address,
    hashed_with_rows,
    misconfigured,
    nothing,
    poisoned,
)
from sync_bench import SyncBench, counts, text_of

from ingest.cluster import connection
from ingest.cluster.connection import cluster_resources, map_in_actors
from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError, SourceError
from ingest.records import Source
from ingest.source import open_source
from ingest.store import open_store
from ingest.sync.plan import DeleteMode
from ingest.sync.stored_sources import list_sources

SETTINGS = {"INGEST_WINDOW_CHUNKS": "4"}


def test_a_run_that_is_stopped_or_killed_is_picked_up_by_the_next(
    request: pytest.FixtureRequest, server: Address, collection: str, tmp_path: Path
) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": f"d{n}", "text": f"{n}. {text_of('ab')}"} for n in range(1600)])
    run = ["run", str(corpus), "--dense", "none", "--store", server.url, "--json"]
    on_ray = [*run, "-c", collection, "--engine", "ray", "--workers", "1"]
    with open_store(server.url) as store:

        def points() -> int:
            return store.count(collection) if collection in store.aliases() else 0

        stopped, out, err = _interrupt(on_ray, signal.SIGTERM, lambda: points() > 0, tmp_path)
        assert stopped == 130, err
        receipt = json.loads(out)
        assert (receipt["stopped"], receipt["balanced"]) == (True, True), err
        assert 0 < receipt["written"] == receipt["read"] < 1600
        written = points()
        assert written >= receipt["written"]

        request.getfixturevalue("ray_address")
        on_ray.extend(["--ray-address", gcs_address()])  # a Ray that is there already, and stays
        killed, _, _ = _interrupt(on_ray, signal.SIGKILL, lambda: points() > written, tmp_path)
        assert killed == -signal.SIGKILL

        for _ in range(10):  # one machine goes on with it as well, and sooner
            last = ingest(*run, "-c", collection, cwd=tmp_path)
            if last.code == 0:  # the workers outlive the killed driver for a moment, and what they write unbalances a receipt
                break
        assert last.code == 0, last.err
        assert last.json["read"] == 1600
        assert last.json["unchanged"] > receipt["written"]
        assert ingest(*run, "-c", f"{collection}_alone", cwd=tmp_path).code == 0
        benches = [SyncBench(store, name, tmp_path) for name in (collection, f"{collection}_alone")]
        assert benches[0].stored() == benches[1].stored()


def _interrupt(command: list[str], number: signal.Signals, ready: Callable[[], bool], folder: Path) -> tuple[int, str, str]:
    """Sends the signal when it is ready; gives the exit code, standard output and standard error."""
    with subprocess.Popen(
        [INGEST, *command], cwd=folder, env=environment(**SETTINGS), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until(ready, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE)
    return process.returncode, out, err


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
    (notes / "prices.csv").write_text(f"id;text;price\n1;{text_of('g')};2.5\n2;{text_of('h')};3.5\n")
    (notes / "left.out").write_text("of an unknown format")
    for path in notes.iterdir():
        os.utime(path, (1_500_000_000,) * 2)  # or a later run would store other versions
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
    alone = ray_bench.alone.run(sources, models=hashed_with_rows())
    spread = ray_bench.run(sources, make_models=hashed_with_rows)
    assert counts(spread) == counts(alone)
    assert counts(spread)["rejected"] == 2
    assert (spread.chunks, spread.errors) == (alone.chunks, alone.errors)
    assert (spread.types, spread.skipped, spread.notes) == (alone.types, alone.skipped, alone.notes)
    assert (spread.types, spread.skipped) == ({"price": "number"}, {".out": 1})
    assert [(model.key, model.kind) for model in spread.models] == [("hash", "dense"), ("rows", "multivector")]
    assert all(0 < model.chunks <= spread.chunks.written for model in spread.models)  # equal texts of a window once
    ray_bench.assert_equal()
    rejected = [json.loads(line) for line in (tmp_path / "ray-rejects.jsonl").read_text().splitlines()]
    assert {each["doc_id"] for each in rejected} == {"bad", "d3"}
    assert any("came before in this run" in each["reason"] for each in rejected)

    again = ray_bench.run(sources, make_models=hashed_with_rows, workers=1)
    assert counts(again) == {"read": alone.read, "unchanged": alone.written, "rejected": 2}
    assert (again.models, again.chunks.written, again.skipped_unread) == ((), 0, 8)


def test_the_brake_keeps_what_is_gone_lists_it_and_lets_old_text_go(ray_bench: RayBench, tmp_path: Path) -> None:
    def version(count: int, first: str = "ab") -> list[Source]:
        records = [record(0, first), *(record(number) for number in range(1, count))]
        return [open_source(str(write_lines(tmp_path / "corpus.jsonl", records)))]

    ray_bench.here.run(version(36))
    before = ray_bench.stored()
    with pytest.raises(DeletionBrakeError, match="26 of the 36 documents") as braked:
        ray_bench.run(version(10, "yz"), delete=DeleteMode.FULL, workers=1)
    assert braked.value.doc_ids == tuple(sorted(f"d{number}" for number in range(10, 36)))
    new = ray_bench.here.stored(doc_id="d0")
    old = {point for point, (payload, _) in before.items() if payload["doc_id"] == "d0"}
    assert not old & new.keys()
    assert {point: each for point, each in ray_bench.stored().items() if point not in new} == {
        point: each for point, each in before.items() if point not in old
    }


def test_when_a_folder_is_emptied_nothing_is_deleted(ray_bench: RayBench, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text(text_of("a"))
    sources = [open_source(str(folder))]
    ray_bench.here.run(sources)
    (folder / "a.md").unlink()
    with pytest.raises(DeletionBrakeError, match="notes yielded no record"):
        ray_bench.run(sources, delete=DeleteMode.FULL, workers=1)
    assert len(ray_bench.stored()) == 1


def corpus(path: Path, numbers: range, letters: str = "ab", **texts: str) -> Path:
    """`texts`: of documents, in place of their own."""
    records = [{"id": f"d{n}", "text": texts.get(f"d{n}", f"{n}. {text_of(letters)}")} for n in numbers]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_part_of_a_worker_that_dies_is_read_again_and_accounted_once(ray_bench: RayBench, tmp_path: Path) -> None:
    """Of a source that has another name than before."""
    path = corpus(tmp_path / "corpus.jsonl", range(60))
    for bench in (ray_bench.here, ray_bench.alone):
        bench.run([open_source(str(path), name="old")])
    kept = {f"d{n}": f"{n}. {text_of('ab')}" for n in range(4, 24)}
    sources = [open_source(str(corpus(path, range(4, 66), "xbc", **kept)))]
    job: dict[str, Any] = {"delete": DeleteMode.FULL, "moved_from": "old"}
    edited = ray_bench.run(sources, open_worker_store=Deadly(ray_bench.url, tmp_path / "died", 3), **job)
    assert (tmp_path / "died").exists()
    alone = ray_bench.alone.run(sources, **job)
    assert counts(edited) == counts(alone) == {"read": 62, "written": 6, "updated": 36, "unchanged": 20, "deleted": 4}
    assert edited.chunks.copied > 0  # how many depends on what other workers have written when one asks the store
    assert (replace(edited.chunks, copied=alone.chunks.copied), edited.moved) == (alone.chunks, alone.moved)
    assert edited.moved > 0
    ray_bench.assert_equal()
    (noted,) = list_sources(ray_bench.store, ray_bench.collection)
    assert (noted.name, noted.location, noted.last_run is not None) == (str(path), str(path), True)


def test_parts_that_fail_are_named_the_others_are_done_and_nothing_is_deleted(ray_bench: RayBench, tmp_path: Path) -> None:
    """One part cannot be read, and one kills every worker that reads it."""
    rows = tmp_path / "rows.parquet"

    def write(documents: int) -> None:
        table = pa.Table.from_pylist([{"id": f"r{number}", "text": text_of("g")} for number in range(documents)])
        pq.write_table(table, rows, row_group_size=10, compression="none", use_dictionary=False)

    write(60)
    ray_bench.here.run([open_source(str(rows))])
    write(40)
    data = bytearray(rows.read_bytes())
    at = data.index(b"r10")
    data[at - 200 : at + 200] = b"\xff" * 400
    rows.write_bytes(data)
    lines = corpus(tmp_path / "corpus.jsonl", range(30), d17="This is poison.")
    sources = [open_source(str(rows)), open_source(str(lines))]
    with pytest.raises(SourceError) as failed:
        ray_bench.run(sources, make_models=poisoned, workers=1, delete=DeleteMode.FULL, max_delete=1.0)
    assert re.search(
        r"2 of 10 parts failed, so nothing was deleted.*row groups 1 to 2 of .*rows\.parquet"
        r".*bytes [\d,]+ to [\d,]+ of .*corpus\.jsonl: 3 workers died while reading it",
        str(failed.value),
    )
    assert len(ray_bench.here.stored(source=str(rows))) == 60
    stored = {payload["doc_id"] for payload, _ in ray_bench.here.stored(source=str(lines)).values()}
    assert {"d0", "d29"} <= stored
    assert "d17" not in stored


def map_numbers(start: Callable[[], None], **options: Any) -> Iterator[int]:
    options = {"workers": 1, "resources": {"num_cpus": 0}, **options}
    return map_in_actors(range(5), DoublingWorker, [start], **options)


@pytest.mark.usefixtures("ray_address")
def test_a_worker_for_which_the_cluster_has_no_room_keeps_nothing_from_the_others() -> None:
    whole = {"num_cpus": cluster_resources()["CPU"]}
    assert sorted(map_numbers(nothing, workers=2, resources=whole)) == [0, 2, 4, 6, 8]


@pytest.mark.usefixtures("ray_address")
def test_workers_that_cannot_start_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="no such model"):
        next(map_numbers(misconfigured))
    monkeypatch.setattr(connection, "MAX_DEATHS", 0)
    with pytest.raises(IngestError, match="workers on Ray keep dying"):
        next(map_numbers(dies))


def test_a_ray_that_does_not_start_is_an_error_not_a_traceback(server: Address, collection: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("where a folder should be")
    corpus = write_jsonl(tmp_path / "docs.jsonl", [record(1)])
    run = ["run", str(corpus), "-c", collection, "--store", server.url, "--dense", "none", "--engine", "ray"]
    outcome = ingest_process(*run, cwd=tmp_path, RAY_TMPDIR=str(tmp_path / "file"))
    assert outcome.code == 1
    assert re.search(r"Ray did not start \(NotADirectoryError: .*\): check memory, disk and RAY_TMPDIR", outcome.err), outcome.err
    assert "Traceback" not in outcome.err

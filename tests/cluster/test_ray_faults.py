"""Workers that die, parts that cannot be read, a driver that is stopped or killed: nothing is lost, doubled or deleted."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray_cluster import Deadly, RayBench, poisoned
from sync_bench import counts, text_of

from ingest.errors import IngestError, SourceError
from ingest.source import open_source
from ingest.sync.plan import DeleteMode


def corpus(path: Path, numbers: range, letters: str = "ab", **texts: str) -> Path:
    """`texts`: of documents, in place of their own."""
    records = [{"id": f"d{n}", "text": texts.get(f"d{n}", f"{n}. {text_of(letters)}")} for n in numbers]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_the_part_of_a_worker_that_dies_is_read_again_and_accounted_once(ray_bench: RayBench, tmp_path: Path) -> None:
    sources = [open_source(str(corpus(tmp_path / "corpus.jsonl", range(60))))]
    for bench in (ray_bench.here, ray_bench.alone):
        bench.run(sources)
    kept = {f"d{n}": f"{n}. {text_of('ab')}" for n in range(4, 24)}
    corpus(tmp_path / "corpus.jsonl", range(4, 66), "xbc", **kept)
    edited = ray_bench.run(sources, open_worker_store=Deadly(ray_bench.url, tmp_path / "died", 3), delete=DeleteMode.FULL)
    assert (tmp_path / "died").exists()
    alone = ray_bench.alone.run(sources, delete=DeleteMode.FULL)
    assert counts(edited) == counts(alone) == {"read": 62, "written": 6, "updated": 36, "unchanged": 20, "deleted": 4}
    assert edited.chunks == alone.chunks
    assert ray_bench.stored() == ray_bench.alone.stored()


def test_a_part_that_cannot_be_read_is_named_and_nothing_is_deleted(ray_bench: RayBench, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"

    def write(documents: int) -> None:
        rows = [{"id": f"d{number}", "text": text_of("g")} for number in range(documents)]
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10, compression="none", use_dictionary=False)

    write(60)
    ray_bench.here.run([open_source(str(path))])
    write(40)
    data = bytearray(path.read_bytes())
    at = data.index(b"d10")
    data[at - 200 : at + 200] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"1 of 4 parts failed, so nothing was deleted.*row groups 1 to 2 of .*rows.parquet"):
        ray_bench.run([open_source(str(path))], delete=DeleteMode.FULL, max_delete=1.0)
    assert len(ray_bench.stored()) == 60


def test_a_part_that_kills_its_workers_is_given_up_and_the_others_are_done(ray_bench: RayBench, tmp_path: Path) -> None:
    path = corpus(tmp_path / "corpus.jsonl", range(30), d17="This is poison.")
    with pytest.raises(IngestError, match=r"1 of 6 parts failed.*bytes [\d,]+ to [\d,]+ of .*3 workers died while reading it"):
        ray_bench.run([open_source(str(path))], make_models=poisoned)
    stored = {payload["doc_id"] for payload, _ in ray_bench.stored().values()}
    assert {"d0", "d29"} <= stored
    assert "d17" not in stored

"""A disk that is full: one sentence, nothing half done, and with room again the next run finishes the work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command import INGEST, Outcome, environment, ingest, write_jsonl
from corpus import python_topics
from sync_bench import SyncBench, counts, document

from ingest.errors import StoreError
from ingest.store.edge.store import EdgeStore

SPARSE_ONLY = ("--dense", "none")


def on_small_disk(script: str, *, disk: Path, size: str, cwd: Path) -> Outcome:
    """Runs a shell script that sees a disk of `size` at `disk`, in a namespace of its own; `$INGEST` is the command."""
    disk.mkdir()
    mount = f"mount -t tmpfs -o size={size} tmpfs {disk}\n"
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-euc", mount + script],
        cwd=cwd,
        env=environment(INGEST=INGEST),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if "unshare: " in done.stderr or "mount: " in done.stderr:
        pytest.fail(f"this test mounts a small disk and may not ({done.stderr.strip()}): allow user namespaces, or be root")
    return Outcome(done.returncode, done.stdout, done.stderr)


def the_error(outcome: Outcome) -> str:
    """The one line that says what was wrong."""
    assert "Traceback" not in outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    return line


def test_a_full_disk_stops_the_embedded_store_in_time_and_with_room_the_run_goes_on(tmp_path: Path) -> None:
    topics = python_topics(79, characters=10_000)
    records = [{"id": f"{topic['id']} {copy}", "text": f"{copy} {topic['text']}"} for copy in range(25) for topic in topics]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    disk, copied = tmp_path / "disk", tmp_path / "copied"
    run = f'"$INGEST" run {corpus} -c docs --dense none --store {disk}/qdrant --json'

    outcome = on_small_disk(
        f"""
        {run} && exit 99
        mount -o remount,size=160m {disk}
        {run}
        mount -o remount,size=1g {disk}
        {run}
        cp -r {disk}/qdrant {copied}
        """,
        disk=disk,
        size="84m",
        cwd=tmp_path,
    )

    assert outcome.code == 0, outcome.err
    assert "MiB free and at least 64 MiB must remain" in the_error(outcome)
    failed, finished, indexed = map(json.loads, outcome.out.splitlines())
    assert (failed["type"], failed["exit_code"]) == ("StoreError", 1)
    assert finished["balanced"]
    assert finished["unchanged"] > 0, "nothing had been written when the disk was full"
    assert outcome.err.count("everything is stored in docs, but its index is not brought up to date") == 1
    assert (indexed["unchanged"], indexed["balanced"]) == (len(records), True)
    assert ingest("run", str(corpus), "-c", "docs", *SPARSE_ONLY, "--store", "peace", cwd=tmp_path).code == 0
    with EdgeStore(copied) as war, EdgeStore(tmp_path / "peace") as peace:
        assert SyncBench(war, "docs", tmp_path).stored() == SyncBench(peace, "docs", tmp_path).stored()


def test_a_store_below_its_reserve_refuses_to_write_and_still_answers(tmp_path: Path) -> None:
    documents = [document(f"d{number}", "ab") for number in range(8)]
    with EdgeStore(tmp_path / "qdrant") as store:
        SyncBench(store, "docs", tmp_path).run(documents)
    with EdgeStore(tmp_path / "qdrant", reserve=2**62) as full:
        bench = SyncBench(full, "docs", tmp_path)
        before = bench.stored()
        with pytest.raises(StoreError, match=r"the disk of .* is full"):
            bench.run([*documents, document("new", "c")])
        assert bench.stored() == before
    with EdgeStore(tmp_path / "qdrant") as store:
        receipt = SyncBench(store, "docs", tmp_path).run([*documents, document("new", "c")])
        assert counts(receipt) == {"read": 9, "written": 1, "unchanged": 8}


def test_no_collection_is_begun_on_a_full_disk(tmp_path: Path) -> None:
    with EdgeStore(tmp_path / "qdrant", reserve=2**62) as full:
        with pytest.raises(StoreError, match=r"the disk of .* is full"):
            SyncBench(full, "docs", tmp_path).run([document("a", "a")])
        assert full.collections() == []


def test_a_rejects_file_on_a_full_disk_is_an_error_that_names_it(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a", "text": "good"}\n' + "not a record\n" * 200)
    disk = tmp_path / "disk"
    outcome = on_small_disk(
        f'"$INGEST" run {corpus} -c docs --dense none --max-rejects 100% --rejects {disk}/rejects.jsonl',
        disk=disk,
        size="8k",
        cwd=tmp_path,
    )
    assert outcome.code == 1
    assert f"the rejects file {disk}/rejects.jsonl cannot be written (No space left on device)" in the_error(outcome)


def test_a_full_disk_under_the_telemetry_is_an_error_not_a_traceback(tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", python_topics(2))
    outcome = ingest("run", str(corpus), "-c", "docs", *SPARSE_ONLY, "--telemetry", "/dev/full", cwd=tmp_path)
    assert outcome.code == 1
    assert "No space left on device" in the_error(outcome)


def test_what_a_run_must_remember_has_no_room_is_an_error_that_says_where(tmp_path: Path) -> None:
    remember = """
import resource, uuid
from ingest.errors import IngestError
from ingest.sync.run_state import SeenDocuments
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    with SeenDocuments() as seen:
        for start in range(0, 10**6, 1000):
            seen.see({str(uuid.UUID(int=number)) for number in range(start, start + 1000)})
except IngestError as error:
    print(error)
"""
    settings = {**os.environ, "SQLITE_TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", remember], capture_output=True, text=True, check=True, env=settings)
    assert "set SQLITE_TMPDIR to another folder" in done.stdout

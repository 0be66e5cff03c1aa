"""Two reindexes of one collection: the second one is refused, unless the first one died."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from reindexing import FEW, KEPT, NEW, OLD, Bench, embedded_bench

from ingest.errors import JobRunningError
from ingest.reindex.exclusive import NOTE, ExclusiveReindex
from ingest.sync.ownership import next_alias
from ingest.testing import HashEncoder

OTHER = HashEncoder("swapped", 16, revision="3")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with embedded_bench(tmp_path, FEW, [KEPT, OLD]) as made:
        yield made


def broken(_old: str, _new: str) -> None:
    raise ZeroDivisionError


def exclusive(bench: Bench) -> ExclusiveReindex:
    return ExclusiveReindex(bench.store, "docs", bench.store.aliases()["docs"], beat=0.02)


@pytest.mark.parametrize("model", [NEW, OTHER])
def test_a_second_reindex_is_refused_and_leaves_the_build_of_the_first(bench: Bench, model: HashEncoder) -> None:
    live = bench.store.aliases()["docs"]
    with pytest.raises(ZeroDivisionError):
        bench.reindex([KEPT, NEW], gate=broken)
    before = bench.store.aliases()
    with exclusive(bench), pytest.raises(JobRunningError, match=f"reindex of docs is under way, in process {os.getpid()} on"):
        bench.reindex([KEPT, model])
    assert bench.store.aliases() == before
    assert bench.store.count(before[next_alias("docs")]) == bench.store.count("docs")
    assert bench.reindex([KEPT, model]).points == bench.store.count(live)
    assert NOTE not in bench.store.notes("docs") | bench.store.notes(live)


@pytest.mark.parametrize(("host", "pid"), [(socket.gethostname(), 2**30), ("another host", 1)])
def test_the_reindex_of_a_process_that_died_is_continued(bench: Bench, host: str, pid: int) -> None:
    bench.store.update_notes("docs", {NOTE: {"token": "its", "host": host, "pid": pid, "beats": 7}})
    with exclusive(bench) as taken:
        taken.check()


def test_a_process_that_was_suspended_meanwhile_does_not_swap(bench: Bench) -> None:
    live = bench.store.aliases()["docs"]

    def gate(_old: str, _new: str) -> None:
        bench.store.update_notes(live, {NOTE: {"token": "another", "host": "another host", "pid": 1, "beats": 0}})

    with pytest.raises(JobRunningError, match="another reindex of docs took over"):
        bench.reindex([KEPT, NEW], gate=gate)
    assert bench.store.aliases()["docs"] == live
    assert bench.store.notes(live)[NOTE]["token"] == "another"

"""A real server that dies, freezes or is not there: a run goes on when it is back, or says what is wrong in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command import ingest, write_jsonl
from faulty_proxy import Fault, FaultyProxy
from qdrant_server import Address, QdrantProcess, free_ports
from sync_bench import SyncBench, counts, document

from ingest.errors import StoreUnavailableError
from ingest.records import Document, Rejected
from ingest.retry import RetryPolicy
from ingest.store import open_store
from ingest.store.contract import Store
from ingest.sync.plan import DeleteMode

QUICK = RetryPolicy(attempts=50, seconds=60.0, first=0.01, longest=0.1)

BEFORE = [document(f"d{number}", "abc"[: 1 + number % 3], year=number) for number in range(600)]
AFTER = [*(document(f"d{number}", "xbc"[: 1 + number % 3], year=number) for number in range(200)), *BEFORE[200:550]]
"""After edits and deletions. Longer than what is looked up together, so that a moment of reading is a moment of the run."""


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[QdrantProcess]:
    """A server that may be killed."""
    with QdrantProcess(tmp_path / "server") as running:
        yield running


@dataclass(slots=True)
class Interrupted:
    """Something happens before its document number `at`; then `happened` is set."""

    at: int
    happens: Callable[[], None]
    name: str = "list"
    happened: threading.Event = field(default_factory=threading.Event)

    def read(self) -> Iterator[Document | Rejected]:
        for number, each in enumerate(AFTER):
            if number == self.at:
                self.happens()
                self.happened.set()
            yield each


class Awaited:
    """A store whose server comes back when it has been missed: after the first request that failed for want of it."""

    def __init__(self, store: Store, come_back: Callable[[], None]) -> None:
        self._store = store
        self._come_back = come_back
        self.missed = 0

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._store, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **options: Any) -> Any:
            try:
                return attribute(*arguments, **options)
            except StoreUnavailableError:
                self.missed += 1
                if self.missed == 1:
                    self._come_back()
                raise

        return call


@pytest.mark.parametrize("at", [0, 260, 549])
def test_the_server_is_killed_and_started_again_in_the_middle_of_a_run(mortal: QdrantProcess, tmp_path: Path, at: int) -> None:
    check_survived(mortal, tmp_path, at, fall=mortal.kill, rise=mortal.start)


def test_the_server_freezes_for_longer_than_a_request_may_take(mortal: QdrantProcess, tmp_path: Path) -> None:
    check_survived(mortal, tmp_path, 260, fall=mortal.pause, rise=mortal.resume)


def check_survived(mortal: QdrantProcess, folder: Path, at: int, *, fall: Callable[[], None], rise: Callable[[], None]) -> None:
    with open_store(mortal.address.url, timeout=1.0, retry=QUICK) as direct:
        peace, war = (SyncBench(direct, name, folder / name) for name in ("peace", "war"))
        peace.run(AFTER)
        war.run(BEFORE)
        source = Interrupted(at, fall)

        def rise_when_down() -> None:
            source.happened.wait()
            rise()

        attempts: list[Awaited] = []

        def awaited(inner: Store) -> Any:
            attempts.append(Awaited(inner, rise_when_down))
            return attempts[-1]

        receipt = war.run([source], store=direct.through(awaited), delete=DeleteMode.FULL)

        assert attempts[0].missed
        assert counts(receipt) == {"read": 550, "updated": 200, "unchanged": 350, "deleted": 50}
        assert war.stored() == peace.stored()


def test_what_was_acknowledged_survives_a_run_that_gave_the_server_up(mortal: QdrantProcess, tmp_path: Path) -> None:
    impatient = RetryPolicy(attempts=2, seconds=5.0, first=0.01, longest=0.02)
    with open_store(mortal.address.url, retry=impatient) as store:
        peace, war = (SyncBench(store, name, tmp_path / name) for name in ("peace", "war"))
        peace.run(AFTER)
        with pytest.raises(StoreUnavailableError, match="gave up after 2 attempts"):
            war.run([Interrupted(520, mortal.kill)])
        mortal.start()
        receipt = war.run(AFTER)
        assert counts(receipt)["unchanged"] > 0
        assert war.stored() == peace.stored()


def test_a_server_that_is_not_there_is_an_error_when_the_time_is_up(tmp_path: Path) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": "a", "text": "A document."}])
    (port,) = free_ports(1)
    arguments = ["run", str(corpus), "-c", "docs", "--dense", "none", "--store", f"http://127.0.0.1:{port}"]

    outcome = ingest(*arguments, cwd=tmp_path, INGEST_RETRY_SECONDS="1")

    assert outcome.code == 1
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error:")]
    assert f"127.0.0.1:{port} cannot be reached" in line
    assert "gave up after" in line
    assert "Traceback" not in outcome.err


def test_a_server_that_is_only_just_coming_up_is_waited_for(tmp_path: Path, server: Address, collection: str) -> None:
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"id": "a", "text": "A document."}])
    with FaultyProxy(server.url, lambda request: Fault.CUT if request.number <= 3 else None) as proxy:
        outcome = ingest("run", str(corpus), "-c", collection, "--dense", "none", "--store", proxy.url, "--json", cwd=tmp_path)
    with open_store(server.url) as store:
        store.drop(collection)
    assert (outcome.code, json.loads(outcome.out)["written"]) == (0, 1), outcome.err

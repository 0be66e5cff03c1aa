"""What is written down about a run, and what never is."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from recording_models import RecordingModel

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.errors import ConfigurationError, ModelError
from ingest.records import Document, Rejected
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.telemetry import MAX_ERRORS, PassReport, ThroughputMonitor, serve_metrics
from ingest.testing import FakeClock, ListSource

SECRET = "xylophone"
REPORT = PassReport(
    key="a",
    kind="dense",
    vector="a",
    dim=4,
    dtype="float32",
    device="cpu",
    backend="torch",
    chunks=10,
    tokens=300,
    padded_tokens=400,
    seconds=2.0,
    swap_seconds=0.5,
    compute_seconds=1.2,
    window=1,
)


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_says_when_by_the_clock_on_the_wall_and_since_the_run_began() -> None:
    clock, wall, stream = FakeClock(50.0), FakeClock(1_700_000_000.0), io.StringIO()
    monitor = ThroughputMonitor(clock=clock, wall_clock=wall, stream=stream)
    monitor.log_lease("acquire", "a", ("cuda:0",), {"cuda:0": 5})
    clock.sleep(1.5)
    wall.sleep(2.5)
    monitor.log_pass(REPORT)
    monitor.log_error("x:1", "broken")
    assert [(line["type"], line["time"], line["at"]) for line in _lines(stream)] == [
        ("lease", 1_700_000_000.0, 0.0),
        ("pass", 1_700_000_002.5, 1.5),
        ("error", 1_700_000_002.5, 1.5),
    ]


def test_a_pass_says_how_fast_it_was_and_what_padding_wasted() -> None:
    stream = io.StringIO()
    monitor = ThroughputMonitor(stream=stream)
    monitor.log_pass(REPORT)
    (line,) = _lines(stream)
    assert (line["chunks"], line["tokens"], line["seconds"]) == (10, 300, 2.0)
    assert (line["tokens_per_second"], line["padding_share"]) == (150.0, 0.25)


def test_passes_of_a_model_add_up() -> None:
    monitor = ThroughputMonitor()
    monitor.log_pass(replace(REPORT, vram_gb=1.5))
    monitor.log_pass(replace(REPORT, vram_gb=1.0))
    (report,) = monitor.model_reports()
    assert (report.chunks, report.tokens, report.seconds) == (20, 600, 4.0)
    assert (report.tokens_per_second, report.padding_share) == (150.0, 0.25)
    assert report.vram_gb == 1.5
    assert (report.computing_share, report.waiting_share, report.moving_share) == (0.6, 0.15, 0.25)
    assert monitor.swap_seconds == 1.0


def test_errors_beyond_the_limit_are_counted() -> None:
    monitor = ThroughputMonitor()
    for number in range(MAX_ERRORS + 3):
        monitor.log_error("x", f"error {number}")
    assert len(monitor.errors) == MAX_ERRORS + 1
    assert monitor.errors[-1] == "… and 3 more"


def test_no_document_text_is_ever_written(tmp_path: Path) -> None:
    def refuse(texts: Sequence[str]) -> None:
        if any("refused" in text for text in texts):
            raise ModelError("cannot be encoded")

    items: list[Document | Rejected] = [
        Document("good", f"{SECRET} good", title=f"{SECRET} title", metadata={"note": SECRET}),
        Document("bad", f"{SECRET} refused"),
        Document("bad", f"{SECRET} twice"),
        Rejected("line 4", "not JSON", raw=f"{SECRET} raw"),
    ]
    stream = io.StringIO()
    monitor = ThroughputMonitor(stream=stream)
    models = [RecordingModel("a", before_batch=refuse)]
    runner = BatchRunner(models, devices=("cpu",), monitor=monitor, lease_directory=tmp_path / "leases")
    with EdgeStore(tmp_path / "qdrant") as store, runner, RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        receipt = run_job(Job("docs"), [ListSource(items)], store=store, ensemble=Ensemble(runner), rejects=rejects)
    assert (receipt.written, receipt.rejected, receipt.balanced) == (1, 3, True)
    assert {line["type"] for line in _lines(stream)} == {"lease", "pass", "error"}
    assert SECRET not in stream.getvalue()
    assert SECRET not in " ".join(receipt.errors)
    assert SECRET in (tmp_path / "rejects.jsonl").read_text()


def test_a_receipt_tells_what_the_runner_observed_in_this_run_alone(tmp_path: Path) -> None:
    """The runner's monitor is the only one: nobody can give a job another, which would have seen nothing."""
    models = [RecordingModel("a"), RecordingModel("b")]
    runner = BatchRunner(models, devices=("cpu",), lease_directory=tmp_path / "leases")
    with EdgeStore(tmp_path / "qdrant") as store, runner, RejectsFile(tmp_path / "rejects.jsonl") as rejects:
        receipts = [
            run_job(Job("docs"), [ListSource([document])], store=store, ensemble=Ensemble(runner), rejects=rejects)
            for document in (Document("one", "A text."), Document("two", "Another."), Document("two", "Another."))
        ]
    for receipt in receipts[:2]:
        assert [(report.key, report.chunks) for report in receipt.models] == [("a", 1), ("b", 1)]
        assert [(event.event, event.model) for event in receipt.lease_events] == [
            (what, key) for key in "ab" for what in ("acquire", "release")
        ]
    assert (receipts[2].unchanged, receipts[2].models, receipts[2].lease_events) == (1, (), ())


def test_a_monitor_starts_a_new_account_for_each_run() -> None:
    clock = FakeClock()
    monitor = ThroughputMonitor(clock=clock)
    clock.now = 5.0
    monitor.log_pass(REPORT)
    monitor.log_lease("acquire", "m", ["cpu"], {})
    monitor.log_error("somewhere", "something")
    monitor.log_documents(7, 5)
    assert monitor.elapsed() == 5.0
    monitor.start()
    assert (monitor.elapsed(), monitor.model_reports(), monitor.lease_events, monitor.swap_seconds) == (0.0, (), (), 0.0)
    assert (monitor.errors, monitor.error_count, monitor.documents) == ((), 0, (0, 0))


def test_prometheus_reads_what_the_monitor_counted() -> None:
    monitor = ThroughputMonitor()
    monitor.log_documents(7, 5)
    monitor.log_lease("acquire", "m", ["cpu"], {})
    monitor.log_error("somewhere", "something")
    with serve_metrics(monitor, 0) as port, urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    assert {
        "ingest_documents_read_total 7.0",
        "ingest_documents_done_total 5.0",
        "ingest_errors_total 1.0",
        'ingest_leases_total{model="m"} 1.0',
    } <= set(text.splitlines())


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with serve_metrics(ThroughputMonitor(), 0) as port, pytest.raises(ConfigurationError, match=str(port)):
        serve_metrics(ThroughputMonitor(), port).__enter__()

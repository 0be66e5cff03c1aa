"""Windows grow while moving models takes too much of the run, and only then."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.encode.ensemble import Ensemble
from ingest.encode.runner import BatchRunner
from ingest.receipt import Receipt
from ingest.store.edge.store import EdgeStore
from ingest.sync.job import Job
from ingest.sync.reading import Window, WindowBounds
from ingest.sync.rejects import RejectsFile
from ingest.sync.run import run_job
from ingest.sync.sizing import SWAP_SHARE, next_bounds
from ingest.telemetry import PassReport, ThroughputMonitor
from ingest.testing import HashEncoder, ListSource, generated_documents

START = WindowBounds(chunks=100, documents=400, bytes=1000)
TWICE = WindowBounds(chunks=200, documents=800, bytes=1000)


@pytest.mark.parametrize(
    ("window", "swap_seconds", "after"),
    [
        pytest.param(Window(chunks=100, read=40), 0.21, TWICE, id="full of chunks, swapping too much"),
        pytest.param(Window(chunks=130, read=40), 10.0, TWICE, id="one step at a time"),
        pytest.param(Window(chunks=3, read=400), 0.21, TWICE, id="full of documents that are mostly unchanged"),
        pytest.param(Window(chunks=100, read=40), 0.20, START, id="swapping just little enough"),
        pytest.param(Window(chunks=100, read=40), 0.0, START, id="not swapping at all"),
        pytest.param(Window(chunks=99, read=40, bytes=1000), 5.0, START, id="cut short by its bytes"),
        pytest.param(Window(chunks=12, read=12), 5.0, START, id="cut short by the end of the source"),
        pytest.param(Window(), 0.0, START, id="empty"),
    ],
)
def test_bounds_after_a_window_of_ten_seconds(window: Window, swap_seconds: float, after: WindowBounds) -> None:
    assert next_bounds(START, window, swap_seconds=swap_seconds, seconds=10.0) == after


def test_growth_ends_where_swapping_costs_under_its_share() -> None:
    """A model that takes 1 s to move and 1 ms a chunk: 49,000 chunks hide the move."""
    bounds = WindowBounds(chunks=2048)
    for _ in range(20):
        window = Window(chunks=bounds.chunks, read=bounds.chunks)
        bounds = next_bounds(bounds, window, swap_seconds=1.0, seconds=1.0 + window.chunks / 1000)
    assert bounds.chunks == 65_536
    assert 1.0 / (1.0 + bounds.chunks / 1000) < SWAP_SHARE


class Sizes(ThroughputMonitor):
    """Keeps the size of every window. Its clock runs `step` seconds with every look."""

    def __init__(self, step: float) -> None:
        super().__init__(clock=itertools.count(step=step).__next__)
        self.chunks: list[int] = []

    def log_pass(self, report: PassReport) -> None:
        self.chunks.append(report.chunks)
        super().log_pass(report)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EdgeStore]:
    with EdgeStore(tmp_path / "qdrant") as opened:
        yield opened


def _run(store: EdgeStore, folder: Path, monitor: Sizes, bounds: WindowBounds) -> Receipt:
    models = [HashEncoder(dim=16)]
    runner = BatchRunner(models, devices=("cpu",), monitor=monitor, lease_directory=folder / "leases")
    with runner, RejectsFile(folder / "rejects.jsonl") as rejects:
        return run_job(
            Job("docs", bounds=bounds),
            [ListSource(list(generated_documents(400, words=5)))],
            store=store,
            ensemble=Ensemble(runner),
            rejects=rejects,
        )


def test_a_run_that_only_swaps_doubles_its_windows_and_says_so(store: EdgeStore, tmp_path: Path) -> None:
    monitor = Sizes(step=1e-9)
    receipt = _run(store, tmp_path, monitor, WindowBounds(chunks=8))
    assert monitor.chunks[0] == 8
    assert sum(monitor.chunks) == 400
    assert set(monitor.chunks[:-1]) <= {8 << times for times in range(6)}
    assert monitor.chunks[:-1] == sorted(monitor.chunks[:-1])
    assert receipt.window > 8
    assert receipt.swap_share > SWAP_SHARE
    assert receipt.balanced


def test_a_run_that_hardly_swaps_keeps_its_windows(store: EdgeStore, tmp_path: Path) -> None:
    monitor = Sizes(step=100.0)
    receipt = _run(store, tmp_path, monitor, WindowBounds(chunks=8))
    assert monitor.chunks == [8] * 50
    assert receipt.window == 8
    assert receipt.swap_share < SWAP_SHARE


def test_no_window_grows_past_its_bytes(store: EdgeStore, tmp_path: Path) -> None:
    """Vectors of 16 dimensions are 64 bytes a chunk, and no text here is longer than 2 × 50."""
    monitor = Sizes(step=1e-9)
    _run(store, tmp_path, monitor, WindowBounds(chunks=8, bytes=12 * 164))
    assert sum(monitor.chunks) == 400
    assert max(monitor.chunks) <= 12 * 164 // 64
    assert monitor.chunks[1:] != [8] * 49

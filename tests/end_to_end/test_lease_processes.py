"""Processes on one host that want the same device."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import groupby, pairwise
from pathlib import Path

import pytest
from lease_soaking import soak
from recording_models import RecordingModel

from ingest.encode.lease import lease_gpus
from ingest.errors import LeaseTimeoutError

TESTS = Path(__file__).parent.parent

PATIENCE_SECONDS = 60.0

HOLD = """
with lease_gpus(RecordingModel("held"), ("cpu",), directory=directory):
    print("holding", flush=True)
    sys.stdin.readline()
"""

QUEUE = """
print("asking", flush=True)
with lease_gpus(RecordingModel("other"), ("cpu",), directory=directory):
    print(json.dumps([time.monotonic()]), flush=True)
    sys.stdin.readline()
    print(json.dumps([time.monotonic()]), flush=True)
"""

WINDOWS = """
from ingest.encode.runner import BatchRunner
from ingest.telemetry import ThroughputMonitor

def compute(texts):
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 30_000)

def break_down(texts):
    compute(texts)
    if texts == ["2"]:
        raise RuntimeError("the driver is gone")

print("ready", flush=True)
sys.stdin.readline()
monitor = ThroughputMonitor(clock=time.monotonic)
offset = time.monotonic() - monitor.elapsed()
models = [RecordingModel(key, before_batch=break_down if key == "broken" else compute) for key in keys]
with suppress(RuntimeError), BatchRunner(models, devices=("cpu",), monitor=monitor, lease_directory=directory) as runner:
    for window in range(5):
        runner.run({key: [f"{window}"] for key in keys})
print(json.dumps([[event.event, event.model, offset + event.at] for event in monitor.lease_events]), flush=True)
"""


@contextmanager
def _process(script: str, directory: Path, *keys: str) -> Iterator[subprocess.Popen[str]]:
    head = (
        "import hashlib, json, sys, time\n"
        "from contextlib import suppress\n"
        "from pathlib import Path\n"
        "from recording_models import RecordingModel\n"
        "from ingest.encode.lease import lease_gpus\n"
        f"directory, keys = Path({str(directory)!r}), {keys!r}\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", head + script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=TESTS.parent,
        env={"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
    ) as process:
        # A test that waits for an answer which never comes must end, too.
        patience = threading.Timer(PATIENCE_SECONDS, process.kill)
        patience.start()
        try:
            yield process
        finally:
            patience.cancel()
            process.kill()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _say(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def test_who_waits_in_vain_learns_who_holds_the_device(directory: Path) -> None:
    with _process(HOLD, directory) as holder:
        assert _answer(holder) == "holding\n"
        with (
            pytest.raises(LeaseTimeoutError, match=rf"cpu is leased by process {holder.pid} on .*model held, since 20\d\d-"),
            lease_gpus(RecordingModel("mine"), ("cpu",), directory=directory, timeout=0.1),
        ):
            pytest.fail("two processes hold one device")


def test_a_killed_holder_frees_its_device_within_a_second(directory: Path) -> None:
    with _process(HOLD, directory) as holder:
        assert _answer(holder) == "holding\n"
        holder.send_signal(signal.SIGKILL)
        with lease_gpus(RecordingModel("mine"), ("cpu",), directory=directory, timeout=1.0) as lease:
            assert len(lease.encoder.encode_documents(["x"])) == 1


def test_whoever_waits_comes_next_even_before_the_one_who_held(directory: Path) -> None:
    model = RecordingModel("mine")
    with ExitStack() as stack:
        with lease_gpus(model, ("cpu",), directory=directory, keep=True) as lease:
            other = stack.enter_context(_process(QUEUE, directory))
            assert _answer(other) == "asking\n"
            while not lease.wanted():
                threading.Event().wait(0.005)
        assert model.journal.events[-1] == ("offload", "mine")
        [began] = json.loads(_answer(other))
        _say(other)
        with lease_gpus(RecordingModel("mine"), ("cpu",), directory=directory) as again:
            [ended] = json.loads(_answer(other))
            assert began < ended
            assert again.wanted() is False


def test_a_device_that_is_kept_idle_goes_to_whoever_asks(directory: Path) -> None:
    model = RecordingModel("mine")
    with lease_gpus(model, ("cpu",), directory=directory, keep=True):
        pass
    assert ("offload", "mine") not in model.journal.events
    with _process(QUEUE, directory) as other:
        assert _answer(other) == "asking\n"
        assert json.loads(_answer(other))
    assert model.journal.events[-1] == ("offload", "mine")


def _keep_leasing(directory: Path) -> None:
    while True:
        with lease_gpus(RecordingModel("mine"), ("cpu",), directory=directory, keep=True, timeout=0.0):
            threading.Event().wait(0.005)


def test_a_kept_device_goes_to_whoever_asks(directory: Path) -> None:
    with _process(QUEUE, directory) as other:
        assert _answer(other) == "asking\n"
        with pytest.raises(LeaseTimeoutError, match=f"process {other.pid}|an unknown process"):
            _keep_leasing(directory)
        assert json.loads(_answer(other))


def test_a_kept_device_whose_lock_file_was_deleted_is_taken_anew(directory: Path) -> None:
    model = RecordingModel("kept")
    with lease_gpus(model, ("cpu",), directory=directory, keep=True):
        pass
    for file in directory.glob("cpu*.lock"):
        file.unlink()
    with _process(HOLD, directory) as other:
        assert _answer(other) == "holding\n"
        with pytest.raises(LeaseTimeoutError), lease_gpus(model, ("cpu",), directory=directory, keep=True, timeout=0.1):
            pass
        _say(other)
    with lease_gpus(model, ("cpu",), directory=directory):
        pass


def _compete(directory: Path, *keys_of_jobs: tuple[str, ...]) -> list[list[tuple[str, str, float]]]:
    """The lease events of each job, all started at once."""
    with ExitStack() as stack:
        jobs = [stack.enter_context(_process(WINDOWS, directory, *keys)) for keys in keys_of_jobs]
        for job in jobs:
            assert _answer(job) == "ready\n"
        for job in jobs:
            _say(job)
        return [[(what, key, at) for what, key, at in json.loads(_answer(job))] for job in jobs]


def _assert_taking_turns(events: list[list[tuple[str, str, float]]]) -> None:
    held = sorted(
        (begin, end, job)
        for job, of_one in enumerate(events)
        for (_, _, begin), (_, _, end) in zip(of_one[::2], of_one[1::2], strict=True)
    )
    assert all(end <= following for (_, end, _), (following, _, _) in pairwise(held))
    turns = [job for job, _ in groupby(job for _, _, job in held)]
    assert len(turns) > 4


def _leases(events: list[tuple[str, str, float]]) -> list[tuple[str, str]]:
    return [(what, key) for what, key, _ in events]


@pytest.mark.parametrize("keys", [("one",), ("one", "two", "three")])
def test_two_jobs_alternate_and_never_hold_the_device_together(directory: Path, keys: tuple[str, ...]) -> None:
    events = _compete(directory, keys, keys)
    for of_one in events:
        assert _leases(of_one) == [(what, key) for _ in range(5) for key in keys for what in ("acquire", "release")]
    _assert_taking_turns(events)


def test_a_job_whose_second_model_breaks_lets_go_and_the_other_job_finishes(directory: Path) -> None:
    broken, whole = _compete(directory, ("one", "broken", "three"), ("one", "two", "three"))
    order = [*("one", "broken", "three") * 2, "one", "broken"]
    assert _leases(broken) == [(what, key) for key in order for what in ("acquire", "release")]
    assert _leases(whole) == [(what, key) for _ in range(5) for key in ("one", "two", "three") for what in ("acquire", "release")]
    _assert_taking_turns([broken, whole])


def test_killed_processes_neither_share_a_gpu_nor_lose_a_lease(tmp_path: Path) -> None:
    found = soak(tmp_path, leases=60, processes=3, kill_every=20)
    assert found.faults == []
    assert found.kills
    assert found.free

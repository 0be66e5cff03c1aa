from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, groupby, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from recording_models import Journal, Passes, RecordingModel, large, vector_of

from ingest.encode.accelerator import current_accelerator
from ingest.encode.batching import AdaptiveBatchController
from ingest.encode.contract import Encoded, Model, RunsOn
from ingest.encode.lease import lease_gpus
from ingest.encode.registry import EnsembleConfig
from ingest.encode.runner import BatchRunner
from ingest.errors import DeviceMemoryError, LeaseTimeoutError, ModelError, ModelUnavailableError, UnknownModelError
from ingest.records import DenseMatrix
from ingest.retry import RetryPolicy
from ingest.telemetry import Progress, ThroughputMonitor
from ingest.testing import FakeAccelerator

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def _runner(models: Sequence[Model], directory: Path, **options: Any) -> BatchRunner:
    """A runner on all GPUs, or on the CPU without any."""
    every = tuple(gpu.name for gpu in current_accelerator().gpus()) or ("cpu",)
    return BatchRunner(models, lease_directory=directory, **{"devices": every, **options})


def _dense(encoded: Encoded) -> DenseMatrix:
    vectors = encoded.vectors
    assert isinstance(vectors, np.ndarray)
    return vectors


def test_rows_come_back_in_the_order_asked(directory: Path) -> None:
    texts = [f"{'word ' * (index % 7 + 1)}{index}" for index in range(300)]
    with _runner([RecordingModel("a", max_tokens=100)], directory) as runner:
        encoded = runner.run({"a": texts})["a"]
    assert _dense(encoded).dtype == np.float32
    assert _dense(encoded).flags.c_contiguous
    assert np.array_equal(_dense(encoded), np.stack([vector_of(text) for text in texts]))
    assert encoded.failed == {}


def test_equal_texts_are_encoded_once(directory: Path) -> None:
    model, monitor = RecordingModel("a"), Passes()
    with _runner([model], directory, monitor=monitor) as runner:
        encoded = runner.run({"a": ["x", "y", "x", "x"]})["a"]
    assert sorted(text for batch in model.journal.batches for text in batch) == ["x", "y"]
    assert np.array_equal(_dense(encoded), np.stack([vector_of(text) for text in "xyxx"]))
    assert monitor.passes[0].chunks == 4


def test_three_models_take_turns_in_configured_order_with_one_lease_a_pass(directory: Path, gpus: FakeAccelerator) -> None:
    journal, monitor = Journal(), ThroughputMonitor()
    models = [large(key, journal, gpus) for key in ("c", "a", "b")]
    with _runner(models, directory, monitor=monitor) as runner:
        runner.run({"a": ["x"], "b": ["x"], "c": ["x"]})
        runner.run({"a": ["y"], "c": ["y"]})
    assert journal.collisions == []
    order = ["c", "a", "b", "c", "a"]
    assert [(event.event, event.model) for event in monitor.lease_events] == [
        (what, key) for key in order for what in ("acquire", "release")
    ]
    moves = [move for move, _ in groupby(journal.events)]
    assert moves == [(what, key) for key in order for what in ("to_device", "offload")]
    times = [event.at for event in monitor.lease_events]
    assert times == sorted(times)


def test_when_the_second_model_breaks_half_way_its_lease_is_released_and_the_third_never_runs(
    directory: Path, devices: tuple[str, ...]
) -> None:
    journal, monitor = Journal(), ThroughputMonitor()
    broken_after = iter([None, RuntimeError("the driver is gone")])

    def break_down(_texts: Sequence[str]) -> None:
        if error := next(broken_after):
            raise error

    models = [
        RecordingModel("a", journal),
        RecordingModel("b", journal, before_batch=break_down, max_tokens=3_000),
        RecordingModel("c", journal),
    ]
    texts = [f"{'word ' * 1500}{index}" for index in range(2)]
    runner = _runner(models, directory, monitor=monitor, controller=AdaptiveBatchController({"b": 2_000}))
    with pytest.raises(RuntimeError, match="the driver is gone"):
        runner.run(dict.fromkeys("abc", texts))
    assert [(event.event, event.model) for event in monitor.lease_events] == [
        ("acquire", "a"),
        ("release", "a"),
        ("acquire", "b"),
        ("release", "b"),
    ]
    with lease_gpus(RecordingModel("next"), devices, directory=directory, timeout=0.0):
        pass


def test_a_model_without_texts_takes_no_lease(directory: Path) -> None:
    monitor = Passes()
    models = [RecordingModel("a"), RecordingModel("b")]
    with _runner(models, directory, monitor=monitor) as runner:
        encoded = runner.run({"a": []})
    assert _dense(encoded["a"]).shape == (0, 4)
    assert set(encoded) == {"a"}
    assert monitor.lease_events == ()
    assert monitor.passes == []


def test_a_key_of_no_member_is_refused(directory: Path) -> None:
    with pytest.raises(UnknownModelError, match="'z'"), _runner([RecordingModel("a")], directory) as runner:
        runner.run({"z": ["x"]})


def test_a_single_model_stays_on_its_device_between_windows(directory: Path) -> None:
    model, monitor = RecordingModel("a"), Passes()
    with _runner([model], directory, monitor=monitor) as runner:
        runner.run({"a": ["x"]})
        runner.run({"a": ["y"]})
        assert ("offload", "a") not in model.journal.events
    assert model.journal.events[-1] == ("offload", "a")
    assert [report.window for report in monitor.passes] == [1, 2]
    assert len(monitor.lease_events) == 4


QUICK = RetryPolicy(attempts=3, first=0, longest=0)


def _failing(*errors: Exception) -> Callable[[Sequence[str]], None]:
    """Raises these errors, one a batch, and then nothing."""
    left = iter(errors)

    def check(_texts: Sequence[str]) -> None:
        if error := next(left, None):
            raise error

    return check


DOWN = ModelUnavailableError("the model server is down")


@pytest.mark.parametrize("error", [DOWN, ConnectionRefusedError(111, "refused"), TimeoutError("no answer")])
def test_a_model_that_is_unavailable_is_asked_again_for_the_same_texts(directory: Path, error: Exception) -> None:
    model = RecordingModel("a", before_batch=_failing(error, error))
    texts = [f"text {index}" for index in range(512)]
    with _runner([model], directory, retry=QUICK) as runner:
        encoded = runner.run({"a": texts})["a"]
    assert encoded.failed == {}
    assert np.array_equal(_dense(encoded), np.stack([vector_of(text) for text in texts]))
    assert model.journal.batches == [texts] * 3


@pytest.mark.parametrize("error", [DOWN, ConnectionResetError(104, "reset")])
def test_a_model_that_stays_unavailable_ends_the_window_without_blaming_a_text(directory: Path, error: Exception) -> None:
    """It is not asked 1,023 times for 512 texts."""
    monitor = ThroughputMonitor()
    model = RecordingModel("a", before_batch=_failing(*[error] * 2000))
    texts = [f"text {index}" for index in range(512)]
    runner = _runner([model], directory, retry=QUICK, monitor=monitor)
    with pytest.raises(ModelUnavailableError, match=r"\(gave up after 3 attempts") as caught:
        runner.run({"a": texts})
    assert caught.value.exit_code == 1
    assert model.journal.batches == [texts] * 3
    assert [event.event for event in monitor.lease_events] == ["acquire", "release"]


@pytest.fixture
def busy(directory: Path) -> Iterator[Path]:
    """Every device of this host is held by somebody else."""
    directory.mkdir()
    with ExitStack() as held:
        for device in ("cpu", "cpu-1", "gpu-fake-0", "gpu-fake-1"):
            held.enter_context(FileLock(directory / f"{device}.lock"))
        yield directory


@pytest.mark.parametrize(
    ("devices", "runs_on", "place"),
    [
        (None, "remote", "remote"),
        (("cpu",), "remote", "remote"),
        (("cpu", "cpu:1"), "remote", "remote"),
        (None, "anywhere", "cpu"),
    ],
)
def test_a_model_that_needs_no_device_waits_for_nobody(
    busy: Path, devices: tuple[str, ...] | None, runs_on: RunsOn, place: str
) -> None:
    model, monitor = RecordingModel("a", runs_on=runs_on), Passes()
    with _runner([model], busy, devices=devices, monitor=monitor, lease_timeout=0.0) as runner:
        assert _dense(runner.run({"a": ["x"]})["a"]).tolist() == [vector_of("x").tolist()]
    assert [report.device for report in monitor.passes] == [place]
    assert {event.devices for event in monitor.lease_events} == {()}
    assert model.journal.places == [place]


@pytest.mark.parametrize("runs_on", ["accelerator", "cpu"])
def test_a_model_that_computes_here_waits_its_turn(busy: Path, runs_on: RunsOn) -> None:
    with _runner([RecordingModel("a", runs_on=runs_on)], busy, lease_timeout=0.0) as runner, pytest.raises(LeaseTimeoutError):
        runner.run({"a": ["x"]})


def test_a_model_that_computes_elsewhere_moves_nobody_from_the_device(directory: Path) -> None:
    journal = Journal()
    models = [RecordingModel("here", journal), RecordingModel("there", journal, runs_on="remote")]
    with _runner(models, directory) as runner:
        for text in "xy":
            runner.run({"here": [text], "there": [text]})
        assert ("offload", "here") not in journal.events


def _out_of_memory_above(budget: int) -> Callable[[Sequence[str]], None]:
    def check(texts: Sequence[str]) -> None:
        if max(len(text.split()) for text in texts) * len(texts) > budget:
            raise torch.OutOfMemoryError("simulated")

    return check


@pytest.mark.parametrize("devices", [("cpu",), ("cpu", "cpu:1")])
def test_running_out_of_memory_shrinks_batches_and_rejects_only_the_impossible_text(
    directory: Path, devices: tuple[str, ...]
) -> None:
    controller = AdaptiveBatchController()
    model = RecordingModel("a", before_batch=_out_of_memory_above(300), max_tokens=1_000)
    texts = [f"{'word ' * (index % 40 + 10)}{index}" for index in range(400)] + ["word " * 500]
    with _runner([model], directory, devices=devices, controller=controller) as runner:
        encoded = runner.run({"a": texts})["a"]
    assert set(encoded.failed) == {400}
    assert "does not fit" in encoded.failed[400]
    assert np.array_equal(_dense(encoded)[:400], np.stack([vector_of(text) for text in texts[:400]]))
    assert not _dense(encoded)[400].any()
    # A learned budget tries, little by little, whether more has come to fit: it may stand just above what does.
    assert min(controller.budget("a", device) for device in devices) < 2 * 300


def _full(device: str) -> Callable[[Sequence[str]], None]:
    def check(_: Sequence[str]) -> None:
        raise torch.OutOfMemoryError(f"another program fills {device}")

    return check


@pytest.mark.parametrize("max_tokens", [None, 100])
def test_a_device_without_memory_for_any_text_is_an_error_and_no_text_is_blamed(directory: Path, max_tokens: int | None) -> None:
    model = RecordingModel("a", before_batch=_full("cpu"), max_tokens=max_tokens)
    with (
        _runner([model], directory) as runner,
        pytest.raises(DeviceMemoryError, match=r" has no memory for even one text of a"),
    ):
        runner.run({"a": ["one", "one two", "one two three"]})


def test_a_text_that_did_not_fit_although_a_longer_one_did_is_not_to_blame(directory: Path) -> None:
    filled = chain([False], repeat(True))

    def fill(_: Sequence[str]) -> None:
        if next(filled):
            raise torch.OutOfMemoryError("another program fills the memory between two batches")

    model = RecordingModel("a", before_batch=fill, max_tokens=100)
    controller = AdaptiveBatchController({"a": 1}, cpu_tokens=1)
    with _runner([model], directory, controller=controller) as runner, pytest.raises(DeviceMemoryError):
        runner.run({"a": ["one two three", "one two", "one"]})


class Activations:
    """Memory that a batch occupies until nothing refers to it."""


def test_a_batch_that_ran_out_of_memory_is_freed_before_the_next(directory: Path, devices: tuple[str, ...]) -> None:
    occupied: list[weakref.ref[Activations]] = []
    alive: list[bool] = []

    def run_out(texts: Sequence[str]) -> None:
        alive.extend(batch() is not None for batch in occupied)
        activations = Activations()
        if len(texts) > 2:
            occupied.append(weakref.ref(activations))
            raise torch.OutOfMemoryError("simulated")

    gc.disable()  # freed at once, not at the next collection
    try:
        with _runner([RecordingModel("a", before_batch=run_out)], directory, devices=devices[:1]) as runner:
            runner.run({"a": list(map(str, range(8)))})
    finally:
        gc.enable()
    assert len(occupied) == 2
    assert not any(alive)


def test_a_text_the_model_refuses_is_set_aside_and_the_rest_goes_on(directory: Path) -> None:
    def refuse(texts: Sequence[str]) -> None:
        if "bad" in texts:
            raise ModelError("not this one")

    model = RecordingModel("a", before_batch=refuse)
    with _runner([model], directory) as runner:
        encoded = runner.run({"a": ["x", "bad", *map(str, range(50)), "bad"]})["a"]
    assert encoded.failed == {1: "not this one", 52: "not this one"}
    assert np.array_equal(_dense(encoded)[0], vector_of("x"))


def test_a_text_over_the_limit_never_reaches_the_model(directory: Path) -> None:
    model = RecordingModel("a", max_tokens=3)
    with _runner([model], directory) as runner:
        encoded = runner.run({"a": ["one two three four", "one two three"]})["a"]
    assert encoded.failed == {0: "4 tokens, more than the 3 of a"}
    assert model.journal.batches == [["one two three"]]


def test_two_devices_give_what_one_gives(directory: Path) -> None:
    texts = [f"{'word ' * (index % 50 + 1)}{index}" for index in range(500)]
    results = []
    for devices in (("cpu",), ("cpu", "cpu:1")):
        with _runner([RecordingModel("a", max_tokens=100)], directory, devices=devices) as runner:
            results.append(_dense(runner.run({"a": texts})["a"]))
    assert np.array_equal(results[0], results[1])


def test_an_error_on_one_device_stops_the_others_and_frees_all(directory: Path) -> None:
    def fail(_texts: Sequence[str]) -> None:
        raise RuntimeError("broken card")

    with (
        pytest.raises(RuntimeError, match="broken card"),
        _runner([RecordingModel("a", before_batch=fail)], directory, devices=("cpu", "cpu:1")) as runner,
    ):
        runner.run({"a": ["x", "y"]})
    with lease_gpus(RecordingModel("b"), ("cpu", "cpu:1"), directory=directory, timeout=0.0):
        pass


def test_a_pass_reports_tokens_and_padding(directory: Path) -> None:
    monitor = Passes()
    with _runner([RecordingModel("a", max_tokens=10)], directory, devices=("cpu",), monitor=monitor) as runner:
        runner.run({"a": [f"{index} two three four" for index in range(9)] + ["one two three", "one two"]})
    report = monitor.passes[0]
    assert (report.key, report.chunks, report.tokens, report.padded_tokens) == ("a", 11, 41, 44)
    assert report.seconds >= report.swap_seconds + report.compute_seconds > report.compute_seconds > 0
    assert (report.dtype, report.device, report.backend, report.dim) == ("float32", "cpu", "recording", 4)


def test_progress_counts_every_encoded_text(directory: Path) -> None:
    seen: list[Progress] = []
    monitor = ThroughputMonitor(on_progress=seen.append)
    monitor.log_documents(3, 1)
    with _runner([RecordingModel("a", max_tokens=9)], directory, monitor=monitor) as runner:
        runner.run({"a": ["x", "y", "x"]})
    assert seen == [Progress(3, 1), Progress(3, 1, "a", 0, 2), Progress(3, 1, "a", 2, 2), Progress(3, 1)]


def test_vectors_of_the_wrong_shape_are_an_error(directory: Path) -> None:
    model = RecordingModel("a")
    model.dim = 5
    with pytest.raises(ModelError, match=r"\(1, 4\) where float32 \(1, 5\)"), _runner([model], directory) as runner:
        runner.run({"a": ["x"]})


def test_without_exclusive_mode_no_other_process_is_shut_out(directory: Path) -> None:
    config = EnsembleConfig(("a",), exclusive_mode=False)
    with _runner([RecordingModel("a")], directory, config=config) as runner:
        runner.run({"a": ["x"]})
        assert list(directory.iterdir()) == []


def test_a_runner_whose_run_failed_beside_a_remote_model_encodes_again(directory: Path) -> None:
    failures = iter([RuntimeError("the driver is gone")])

    def fail_once(_: Sequence[str]) -> None:
        if error := next(failures, None):
            raise error

    models = [RecordingModel("here", before_batch=fail_once), RecordingModel("there", runs_on="remote")]
    with _runner(models, directory) as runner:
        with pytest.raises(RuntimeError, match="the driver is gone"):
            runner.run({"here": ["x"], "there": ["x"]})
        assert _dense(runner.run({"here": ["x"]})["here"]).tolist() == [vector_of("x").tolist()]

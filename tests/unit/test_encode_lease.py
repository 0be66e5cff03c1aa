from __future__ import annotations

import threading
from pathlib import Path

import pytest
from recording_models import Journal, RecordingEncoder, RecordingModel, large

from ingest.encode.holder import command_line
from ingest.encode.lease import give_back, lease_gpus
from ingest.errors import LeaseError, LeaseTimeoutError, ModelError
from ingest.telemetry import ThroughputMonitor
from ingest.testing import FakeAccelerator, use_accelerator

pytestmark = pytest.mark.usefixtures("gpus")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "leases"


def _events(monitor: ThroughputMonitor) -> list[tuple[str, str]]:
    return [(event.event, event.model) for event in monitor.lease_events]


def test_a_lease_hands_out_one_encoder_per_device_and_ends(directory: Path, devices: tuple[str, ...]) -> None:
    model, monitor = RecordingModel("a"), ThroughputMonitor()
    with lease_gpus(model, ("cpu", "cpu:1"), directory=directory, monitor=monitor) as lease:
        assert len(lease.encoders) == 2
        encoder = lease.encoder
        assert len(encoder.encode_documents(["x"])) == 1
        assert not lease.wanted()
    assert model.journal.events == [("to_device", "a"), ("to_device", "a"), ("offload", "a")]
    assert _events(monitor) == [("acquire", "a"), ("release", "a")]
    assert all(event.devices == () and event.vram == {} for event in monitor.lease_events)
    with pytest.raises(LeaseError, match="has ended"):
        encoder.encode_documents(["x"])
    assert lease.get_vram_delta_gb("cpu") == 0.0
    assert lease.summarize()["model"] == "a"
    assert lease.seconds >= lease.swap_seconds


def test_telemetry_names_accelerators_only(directory: Path, devices: tuple[str, ...]) -> None:
    monitor = ThroughputMonitor()
    with (
        use_accelerator(FakeAccelerator()),
        lease_gpus(RecordingModel("a"), ("cuda:0", "cpu"), directory=directory, monitor=monitor),
    ):
        pass
    assert [event.devices for event in monitor.lease_events] == [("cuda:0",), ("cuda:0",)]


def test_the_previous_model_leaves_before_the_next_comes(
    directory: Path, devices: tuple[str, ...], gpus: FakeAccelerator
) -> None:
    journal = Journal()
    for key in ("a", "b"):
        with lease_gpus(large(key, journal, gpus), devices, directory=directory, keep=True):
            pass
    give_back(devices, directory)
    moves = list(dict.fromkeys(journal.events))
    assert moves == [("to_device", "a"), ("offload", "a"), ("to_device", "b"), ("offload", "b")]


def test_a_kept_model_is_not_moved_between_leases_and_a_model_without_accelerator_leaves_it_there(directory: Path) -> None:
    journal = Journal()
    resident, light = RecordingModel("big", journal), RecordingModel("light", journal, runs_on="cpu")
    with use_accelerator(FakeAccelerator()):
        for model in (resident, light, resident):
            with lease_gpus(model, ("cuda:0",), directory=directory, keep=True):
                pass
        assert ("offload", "big") not in journal.events
        give_back(("cuda:0",), directory)
        give_back(("cuda:0",), directory)
    assert journal.events[-1] == ("offload", "big")
    assert journal.events.count(("offload", "big")) == 1


@pytest.mark.parametrize("failure", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), ModelError("m")])
def test_whatever_ends_the_block_the_device_is_free_again(
    directory: Path, devices: tuple[str, ...], failure: BaseException
) -> None:
    journal, monitor = Journal(), ThroughputMonitor()
    with (
        pytest.raises(type(failure)),
        lease_gpus(RecordingModel("a", journal), devices, directory=directory, monitor=monitor, keep=True),
    ):
        raise failure
    assert list(dict.fromkeys(journal.events)) == [("to_device", "a"), ("offload", "a")]
    assert _events(monitor) == [("acquire", "a"), ("release", "a")]
    with lease_gpus(RecordingModel("b"), devices, directory=directory, timeout=0.0):
        pass


def test_a_model_that_cannot_be_placed_leaves_the_device_free(directory: Path, devices: tuple[str, ...]) -> None:
    class Broken(RecordingModel):
        def to_device(self, device: str) -> RecordingEncoder:
            raise ModelError("no weights")

    monitor = ThroughputMonitor()
    with pytest.raises(ModelError, match="no weights"), lease_gpus(Broken("a"), devices, directory=directory, monitor=monitor):
        pytest.fail("there is no lease without a model")
    assert _events(monitor) == [("acquire", "a"), ("release", "a")]
    with lease_gpus(RecordingModel("b"), devices, directory=directory, timeout=0.0):
        pass


def test_a_model_is_read_from_disk_before_its_device_is_waited_for(directory: Path, devices: tuple[str, ...]) -> None:
    class Unreadable(RecordingModel):
        def load(self) -> None:
            raise ModelError("no weights")

    monitor = ThroughputMonitor()
    with (
        lease_gpus(RecordingModel("a"), devices, directory=directory),
        pytest.raises(ModelError, match="no weights"),
        lease_gpus(Unreadable("b"), devices, directory=directory, monitor=monitor),
    ):
        pytest.fail("there is no lease without a model")
    assert _events(monitor) == []


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_thread_cannot_take_a_second_lease(directory: Path, devices: tuple[str, ...], exclusive: bool) -> None:
    with (
        lease_gpus(RecordingModel("a"), devices, directory=directory, exclusive=exclusive),
        pytest.raises(LeaseError, match="already holds a lease"),
        lease_gpus(RecordingModel("b"), ("cpu:1",), directory=directory),
    ):
        pytest.fail("a nested lease was given")
    with lease_gpus(RecordingModel("c"), devices, directory=directory, timeout=0.0):
        pass


def test_without_devices_there_is_nothing_to_wait_for(directory: Path, devices: tuple[str, ...]) -> None:
    with (
        lease_gpus(RecordingModel("a"), devices, directory=directory),
        lease_gpus(RecordingModel("query"), (), directory=directory, timeout=0.0) as lease,
    ):
        assert len(lease.encoder.encode_queries(["x"])) == 1


def test_a_lease_without_devices_leaves_nothing_to_look_after(directory: Path) -> None:
    before = set(threading.enumerate())
    with lease_gpus(RecordingModel("query"), (), directory=directory, keep=True):
        pass
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("exclusive", [True, False])
def test_threads_of_one_process_take_turns(
    directory: Path, devices: tuple[str, ...], gpus: FakeAccelerator, exclusive: bool
) -> None:
    journal = Journal()

    def work(key: str) -> None:
        for _ in range(20):
            model = large(key, journal, gpus)
            with lease_gpus(model, devices, directory=directory, exclusive=exclusive, keep=True) as lease:
                lease.encoder.encode_documents([key] * 50)

    threads = [threading.Thread(target=work, args=(key,)) for key in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    give_back(devices, directory)
    assert journal.collisions == []
    assert len(journal.batches) == 60
    moves = [event for event in journal.events if event[0] in {"to_device", "offload"}]
    present: set[str] = set()
    for what, key in moves:
        if what == "to_device":
            assert present <= {key}
            present.add(key)
        else:
            present.discard(key)


def test_a_thread_that_waits_in_vain_is_told(directory: Path, devices: tuple[str, ...]) -> None:
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            with lease_gpus(RecordingModel("b"), devices, directory=directory, timeout=0.0):
                pass
        except LeaseTimeoutError as error:
            outcome.append(error)

    with lease_gpus(RecordingModel("a"), devices, directory=directory):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    assert "another thread of this process" in str(outcome[0])


def test_the_lease_directory_is_private(directory: Path, devices: tuple[str, ...]) -> None:
    with lease_gpus(RecordingModel("a"), devices, directory=directory):
        pass
    assert directory.stat().st_mode & 0o777 == 0o700


def test_a_lease_directory_that_cannot_be_made_is_an_error(tmp_path: Path, devices: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(LeaseError, match="cannot create"),
        lease_gpus(RecordingModel("a"), devices, directory=tmp_path / "file" / "x"),
    ):
        pass


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["/usr/bin/ingest", "run", "postgres://me:secret@host/db", "--api-key", "secret"], "ingest run"),
        (["/usr/bin/ingest", "--api-key=secret", "run"], "ingest"),
        (["-c"], "-c"),
        ([], "python"),
    ],
)
def test_the_holder_note_shows_no_arguments(arguments: list[str], shown: str) -> None:
    assert command_line(arguments) == shown

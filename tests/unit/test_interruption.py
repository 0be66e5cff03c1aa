"""The first signal asks for an orderly end, the second does not wait for it."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from ingest.cli.interruption import StopSignals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_stops_at_once(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with StopSignals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        assert number.name in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)


def test_a_signal_ends_a_wait() -> None:
    with StopSignals() as stop:
        messenger = threading.Thread(target=lambda: os.kill(os.getpid(), signal.SIGTERM))
        messenger.start()
        stop.wait(3600)
        messenger.join()
        assert stop()


def test_a_wait_that_nobody_ends_is_over_in_time() -> None:
    with StopSignals() as stop:
        stop.wait(0.001)
        assert not stop()


def test_afterwards_signals_mean_what_they_did() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

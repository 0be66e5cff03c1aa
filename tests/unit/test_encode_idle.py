"""The thread that looks after kept devices."""

from __future__ import annotations

import threading

import pytest

from ingest.encode.idle import IdleWatch


def test_a_watch_that_failed_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    failed, looked = threading.Event(), threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: failed.set())

    def look() -> bool:
        if not failed.is_set():
            raise OSError("the driver is gone")
        looked.set()
        return False

    watch = IdleWatch(look)
    watch.start()
    assert failed.wait(60)
    watch.start()
    assert looked.wait(60)

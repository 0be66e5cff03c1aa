"""What only Linux has is not needed elsewhere."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from ingest.atomic_files import sync_folder
from ingest.encode.holder import default_lease_directory, private_directory
from ingest.process import call_after_fork, is_running, usable_cores
from ingest.serve import socket_file


def test_cores_are_counted_where_the_system_does_not_tell_which_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()


def test_leases_and_rejects_do_without_what_windows_lacks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "getuid")
    monkeypatch.setenv("LOGNAME", "ada")
    assert default_lease_directory().name == "ingest-leases-ada"
    private_directory(tmp_path / "leases")
    monkeypatch.setattr(os, "name", "nt")
    assert is_running(os.getpid())
    sync_folder(tmp_path / "no folder")


def test_a_store_is_served_without_a_socket_file_where_there_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with socket_file.listening_socket(tmp_path) as made:
        assert made == []


def test_a_system_without_fork_is_asked_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork")
    call_after_fork(lambda: pytest.fail("it was called"))


def test_a_store_is_served_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(socket_file, "_OPEN_FILES", tmp_path / "nothing")
    with (
        socket_file.listening_socket(tmp_path) as [made],
        socket_file.short_path(tmp_path) as path,
        socket.socket(socket.AF_UNIX) as client,
    ):
        client.connect(path)
        assert made.accept()
    assert not (tmp_path / socket_file.SOCKET).exists()

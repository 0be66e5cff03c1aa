"""The socket file beside a store: for its owner alone, at any depth of folders, and never left over."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from ingest.errors import StoreError
from ingest.serve.client import search_served
from ingest.serve.socket_file import SOCKET, listening_socket, short_path


def test_a_socket_is_for_its_owner_alone_and_goes_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 40) / "store"
    with listening_socket(folder) as [made]:
        assert stat.S_IMODE((folder / SOCKET).stat().st_mode) == 0o600
        with short_path(folder) as path, socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
        assert made.getsockname()
        with listening_socket(folder) as second:
            assert second == []
        assert (folder / SOCKET).exists()
    assert not (folder / SOCKET).exists()


def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    with short_path(tmp_path) as path, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    assert (tmp_path / SOCKET).exists()
    assert search_served(str(tmp_path), "rules", "x", {}) is None
    with listening_socket(tmp_path) as made:
        assert len(made) == 1


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"serve\.sock cannot be made"), listening_socket(tmp_path / "file"):
        pass


@pytest.mark.parametrize("location", ["http://localhost:1", "https://example.org", "nowhere"])
def test_where_no_process_serves_the_store_there_is_no_answer(location: str) -> None:
    assert search_served(location, "rules", "x", {}) is None

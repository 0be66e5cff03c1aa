"""Starts a real PostgreSQL server for the tests, from Debian's package. It listens on a socket in its folder alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from qdrant_server import wait_until

INSTALLED = Path("/usr/lib/postgresql")
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "timezone": "Europe/Berlin",
}


class NoPostgresqlError(Exception):
    """There is no PostgreSQL on this machine; the message says what to install."""


@contextmanager
def postgresql() -> Iterator[str]:
    """Yield the URL of a running, empty server, without a driver. Raise `NoPostgresqlError`."""
    programs = _programs()
    # PostgreSQL refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
            _let_pass(folder.parent)
        _run([programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", *FAST], user, folder)
        settings = [f"--{key}={value}" for key, value in {**SETTINGS, "unix_socket_directories": name}.items()]
        with (folder / "log").open("ab") as log:
            command = [str(programs / "postgres"), "-D", str(folder / "data"), *settings]
            process = subprocess.Popen(command, user=user, extra_groups=_groups(user), cwd=folder, stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(name, process, folder / "log"), "PostgreSQL to start")
            yield f"postgresql://postgres@/postgres?host={name}"
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait()


FAST = ("--no-locale", "--no-sync", "--no-instructions")


def _programs() -> Path:
    """Return the folder of the newest installed version."""
    versions = sorted(INSTALLED.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not versions:
        raise NoPostgresqlError("the tests need PostgreSQL: install it, on Debian with `apt-get install postgresql`")
    return versions[-1].parent


def _let_pass(folder: Path) -> None:
    """Let other users pass through our folders for temporary files."""
    for each in (folder, *folder.parents):
        if each.stat().st_mode & 0o001:
            break
        each.chmod(each.stat().st_mode | 0o011)


def _groups(user: str | None) -> list[str] | None:
    return [] if user else None


def _run(command: list[Path | str], user: str | None, folder: Path) -> None:
    done = subprocess.run(command, user=user, extra_groups=_groups(user), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NoPostgresqlError(f"PostgreSQL cannot be set up: {done.stderr.strip()}")


def _answers(folder: str, process: subprocess.Popen[bytes], log: Path) -> bool:
    if process.poll() is not None:
        raise NoPostgresqlError(f"PostgreSQL did not start: {log.read_text()}")
    try:
        psycopg.connect(host=folder, user="postgres").close()
    except psycopg.OperationalError:
        return False
    return True

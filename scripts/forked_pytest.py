"""Runs pytest with workers that are forked from one process, which has imported for all of them what most tests need.

    python scripts/forked_pytest.py WORKERS [PYTEST_ARGUMENT…]

Started one by one, each worker would spend 20 seconds of a CPU on the same imports before its first test. pytest-xdist starts its
workers itself: what it starts hands its standard streams to this process, which forks, and waits until the worker has ended.
"""

from __future__ import annotations

import gc
import importlib
import os
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

LIBRARIES = (
    "haystack",
    "hypothesis",
    "langchain_tests.integration_tests",
    "llama_index.core",
    "mcp",
    "openai",
    "playwright.sync_api",
    "psycopg",
    "qdrant_client",
    "ray.dag.compiled_dag_node",
    "s3fs",
    "schemathesis",
    "sentence_transformers",
)
"""Libraries that start no thread when they are imported: a fork would not have it, but the locks that it held."""

JOIN = "--join"

NO_WARNING = "ignore:Module already imported so cannot be rewritten:pytest.PytestAssertRewriteWarning"
"""Some libraries come with plugins of pytest. Their assertions are none of a test's."""


def main() -> int:
    if sys.argv[1] == JOIN:
        join(sys.argv[2], sys.argv[-1])
        return 0
    folder = tempfile.mkdtemp(prefix="workers-")
    path = f"{folder}/socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        start = shlex.join([sys.executable, __file__, JOIN, path])
        options = ["--tx", f"{sys.argv[1]}*popen//python={start}", "-W", NO_WARNING]
        pytest = subprocess.Popen([sys.executable, "-m", "pytest", *options, *sys.argv[2:]])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pytest ends the run
        import_libraries()
        code = fork_workers(listener, pytest.pid)
    if code is not None:
        sys.argv = ["-c"]
        exec(code, {"__name__": "__main__"})
        return 0
    shutil.rmtree(folder)
    return pytest.wait()


def join(path: str, code: str) -> None:
    """Have a process forked that runs the code with the standard streams of this one. Neither outlives the other."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [code.encode()], [0, 1, 2])
        connection.recv(1)  # nothing, once the other end is closed


def import_libraries() -> None:
    gc.disable()  # while modules are imported, hardly anything becomes garbage
    for library in LIBRARIES:
        importlib.import_module(library)
    if threading.active_count() > 1:
        sys.exit(f"error: a library of {__file__} starts threads: {threading.enumerate()}")
    gc.freeze()  # what is imported stays, and a worker need not look through it
    gc.enable()


def fork_workers(listener: socket.socket, pytest: int) -> str | None:
    """Fork a process for each connection. Return in each the code that it is to run; in this one None, once pytest has ended."""
    ended = os.pidfd_open(pytest)
    connections: dict[int, socket.socket] = {}  # of each worker: the process that pytest takes for it
    while True:
        joined = [connection.fileno() for connection in connections.values()]
        ready, _, _ = select.select([ended, listener.fileno(), *connections, *joined], [], [])
        for worker, connection in list(connections.items()):
            if ended in ready or connection.fileno() in ready:  # pytest has ended it
                signal.pidfd_send_signal(worker, signal.SIGKILL)
            if ended in ready or worker in ready:
                os.waitid(os.P_PIDFD, worker, os.WEXITED)
                os.close(worker)
                connections.pop(worker).close()
        if ended in ready:
            os.close(ended)
            return None
        if listener.fileno() in ready:
            connection, _ = listener.accept()
            code, streams, _, _ = socket.recv_fds(connection, 4096, 3)
            pid = os.fork()
            if pid == 0:
                for other in (connection, *connections.values()):
                    other.close()
                become_worker(streams, [ended, *connections])
                return code.decode()
            for stream in streams:
                os.close(stream)
            connections[os.pidfd_open(pid)] = connection


def become_worker(streams: list[int], others: list[int]) -> None:
    """Take over the standard streams, and close them and the others."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for descriptor in (*streams, *others):
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())

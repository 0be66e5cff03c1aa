"""Another process that holds a device, as an ingestion does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parent


@contextmanager
def ingestion_holds(device: str, leases: Path) -> Iterator[int]:
    """Another process has the lease as long as the block lasts; gives its id."""
    script = (
        "import sys; from pathlib import Path\n"
        "from recording_models import RecordingModel\n"
        "from ingest.encode.lease import lease_gpus\n"
        f"with lease_gpus(RecordingModel('ingestion'), [{device!r}], directory=Path({str(leases)!r})):\n"
        "    print('holding', flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    path = {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=path
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "holding\n"
            yield process.pid
        finally:
            process.stdin.close()

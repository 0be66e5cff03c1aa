"""Four processes lease two fake GPUs 2,000 times while they are killed at random. Ends with 1 if a GPU ever had two holders.

.venv/bin/python scripts/lease_soak.py [--leases 2000] [--processes 4] [--kill-every 50] [--seed 1]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from lease_soaking import soak


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--leases", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kill-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        found = soak(
            Path(folder), leases=options.leases, processes=options.processes, kill_every=options.kill_every, seed=options.seed
        )
    print(f"{found.leases} leases, {found.kills} kills, {len(found.faults)} faults in {time.monotonic() - started:.0f} s")
    for fault in found.faults:
        print(fault)
    print("every GPU was free at the end" if found.free else "a GPU was not free at the end")
    sys.exit(bool(found.faults) or not found.free)


if __name__ == "__main__":
    main()

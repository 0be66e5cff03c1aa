"""Print how much pip will download: `pip install --dry-run --quiet --report - PACKAGE | python scripts/download_size.py`."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.request import Request, urlopen


def download_bytes(package: dict[str, Any]) -> int:
    """Return the size of a package of pip's report. Raises `OSError` if its index does not tell."""
    with urlopen(Request(package["download_info"]["url"], method="HEAD"), timeout=10) as answer:
        return int(answer.headers["Content-Length"] or 0)


def main() -> None:
    packages = json.load(sys.stdin)["install"]
    with ThreadPoolExecutor(8) as threads:
        total = sum(threads.map(download_bytes, packages))
    print(f"{total / 1e9:.1f} GB to download, in {len(packages)} packages")


if __name__ == "__main__":
    main()

"""Writes docs/llms.txt and docs/SKILL.md, which language models read, from README.md and the pages of docs/.

python scripts/agents.py            write both
python scripts/agents.py --check    fail if one of them is not what the pages say
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

SKILL_HEAD = """---
name: ingest
description: Keep Qdrant collections equal to documents (folders, files, CSV, Parquet, SQL, object stores) with the command
  `ingest` or the Python package of that name, and search them with dense and sparse vectors. Use it to index documents, to
  search or filter an existing collection, to schedule syncs, and to find out why a run failed.
---
"""

SKILL_RULES = """## Rules

- Add `--json` to any command: one JSON object on standard output, everything else on standard error.
- Run `ingest plan` before `ingest run --delete full`: it lists what would be deleted and changes nothing.
- One process at a time uses the embedded store. For several, run a Qdrant server and pass `--store URL`.
- Each error says what to do; [Troubleshooting](troubleshooting.md) lists them. `ingest doctor --json` describes the machine.
"""


class Entry(NamedTuple):
    """A page in the table of the README: what it is for, and its name and file."""

    purpose: str
    title: str
    file: str


def outputs() -> Mapping[Path, str]:
    """Return path → content of each generated file."""
    return {DOCS / "llms.txt": llms(), DOCS / "SKILL.md": skill()}


def llms() -> str:
    """Return the list of pages in the form of llmstxt.org."""
    readme = _read(ROOT / "README.md")
    lines = [
        "# ingest",
        "",
        f"> {_summary(readme)}",
        "",
        _section(readme, "What it does").rsplit("```\n", 1)[1].strip(),
        "",
        "## Docs",
        "",
    ]
    lines += [f"- [{each.title}]({each.file}): {each.purpose}" for each in _entries(readme)]
    return "\n".join(lines) + "\n"


def skill() -> str:
    """Return a skill for agents: how to use the command line, step by step, and what its exit codes mean."""
    readme, quickstart, operations = _read(ROOT / "README.md"), _read(DOCS / "quickstart.md"), _read(DOCS / "operations.md")
    steps = re.findall(r"^## \d+\. (.+)$", quickstart, re.MULTILINE)
    parts = [SKILL_HEAD, f"# ingest\n\n{_summary(readme)}\n"]
    for number, title in enumerate(steps, start=1):
        body = _section(quickstart, f"{number}. {title}")
        parts.append(f"## {title}\n\n{body}\n")
    parts += [SKILL_RULES, f"## Exit codes\n\n{_table(operations)}\n", "## Pages\n"]
    parts.append("\n".join(f"- [{each.title}]({each.file}): {each.purpose}" for each in _entries(readme)) + "\n")
    return "\n".join(parts)


def _read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _summary(readme: str) -> str:
    """Return the sentence under the title, without links."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", readme.split("\n\n")[1].replace("\n", " "))


def _section(page: str, title: str) -> str:
    """Return what is under a heading of the second level. Raises `ValueError` if the page does not have it."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    if found is None:
        raise ValueError(f"no section {title!r}: change scripts/agents.py with the page")
    return found[1].strip()


def _table(page: str) -> str:
    """Return the first table of a page."""
    return "\n".join(re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)[0].splitlines())


def _entries(readme: str) -> list[Entry]:
    """Return the pages in the order of the table of the README."""
    rows = re.findall(r"^\| ([^|]+) \| (\[.+) \|$", _section(readme, "Documentation"), re.MULTILINE)
    return [
        Entry(purpose, title, file) for purpose, cell in rows for title, file in re.findall(r"\[([^\]]+)\]\(docs/([^)]+)\)", cell)
    ]


def main() -> None:
    for path, content in outputs().items():
        if "--check" in sys.argv:
            if not path.exists() or _read(path) != content:
                sys.exit(f"{path.relative_to(ROOT)} is not up to date: run python scripts/agents.py")
        else:
            path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()

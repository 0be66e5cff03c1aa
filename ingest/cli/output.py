"""Output that every command shares: one JSON object, lines for people, and text that is safe to print."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.errors import DeletionBrakeError, IngestError

Part = tuple[str, str]
"""A part of a line and its style, as rich names styles; an empty one for none."""

_SPACES = re.compile(r"\s+")


def print_json(value: Any) -> None:
    """Print one JSON object on stdout, in UTF-8 whatever the locale is. A lone surrogate is printed as its escape."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        value = _finite(value)
        text = json.dumps(value, ensure_ascii=False)
    data = (text if _is_unicode(text) else json.dumps(value)) + "\n"
    sys.stdout.flush()
    stream = getattr(sys.stdout, "buffer", None)
    if stream is None:  # a text stream that a program put in its place
        sys.stdout.write(data)
    else:
        stream.write(data.encode())
        stream.flush()


def print_line(*parts: Part, indent: str = "") -> None:
    """Print a line of parts. A terminal shows their styles, and wraps the line under its indent; a pipe or file gets the text."""
    if not sys.stdout.isatty() and not os.environ.get("FORCE_COLOR"):
        sys.stdout.write(f"{indent}{''.join(text for text, _ in parts)}\n")
        return
    from rich.text import Text  # noqa: PLC0415  a twentieth of a search, and only terminals need it

    from ingest.cli.terminal import output  # noqa: PLC0415

    console = output()
    for line in Text.assemble(*parts).wrap(console, console.width - len(indent)):
        console.print(Text(indent) + line)


def error_json(error: IngestError) -> dict[str, Any]:
    """Return the JSON object of an error."""
    doc_ids = list(error.doc_ids) if isinstance(error, DeletionBrakeError) else []
    return {"error": str(error), "type": type(error).__name__, "exit_code": error.exit_code, "doc_ids": doc_ids}


def _finite(value: Any) -> Any:
    """Return the value with null for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def describe_counts(receipt: Mapping[str, Any] | None, names: Sequence[str]) -> str:
    """Return the counts of a receipt that are not zero, in the order of `names`: `3 written, 158 unchanged`."""
    return ", ".join(f"{count:,} {name}" for name in names if (count := (receipt or {}).get(name)))


def plain(text: str) -> str:
    """Return text on one line and without control characters, so that no document controls the terminal."""
    return printable(text.strip())


def printable(text: str) -> str:
    """Return a part of a line: each run of white space becomes a blank, and control characters are replaced."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in _SPACES.sub(" ", text))

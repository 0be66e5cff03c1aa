"""What a file is, by its name: the tables of suffixes, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ingest.errors import ConfigurationError
from ingest.source.streams import COMPRESSIONS, Compression

TABLES = ("jsonl", "csv", "tsv", "parquet")
OFFICE = ("pdf", "docx", "pptx", "xlsx")
FORMATS = (*TABLES, "text", "markdown", "html", *OFFICE)
"""What can be asked for by name, beside `code:<language>`; each also with `.gz` or `.zst` behind it."""

_SUFFIXES: Mapping[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".rst": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    **{f".{name}": name for name in OFFICE},
}

# Languages go by the names of their tree-sitter grammars.
_LANGUAGES: Mapping[str, str] = {
    "bash": "sh bash zsh",
    "c": "c h",
    "c_sharp": "cs",
    "clojure": "clj cljs cljc",
    "cpp": "cc cpp cxx hh hpp hxx cu cuh",
    "dart": "dart",
    "elixir": "ex exs",
    "elm": "elm",
    "erlang": "erl hrl",
    "fortran": "f90 f95 f03 f08",
    "fsharp": "fs fsi fsx",
    "go": "go",
    "groovy": "groovy gradle",
    "haskell": "hs",
    "java": "java",
    "javascript": "js jsx mjs cjs",
    "julia": "jl",
    "kotlin": "kt kts",
    "lua": "lua",
    "nim": "nim",
    "objc": "m mm",
    "ocaml": "ml mli",
    "perl": "pl pm",
    "php": "php",
    "powershell": "ps1 psm1",
    "proto": "proto",
    "python": "py pyi",
    "r": "r",
    "ruby": "rb",
    "rust": "rs",
    "scala": "scala sc",
    "solidity": "sol",
    "sql": "sql",
    "swift": "swift",
    "tsx": "tsx",
    "typescript": "ts mts cts",
    "vue": "vue",
    "zig": "zig",
}
_CODE = {f".{suffix}": f"code:{language}" for language, suffixes in _LANGUAGES.items() for suffix in suffixes.split()}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a file is read: one of `FORMATS` or `code:<language>`, and how it is compressed."""

    format: str
    compression: Compression | None = None

    @property
    def is_table(self) -> bool:
        """True where it holds records, False where it is one document."""
        return self.format in TABLES


def kind_of(path: str) -> Kind | None:
    """By the suffixes of its name, whatever their case; None where they say nothing."""
    stem, compression = _without_compression(PurePosixPath(path).name.lower())
    suffix = PurePosixPath(stem).suffix
    found = _SUFFIXES.get(suffix) or _CODE.get(suffix)
    return Kind(found, compression) if found else None


def kind_named(format: str, path: str = "") -> Kind:  # noqa: A002  the users' word
    """What was asked for by name; the compression may still show in the path. Raises `ConfigurationError` for an unknown name."""
    stem, compression = _without_compression(format)
    if stem not in FORMATS and not (stem.startswith("code:") and stem != "code:"):
        raise ConfigurationError(f"no format is called {format!r}: use {', '.join(FORMATS)} or code:<language>")
    return Kind(stem, compression or _without_compression(path.lower())[1])


def _without_compression(name: str) -> tuple[str, Compression | None]:
    for suffix, compression in COMPRESSIONS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), compression
    return name, None

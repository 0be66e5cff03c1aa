"""File formats by name and by suffix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from posixpath import splitext

from ingest.errors import ConfigurationError, MissingExtraError
from ingest.plugins import plugin_names
from ingest.source.streams import COMPRESSIONS, Compression

VALUES = ("json", "yaml", "xml-records")
"""Files that are one value, with records in it."""

TAPS = ("singer", "airbyte")
"""The output of programs that read other systems: records among other messages, one a line."""

LINES = ("jsonl", "csv", "tsv", *TAPS)
"""Tables whose records are read one by one, so that the bytes of each are known."""
TABLES = (*LINES, "parquet", *VALUES)
CONVERTED = (
    *(
        "pdf",
        "docx",
        "pptx",
        "xlsx",
        "odt",
        "odp",
        "ods",
        "rtf",
        "epub",
        "eml",
        "mbox",
        "msg",
        "ipynb",
        "xml",
        "rst",
        "org",
        "asciidoc",
    ),
    *("latex", "subtitles"),
)
FORMATS = (*TABLES, "text", "markdown", "html", *CONVERTED)
"""The format names a user may give, beside `code:<language>` and those of plugins; each may be followed by `.gz` or `.zst`."""

_SUFFIXES: Mapping[str, str] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".json": "json",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".txt": "text",
    ".log": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    **{f".{name}": name for name in CONVERTED if name not in {"latex", "subtitles"}},
    ".docm": "docx",
    ".pptm": "pptx",
    ".xlsm": "xlsx",
    ".adoc": "asciidoc",
    ".tex": "latex",
    ".srt": "subtitles",
    ".vtt": "subtitles",
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
class FileFormat:
    """The format of a file.

    Attributes:
        name: one of `FORMATS`, `code:<language>`, or the name of a plugin.
        compression: the compression around it, if any.
    """

    name: str
    compression: Compression | None = None

    @property
    def is_table(self) -> bool:
        """Return whether the file is a table of records; otherwise it is one document."""
        return self.name in TABLES

    @property
    def is_own(self) -> bool:
        """Return whether the package itself reads files of this format, without a plugin."""
        return self.name in FORMATS or self.name.startswith("code:")

    @property
    def has_lines(self) -> bool:
        """Return whether the size of each record is known as it is read."""
        return self.name in LINES


def format_of_path(path: str) -> FileFormat | None:
    """Return the format that the suffixes of a file name stand for, in any case, or None if they are unknown."""
    stem, compression = _without_compression(path.rpartition("/")[2].lower())
    suffix = splitext(stem)[1]
    name = _SUFFIXES.get(suffix) or _CODE.get(suffix)
    if name is None and suffix[1:] in plugin_names("converter"):
        name = suffix[1:]
    return FileFormat(name, compression) if name else None


def is_built_in(name: str) -> bool:
    """Return whether the package itself reads files of a format or suffix of this name."""
    return name in FORMATS or name.startswith("code:") or f".{name}" in {*_SUFFIXES, *_CODE, *COMPRESSIONS}


def check_parquet(action: str) -> None:
    """Raise `MissingExtraError` if the library for Parquet, which `action` requires, is not installed."""
    if find_spec("pyarrow") is None:
        raise MissingExtraError(f"{action} requires the extra parquet: pip install 'qdrant-ingest[parquet]'")


def as_records(file_format: FileFormat) -> FileFormat:
    """Return the format for reading the records of a file, where XML is one document otherwise."""
    return replace(file_format, name="xml-records") if file_format.name == "xml" else file_format


def format_named(format: str, path: str = "") -> FileFormat:  # noqa: A002  as in `Document.format`
    """Return the format a user named; the path may add a compression. Raise `ConfigurationError` for an unknown name."""
    stem, compression = _without_compression(format)
    if stem not in FORMATS and not (stem.startswith("code:") and stem != "code:"):
        plugins = plugin_names("converter")
        if stem not in plugins:
            raise ConfigurationError(f"no format is called {format!r}: use {', '.join((*FORMATS, *plugins))} or code:<language>")
    return FileFormat(stem, compression or _without_compression(path.lower())[1])


def _without_compression(name: str) -> tuple[str, Compression | None]:
    for suffix, compression in COMPRESSIONS.items():
        if name.endswith(suffix):
            return name.removesuffix(suffix), compression
    return name, None

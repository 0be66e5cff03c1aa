"""What a settings file may not say that nobody named: the `ingest.toml` that happens to lie in the working directory. Pure.

Such a file may come with a downloaded folder or a cloned repository. It may choose models, sources and where they are stored, and
what it asks for is done. It may not run code, learn a key that is not its own, or write outside its folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ingest.errors import ConfigurationError

NAMED_ONLY: Mapping[str, str] = {
    "trust_remote_code": "it would run a model's own code",
    "allow_plain_http_key": "it would send the API key unencrypted",
    "ray_address": "the cluster would get the API key and send back objects that can run code",
}
"""Settings that count only from the command line, the environment or a file that was named, and why."""

_SECRET = re.compile(r"(?<=://)[^/]*@|[?#].*")
"""What of a server's URL no message repeats."""

WHERE_A_KEY_GOES = ("store", "ca_file", "grpc_port")
"""Settings that decide who receives the API key."""


def check_found(values: Mapping[str, Any], file: Path, *, given: Collection[str], store: str, trusted: Collection[str]) -> None:
    """Raise `ConfigurationError` if a settings file that nobody named says what only a named one may.

    Args:
        values: its content.
        given: the settings that the command line or the environment give.
        store, trusted: the store and the models in `trust_remote_code`, as in force.
    """
    for path in _paths(values):
        if path[-1] in NAMED_ONLY:
            raise _refused(file, f"sets {'.'.join(path)}, which counts only if somebody says so ({NAMED_ONLY[path[-1]]})")
    for key in trusted:
        if key in values.get("models", {}):
            raise _refused(file, f"defines the model {key}, whose own code may run (trust_remote_code)")
    for name, place in _written(values):
        if not _inside(place, file.parent):
            raise _refused(file, f"sets {name} to a place outside its folder ({place})")
    if "api_key" in given and store.lower().startswith(("http://", "https://")):
        for name in WHERE_A_KEY_GOES:
            if name in values and name not in given:
                raise _refused(
                    file,
                    f"sets {name}, so INGEST_API_KEY is not sent to {_SECRET.sub('', store)}",
                    f", or set INGEST_{name.upper()} beside the key",
                )


def _refused(file: Path, problem: str, alternative: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"the settings file {file} was found in the working directory, not named, and {problem}: if you trust it, name it with"
        f" --config {file} or INGEST_CONFIG={file}{alternative}"
    )


def _paths(values: Mapping[str, Any], *parents: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key, tables within tables included."""
    for name, value in values.items():
        yield (*parents, name)
        if isinstance(value, Mapping):
            yield from _paths(value, *parents, name)


def _written(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield the settings that name a place where something is written that the file's author can choose, and the place."""
    jobs = {f"jobs.{name}.": job for name, job in values.get("jobs", {}).items()}
    for prefix, table in {"": values, **jobs}.items():
        for name in ("rejects", "jobs_dir"):
            if name in table:
                yield f"{prefix}{name}", Path(table[name])


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())

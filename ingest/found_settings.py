"""The limits on a settings file that was found, not named: the `ingest.toml` in the working directory. Pure.

Such a file may come with a downloaded folder or a cloned repository. It may choose models, sources and the store. It may not run
code, receive a key from elsewhere, or write outside its folder.
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
    "api_key_env": "it would send a key of the environment to an address of its choice",
    "ray_address": "the cluster would get the API key and send back objects that can run code",
}
"""Settings allowed only on the command line, in the environment or in a named file, and why."""

_SECRET = re.compile(r"(?<=://)[^/]*@|[?#].*")
"""The parts of a server's URL that no message repeats."""

KEY_RECIPIENT_SETTINGS = ("store", "ca_file", "grpc_port")
"""Settings that decide which server receives the API key."""


def check_found(values: Mapping[str, Any], file: Path, *, given: Collection[str], store: str, trusted: Collection[str]) -> None:
    """Raise `ConfigurationError` if a settings file that was not named sets what only a named one may.

    Args:
        values: its content.
        given: the settings of the command line and the environment.
        store, trusted: the effective store and `trust_remote_code`.
    """
    for path in _paths(values):
        if path[-1] in NAMED_ONLY:
            raise _refused(file, f"sets {'.'.join(path)}, which is not allowed there ({NAMED_ONLY[path[-1]]})")
    _check_models(values.get("models", {}), file, given=given, trusted=trusted)
    for name, written in _written(values):
        if not _inside(written, file.parent):
            raise _refused(file, f"sets {name} to a path outside its folder ({written})")
    if "api_key" in given and store.lower().startswith(("http://", "https://")):
        for name in KEY_RECIPIENT_SETTINGS:
            if name in values and name not in given:
                raise _refused(
                    file,
                    f"sets {name}, so INGEST_API_KEY is not sent to {_SECRET.sub('', store)}",
                    f", or set INGEST_{name.upper()} beside the key",
                )


def _check_models(models: Mapping[str, Any], file: Path, *, given: Collection[str], trusted: Collection[str]) -> None:
    for key, options in models.items():
        if key in trusted:
            raise _refused(file, f"defines the model {key}, whose own code may run (trust_remote_code)")
        if "url" in options and "models" in given:
            raise _refused(file, f"sets the url of the model {key}, which may get a key that the environment names")


def _refused(file: Path, problem: str, alternative: str = "") -> ConfigurationError:
    return ConfigurationError(
        f"the settings file {file} was found in the working directory, not named, and {problem}: if you trust it, name it with"
        f" --config {file} or INGEST_CONFIG={file}{alternative}"
    )


def _paths(values: Mapping[str, Any], *parents: str) -> Iterator[tuple[str, ...]]:
    """Yield the path of every key, nested tables included."""
    for name, value in values.items():
        yield (*parents, name)
        if isinstance(value, Mapping):
            yield from _paths(value, *parents, name)


def _written(values: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Yield each setting that names a path to write to, and the path."""
    jobs = {f"jobs.{name}.": job for name, job in values.get("jobs", {}).items()}
    for prefix, table in {"": values, **jobs}.items():
        for name in ("rejects", "jobs_dir"):
            if name in table:
                yield f"{prefix}{name}", Path(table[name])


def _inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())

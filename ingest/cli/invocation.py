"""The beginning of every command: read the settings, and open the store that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.retry import RetryPolicy
from ingest.settings import Settings, load_settings

if TYPE_CHECKING:
    from ingest.store.contract import Store


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options before the name of the command."""

    config: Path | None

    def settings(self, **overrides: Any) -> Settings:
        """Return the settings, overridden by the options of the command line; an option that is None was not given."""
        return load_settings(_given(overrides), self.config)


def store_of(settings: Settings, retry: RetryPolicy | None = None) -> Store:
    """Open the store. `retry` takes the place of the policy of the settings, for a user who waits."""
    from ingest.store import open_store  # noqa: PLC0415  commands that may open none do without the engine

    connection = connection_of(settings)
    return open_store(settings.store, **{**connection, "retry": retry or connection["retry"]})


def connection_of(settings: Settings) -> dict[str, Any]:
    """Return how to reach the store, as arguments of `open_store`."""
    return {
        "api_key": settings.api_key.get_secret_value() if settings.api_key else None,
        "ca_file": settings.ca_file,
        "prefer_grpc": settings.prefer_grpc,
        "grpc_port": settings.grpc_port,
        "timeout": settings.timeout,
        "allow_plain_http_key": settings.allow_plain_http_key,
        "retry": retry_of(settings),
    }


def retry_of(settings: Settings) -> RetryPolicy:
    """Return the limits on retries."""
    return RetryPolicy(attempts=settings.retry_attempts, seconds=settings.retry_seconds)


def _given(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not None, nested tables included."""
    given = {}
    for name, value in overrides.items():
        if isinstance(value, Mapping):
            if nested := _given(value):
                given[name] = nested
        elif value is not None:
            given[name] = value
    return given

"""Settings: the only reader of the environment and of `ingest.toml`.

The order, strongest first: command line, environment (`INGEST_…`, nested with `__`, lists with commas), `ingest.toml`,
defaults. Secrets are `SecretStr`.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer

from ingest.errors import ConfigurationError
from ingest.found_settings import check_found
from ingest.parameters import shown
from ingest.redaction import shown_location, shown_option
from ingest.run_settings import CollectionsSettings, JobSettings, RunSettings
from ingest.setting_types import Duration, JobName, Names

DEFAULT_FILE = Path("ingest.toml")
ENVIRONMENT_PREFIX = "INGEST_"
CONFIG_VARIABLE = "INGEST_CONFIG"
"""The environment variable that names the settings file."""

Model = TypeVar("Model", bound=BaseModel)


class Settings(RunSettings):
    """All settings with their defaults. Unknown keys are errors."""

    model_config = ConfigDict(frozen=True, validate_default=True)

    store: str = Field(".ingest/qdrant", description="A folder for the embedded engine, or the URL of a server.")
    api_key: SecretStr | None = Field(None, description="The server's API key or JWT.")
    ca_file: Path | None = Field(None, description="Certificate file of the server's own certificate authority.")
    prefer_grpc: bool | None = Field(
        None, description="Use gRPC instead of REST. Default: if the gRPC port answers (6334, or grpc_port)."
    )
    grpc_port: int | None = Field(None, ge=1, le=65535, description="The server's gRPC port. Default: the URL's port plus one.")
    timeout: float = Field(60.0, gt=0, allow_inf_nan=False, description="Timeout of a request to the server, in seconds.")
    allow_plain_http_key: bool = Field(False, description="Allow sending the API key over plain HTTP to another host.")
    retry_attempts: int = Field(8, ge=1, description="Maximum attempts of a request while the store or a model is unavailable.")
    retry_seconds: float = Field(300.0, gt=0, allow_inf_nan=False, description="Maximum seconds for all attempts of a request.")

    models: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Custom models: tables `[models.NAME]`.")
    trust_remote_code: Names = Field(default_factory=list, description="Models that may run their own code.")
    device: Names = Field(
        default_factory=list,
        description="Devices to lease, such as `cuda:0` or `cpu`. Default: the first GPU, without one the CPU.",
    )
    exclusive_mode: bool = Field(True, description="Lease devices host-wide; off if an orchestrator already owns them.")
    lease_timeout: float = Field(
        3600.0, gt=0, allow_inf_nan=False, description="Maximum seconds to wait for a device that another process has leased."
    )
    gpu_memory_soft_limit_gb: float | None = Field(
        None, gt=0, description="Used GiB of GPU memory at which batches stop growing. Default: 80 % of the GPU's memory."
    )
    cpu_batch_tokens: int = Field(
        2048, ge=16, description="Tokens of a batch on the CPU, padding included. `ingest bench` finds the best value."
    )
    cache_dir: Path = Field(Path("~/.cache/ingest"), description="Folder of the models converted for OpenVINO.")
    lease_dir: Path | None = Field(
        None, description="Folder of the lease files, the same for all processes that share the devices."
    )

    rerank: Literal["auto", "on", "off"] = Field(
        "auto", description="When to rerank: `auto` (if the model is available), `on`, `off`."
    )
    reranker: str = Field("ms-marco-minilm-l6", description="The reranker: a registry key, a folder, or owner/name on the hub.")
    rerank_lease_timeout: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Maximum seconds a query waits for the device before it is reranked on the CPU.",
    )

    max_record_bytes: int = Field(16 * 2**20, ge=1024, description="Maximum bytes of a record or file; a larger one is rejected.")

    window_chunks: int = Field(
        2048, ge=1, description="Initial chunks per window; a window grows if swapping models takes too long."
    )

    collections: CollectionsSettings = Field(CollectionsSettings.model_construct(), description="Table `[collections]`.")

    jobs: dict[JobName, JobSettings] = Field(default_factory=dict, description="The jobs of `ingest sync`: tables `[jobs.NAME]`.")
    jobs_dir: Path = Field(Path(".ingest/jobs"), description="Folder of the locks, status files and rejects of jobs.")
    daemon_host: str = Field(
        "127.0.0.1", description="Address of the daemon's `/healthz` and `/metrics`. They have no authentication."
    )
    daemon_port: int = Field(8712, ge=0, le=65535, description="Port of `/healthz` and `/metrics`; 0 for none.")
    daemon_max_failures: int = Field(3, ge=1, description="Consecutive failures of a job at which `/healthz` returns 503.")
    daemon_grace: Duration = Field(
        3600.0,
        validate_default=False,
        description="Time that a job may be late, or over its time limit, before `/healthz` returns 503.",
    )

    daemon_freshness: Duration = Field(
        900.0,
        validate_default=False,
        description="Time that a change in a watched folder may take to be searchable before `/healthz` returns 503.",
    )

    @field_serializer("store", when_used="json")
    def _without_login(self, store: str) -> str:
        """Serialize the store without a login in its URL, with which no store is opened."""
        return shown_location(store)

    @field_serializer("models", when_used="json")
    def _without_secrets(self, models: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Serialize the options of models without what looks like a key in a wrong place."""
        return {key: {name: shown_option(name, value) for name, value in options.items()} for key, options in models.items()}


def load_settings(overrides: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Return the effective settings.

    Args:
        overrides: the settings of the command line, nested names as nested mappings.
        file: the settings file. The default is the one in `INGEST_CONFIG`, else `ingest.toml` in the working directory if it
            exists, which may not set everything: see `ingest.found_settings`.

    Raises `ConfigurationError` with the key and, for an unknown one, the nearest known key.
    """
    named = file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    values = _read_file(named)
    variables = _read_environment()
    try:
        settings = Settings.model_validate(_merged(_merged(values, variables), overrides))
    except ValidationError as exc:
        raise ConfigurationError(_first_problem(exc)) from exc
    if named is None:
        given = {*overrides, *variables}
        check_found(values, DEFAULT_FILE, given=given, store=settings.store, trusted=settings.trust_remote_code)
    return settings


def job_settings(settings: Settings, name: str) -> Settings:
    """Return the settings of a job: the effective ones with its own, tables merged. Raises `KeyError` for an unknown job."""
    job = settings.jobs[name]
    merged = _overridden(settings, job, RunSettings.model_fields)
    # A weight of a model that this job does not run is meant for other jobs, unless this job sets it.
    weighted = {*merged.dense, *merged.sparse, *merged.multivector, *job.weights}
    return merged.model_copy(update={"weights": {model: weight for model, weight in merged.weights.items() if model in weighted}})


def with_jobs_changed(settings: Settings, names: Iterable[str], **changes: Any) -> Settings:
    """Return the settings with other values of these settings for these jobs."""
    changed = {name: settings.jobs[name].model_copy(update=changes) for name in names}
    return settings.model_copy(update={"jobs": {**settings.jobs, **changed}})


def _overridden(model: Model, own: BaseModel, names: Iterable[str]) -> Model:
    changes: dict[str, Any] = {}
    for name in own.model_fields_set.intersection(names):
        value, under = getattr(own, name), getattr(model, name)
        if isinstance(value, BaseModel):
            changes[name] = _overridden(under, value, type(value).model_fields)
        else:
            changes[name] = {**under, **value} if isinstance(value, dict) else value
    return model.model_copy(update=changes)


def _read_file(named: Path | None) -> dict[str, Any]:
    path = named or DEFAULT_FILE
    if named is None and not path.is_file():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ConfigurationError(f"the settings file {path} is not valid TOML: {exc}") from exc
    except OSError as exc:
        raise ConfigurationError(f"the settings file {path} cannot be read: {exc.strerror}") from exc


def _read_environment() -> dict[str, Any]:
    """Return the settings in the environment. Raises `ConfigurationError` for an unknown `INGEST_` variable."""
    variables = [each for each in os.environ if each.upper().startswith(ENVIRONMENT_PREFIX) and each.upper() != CONFIG_VARIABLE]
    known = [ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields]
    for variable in variables:
        if variable.upper().split("__")[0] not in known:
            hint = nearest_hint(variable.upper(), [*known, CONFIG_VARIABLE])
            raise ConfigurationError(f"unknown setting {variable} in the environment{hint}")
    if not variables:
        return {}
    from ingest.environment_settings import read_environment  # noqa: PLC0415  see there

    return read_environment(Settings, ENVIRONMENT_PREFIX)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of both; where both have a value, that of `over`, and of two tables the values of both."""
    merged = {**under, **over}
    for name in under.keys() & over.keys():
        if isinstance(under[name], Mapping) and isinstance(over[name], Mapping):
            merged[name] = _merged(under[name], over[name])
    return merged


def _first_problem(exc: ValidationError) -> str:
    problem = exc.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {'.'.join(path)}{nearest_hint(path[-1].lower(), _known_keys(path[:-1]))}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] in ("enum", "literal_error"):
        allowed = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        message = f"{shown(problem['input'])} is not one of {allowed}"
    return f"the setting {'.'.join(path)} is wrong: {message}"


def _known_keys(path: Sequence[str]) -> Iterable[str]:
    model: type[BaseModel] = Settings
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if get_args(annotation):  # a table of tables: the next part is the user's name for one
            next(parts, None)
            annotation = get_args(annotation)[-1]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ()
        model = annotation
    return model.model_fields


def nearest_hint(key: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(key, list(known), n=1)
    return f": did you mean {matches[0]}?" if matches else ": ingest --show-settings lists all"

"""Settings: the only reader of the environment and of `ingest.toml`.

The order, strongest first: command line, environment (`INGEST_…`, nested with `__`, lists with commas), `ingest.toml`,
defaults. Secrets are `SecretStr`.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import (
    BaseModel,
    Field,
    SecretStr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from ingest.errors import ConfigurationError
from ingest.found_settings import check_found
from ingest.setting_types import Allowance, Duration, JobName, Locations, Names, Share, Table, Weight

DEFAULT_FILE = Path("ingest.toml")
ENVIRONMENT_PREFIX = "INGEST_"
CONFIG_VARIABLE = "INGEST_CONFIG"
"""Names another settings file; read beside the settings themselves."""

_SECRET_PART = re.compile(r"(?<=://)[^/]*(?=@)|(?<=\?).+=.*")
"""Of a location: user and password, and its query."""

Model = TypeVar("Model", bound=BaseModel)


class FieldsSettings(Table):
    """Which fields of a record hold what, where the field's conventions do not."""

    id: str | None = Field(None, description="Field that holds a record's id (guessed: id, _id, doc_id).")
    text: str | None = Field(None, description="Field that holds its text (guessed: text, content, body, page_content).")
    title: str | None = Field(None, description="Field that holds its title (guessed: title).")


class LayoutSettings(Table):
    """How a collection is laid out when it is made."""

    distance: Literal["cosine", "dot", "euclid", "manhattan"] = Field("cosine", description="How dense vectors are compared.")
    on_disk: bool = Field(False, description="Keep vectors and HNSW on disk instead of in memory.")
    quantization: Literal["none", "scalar", "binary"] = Field("none", description="Compress dense vectors for search.")
    hnsw_m: int = Field(16, ge=0, le=256, description="Links per node of the HNSW graph.")
    hnsw_ef_construct: int = Field(100, ge=4, le=10_000, description="Candidates looked at while building it.")
    shards: int = Field(1, ge=1, description="Shards (server only).")
    replicas: int = Field(1, ge=1, description="Copies of each shard (server only).")
    write_consistency: int = Field(1, ge=1, description="Copies that must acknowledge a write (server only).")


class CollectionsSettings(Table):
    """Names."""

    aliases: dict[str, str] = Field(default_factory=dict, description="Name → the collection it stands for, after normalization.")


class RunSettings(Table):
    """What a run does; a job may set each of these for itself."""

    dense: Names = Field(["all-miniLM-l6"], description="Dense models, by registry key, in the order they run.")
    sparse: Names = Field(["bm25"], description="Sparse models, likewise; `none` for none.")
    weights: dict[str, Weight] = Field(default_factory=dict, description="Model → weight in query-time fusion (1 if not given).")

    backend: Literal["auto", "torch", "openvino"] = Field(
        "auto", description="Who computes on the processor: OpenVINO where it is installed and pays off, or one of the two."
    )
    precision: Literal["int8", "float32"] | None = Field(
        None, description="What OpenVINO computes in (as the collection was made, if not given; a new one in int8)."
    )

    chunk_tokens: int | None = Field(None, ge=8, description="Tokens per chunk at most (what every model takes if not given).")
    chunk_overlap: float = Field(0.0, ge=0, le=0.5, description="Share of a chunk that the next one repeats.")
    fields: FieldsSettings = Field(FieldsSettings(), description="Field mapping: table `[fields]`.")

    delete: Literal["none", "incremental", "full"] = Field("incremental", description="What a run may delete.")
    max_delete: Share = Field(
        "20%",
        description="Share of a source's documents that `full` may delete before the run stops; 5 documents always may.",
    )
    delete_after: Duration | None = Field(
        None,
        description="Grace period: how long `full` keeps missing documents soft-deleted before it purges them. Default: none.",
    )
    max_rejects: Allowance = Field("10%", description="Rejected records, as a share or a number, above which a run exits with 3.")
    rejects: Path | None = Field(None, description="The rejects file (`.ingest/rejects/COLLECTION.jsonl` if not given).")

    layout: LayoutSettings = Field(LayoutSettings(), description="Layout of new collections: table `[layout]`.")

    engine: Literal["local", "ray"] = Field("local", description="Where a run works: in this process, or on a Ray cluster.")
    ray_address: str = Field(
        "local", description="The cluster: `auto` finds the one this host is part of; `local` starts one that ends with the run."
    )
    workers: int | None = Field(
        None, ge=1, description="Workers on Ray (one for each GPU of the cluster, else for each CPU, if not given)."
    )


class JobSettings(RunSettings):
    """What to keep equal to what, and when: a table `[jobs.NAME]`. What it says of a run goes before what is said outside it."""

    source: Locations = Field(description="What to read: one location, or a list.")
    collection: str = Field(description="The collection, in any spelling.")
    name: str | None = Field(None, description="The source's name, part of every id (its absolute location if not given).")
    moved_from: str | None = Field(
        None, description="The source's former name: what is stored under it is taken along, without encoding."
    )
    format: str | None = Field(None, description="What the source holds, where its name does not say it.")
    query: str | None = Field(None, description="The query whose rows are the documents, for an SQL source.")
    schedule: str | None = Field(None, description="When the daemon runs it: a cron expression, in local time.")
    every: Duration | None = Field(None, ge=1, description="… or how long after its last start, such as 15m or 6h.")
    time_limit: Duration | None = Field(
        None, ge=1, description="A run stops after the window in which it has taken this long; the next run continues."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.schedule is not None and self.every is not None:
            raise ValueError("a job has either a schedule or every, not both: take one out")
        if "-" in self.source:
            raise ValueError("a job cannot read standard input: nobody is there to write to it. Name a file")
        return self

    @model_serializer(mode="wrap")
    def _as_given(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What was given alone, since the rest is not the job's, and no passwords: locations may hold them."""
        given = {name: value for name, value in dump(self).items() if name in self.model_fields_set}
        return {**given, "source": [_SECRET_PART.sub("***", location) for location in self.source]}


class Settings(RunSettings, BaseSettings):
    """Every setting there is, with its default. Unknown keys are errors."""

    model_config = SettingsConfigDict(
        extra="forbid", env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", env_ignore_empty=True, frozen=True
    )

    store: str = Field(".ingest/qdrant", description="A folder for the embedded engine, or a server's URL.")
    api_key: SecretStr | None = Field(None, description="The server's API key or JWT.")
    ca_file: Path | None = Field(None, description="Certificate authority of a server with a private one.")
    prefer_grpc: bool | None = Field(
        None, description="Talk gRPC to the server instead of REST; by default where its gRPC port answers (6334, or grpc_port)."
    )
    grpc_port: int | None = Field(
        None, ge=1, le=65535, description="The server's gRPC port (the URL's port plus one if not given)."
    )
    timeout: float = Field(60.0, gt=0, allow_inf_nan=False, description="Seconds a request to the server may take.")
    allow_plain_http_key: bool = Field(False, description="Send the API key over plain HTTP to a host that is not this one.")
    retry_attempts: int = Field(8, ge=1, description="Attempts of each request while the store is unavailable.")
    retry_seconds: float = Field(300.0, gt=0, allow_inf_nan=False, description="Seconds after which such a request is given up.")

    models: dict[str, dict[str, Any]] = Field(default_factory=dict, description="Your own models: tables `[models.NAME]`.")
    trust_remote_code: Names = Field(default_factory=list, description="Models whose own code may run.")
    device: Names = Field(
        default_factory=list,
        description="Devices to lease, such as `cuda:0`, or `cpu` (the first GPU, else the CPU, if not given).",
    )
    exclusive_mode: bool = Field(True, description="Hold devices host-wide; off where an orchestrator already owns them.")
    lease_timeout: float = Field(
        3600.0, gt=0, allow_inf_nan=False, description="Seconds to wait for a device that another process holds."
    )
    gpu_memory_soft_limit_gb: float | None = Field(
        None, gt=0, description="GiB of a card in use beyond which batches stop growing (80 % of it if not given)."
    )
    cpu_batch_tokens: int = Field(
        2048, ge=16, description="Tokens of a batch on the processor, padding included; `ingest bench` finds out."
    )
    cache_dir: Path = Field(Path("~/.cache/ingest"), description="Where models converted for OpenVINO are kept.")
    lease_dir: Path | None = Field(None, description="Where leases are kept: one folder for all who share the devices.")

    rerank: Literal["auto", "on", "off"] = Field("auto", description="Rerank answers: if the model is to be had, always, never.")
    reranker: str = Field("ms-marco-minilm-l6", description="The reranker: a registry key, a folder, or owner/name on the hub.")
    rerank_lease_timeout: float = Field(
        1.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds a question waits for the device before it goes to the processor.",
    )

    max_record_bytes: int = Field(16 * 2**20, ge=1024, description="Bytes of a record or file; a bigger one is rejected.")

    window_chunks: int = Field(
        2048, ge=1, description="Chunks encoded and written together at first; more where swapping models costs too much."
    )

    collections: CollectionsSettings = Field(CollectionsSettings(), description="Table `[collections]`.")

    jobs: dict[JobName, JobSettings] = Field(default_factory=dict, description="What `ingest sync` runs: tables `[jobs.NAME]`.")
    jobs_dir: Path = Field(Path(".ingest/jobs"), description="Where jobs keep their locks, status files and rejects.")
    daemon_host: str = Field(
        "127.0.0.1", description="Address of the daemon's `/healthz` and `/metrics`, open to whoever reaches it."
    )
    daemon_port: int = Field(8712, ge=0, le=65535, description="Their port; 0 for none.")
    daemon_max_failures: int = Field(3, ge=1, description="Failures of a job in a row from which `/healthz` says 503.")
    daemon_grace: Duration = Field(
        3600.0, validate_default=False, description="How late a job may be, or how far over its time limit, before it does."
    )


def load_settings(overrides: Mapping[str, Any], file: Path | None = None) -> Settings:
    """Return the settings in force.

    Args:
        overrides: what the command line said; nested names as nested mappings.
        file: the settings file; if not given, `INGEST_CONFIG`, then `ingest.toml` in the working directory if there is one. The
            latter may not say everything: see `ingest.found_settings`.

    Raises `ConfigurationError` naming the key, its source and, for an unknown key, the nearest known one.
    """
    named = file or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    values = _read_file(named)
    _check_spelling(values)
    given = set(overrides)
    _check_environment()

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic-settings'
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            given.update(env_settings())
            return init_settings, env_settings, InitSettingsSource(settings_cls, init_kwargs=values)

    try:
        settings = Layered(**overrides)
    except ValidationError as exc:
        raise ConfigurationError(_first_problem(exc)) from exc
    except SettingsError as exc:
        raise ConfigurationError(f"a setting in the environment cannot be read ({exc}): tables are written as JSON") from exc
    if named is None:
        check_found(values, DEFAULT_FILE, given=given, store=settings.store, trusted=settings.trust_remote_code)
    return settings


def job_settings(settings: Settings, name: str) -> Settings:
    """The settings of a job: its own where it has them, tables merged, else those in force. Raises `KeyError` for no such job."""
    job = settings.jobs[name]
    merged = _overridden(settings, job, RunSettings.model_fields)
    # A weight of a model that this job does not run is meant for others, unless the job itself gives it.
    meant = {*merged.dense, *merged.sparse, *job.weights}
    return merged.model_copy(update={"weights": {model: weight for model, weight in merged.weights.items() if model in meant}})


def with_max_delete(settings: Settings, names: Iterable[str], max_delete: str) -> Settings:
    """Return the settings with another `max_delete` for these jobs."""
    changed = {name: settings.jobs[name].model_copy(update={"max_delete": max_delete}) for name in names}
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


def _check_spelling(values: Mapping[str, Any]) -> None:
    """Pydantic-settings would take `Store` for `store`, which would get past `check_found`."""
    for key in values:
        if key not in Settings.model_fields:
            raise ConfigurationError(f"unknown setting {key}{nearest_hint(key.lower(), Settings.model_fields)}")


def _check_environment() -> None:
    """An unknown `INGEST_` variable is as much a mistake as an unknown key, and pydantic-settings passes it over."""
    known = {ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}
    for variable in os.environ:
        if variable.upper().startswith(ENVIRONMENT_PREFIX) and variable.upper().split("__")[0] not in known:
            raise ConfigurationError(f"unknown setting {variable} in the environment{nearest_hint(variable.upper(), known)}")


def _first_problem(exc: ValidationError) -> str:
    problem = exc.errors(include_input=False, include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        return f"unknown setting {'.'.join(path)}{nearest_hint(path[-1], _known_keys(path[:-1]))}"
    return f"the setting {'.'.join(path)} is wrong: {problem['msg'].removeprefix('Value error, ')}"


def _known_keys(path: Sequence[str]) -> Iterable[str]:
    model: type[BaseModel] = Settings
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[part].annotation
        if get_args(annotation):  # a table of tables: the next part is a name that the user chose
            next(parts, None)
            annotation = get_args(annotation)[-1]
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ()
        model = annotation
    return model.model_fields


def nearest_hint(key: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(key, list(known), n=1)
    return f": did you mean {matches[0]}?" if matches else ": see ingest --show-settings for those there are"

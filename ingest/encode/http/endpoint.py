"""The configuration of an endpoint: its API, address, limits and price. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from ingest.encode.contract import ModelKind
from ingest.errors import ConfigurationError
from ingest.hosts import is_loopback
from ingest.parameters import (
    InvalidValueError,
    checked,
    optional,
    parse_boolean,
    parse_choice,
    parse_integer,
    parse_number,
    parse_text,
)
from ingest.redaction import VARIABLE

ApiName = Literal["openai", "tei", "ollama", "cohere", "voyage", "jina"]

APIS: Mapping[ModelKind, tuple[ApiName, ...]] = MappingProxyType(
    {"dense": get_args(ApiName), "sparse": ("tei",), "reranker": ("tei", "cohere", "voyage", "jina")}
)
"""The APIs that have an operation for models of a kind."""

_DEFAULT_URLS: Mapping[ApiName, str] = MappingProxyType(
    {
        "openai": "https://api.openai.com/v1",
        "ollama": "http://localhost:11434",
        "cohere": "https://api.cohere.com",
        "voyage": "https://api.voyageai.com/v1",
        "jina": "https://api.jina.ai/v1",
    }
)

_MOST_TEXTS: Mapping[ApiName, int] = MappingProxyType(
    {"openai": 256, "tei": 32, "ollama": 32, "cohere": 96, "voyage": 128, "jina": 128}
)
"""Default texts per request: what the API takes, or fewer where more would only make retries dearer."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An HTTP endpoint that computes a model. It contains no secret.

    Attributes:
        api: the API that it speaks.
        url: base of its URLs, without the path of an operation: `https://api.openai.com/v1`.
        model: the model's name there; "" if the endpoint serves only one.
        api_key_env: name of the environment variable with the API key; None: no key is sent.
        dimensions: dimension to request of a model that can shorten its vectors; None: the model's own.
        batch_texts: maximum number of texts in a request.
        concurrency: maximum number of requests at a time.
        requests_per_minute, tokens_per_minute: limits of the account; None: only those that the endpoint announces.
        price_per_million_tokens: price in any currency, for the costs that a plan says.
        timeout: seconds for one request.
        allow_plain_http_key: whether the key may be sent unencrypted to another machine.
    """

    api: ApiName
    url: str
    model: str = ""
    api_key_env: str | None = None
    dimensions: int | None = None
    batch_texts: int = 0
    concurrency: int = 4
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    price_per_million_tokens: float | None = None
    timeout: float = 60.0
    allow_plain_http_key: bool = False

    @property
    def host(self) -> str:
        """The host, with the port unless it is the scheme's own."""
        parts = urlsplit(self.url)
        name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
        return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"

    @property
    def path(self) -> str:
        """The path below which the operations are."""
        return urlsplit(self.url).path

    @property
    def is_loopback(self) -> bool:
        """Whether the endpoint is on this machine."""
        return is_loopback(urlsplit(self.url).hostname or "")


ENDPOINT_OPTIONS = tuple(field.name for field in fields(Endpoint))
"""The options of a model that only an endpoint has."""


def parse_endpoint(key: str, kind: ModelKind, values: Mapping[str, Any]) -> Endpoint:
    """Return the endpoint of a model. Raises `ConfigurationError`, whose message never repeats a value that may be a secret."""
    api = checked(_named("api", key), parse_choice, values.get("api"), APIS[kind])
    endpoint = Endpoint(
        api=api,
        url=checked(_named("url", key), _parse_url, values.get("url", _DEFAULT_URLS.get(api))),
        model=checked(_named("model", key), parse_text, values["model"]) if "model" in values else "",
        api_key_env=checked(_named("api_key_env", key), optional(_parse_variable), values.get("api_key_env")),
        dimensions=checked(_named("dimensions", key), optional(parse_integer), values.get("dimensions"), least=1),
        batch_texts=checked(_named("batch_texts", key), parse_integer, values.get("batch_texts", _MOST_TEXTS[api]), least=1),
        concurrency=checked(_named("concurrency", key), parse_integer, values.get("concurrency", 4), least=1, most=256),
        requests_per_minute=_number("requests_per_minute", key, values),
        tokens_per_minute=_number("tokens_per_minute", key, values),
        price_per_million_tokens=checked(
            _named("price_per_million_tokens", key), optional(parse_number), values.get("price_per_million_tokens")
        ),
        timeout=checked(_named("timeout", key), parse_number, values.get("timeout", 60.0), positive=True),
        allow_plain_http_key=checked(
            _named("allow_plain_http_key", key), parse_boolean, values.get("allow_plain_http_key", False)
        ),
    )
    if endpoint.dimensions and kind != "dense":
        raise ConfigurationError(f"model {key!r}: dimensions is an option of dense models")
    if not endpoint.model and api != "tei":
        raise ConfigurationError(f"model {key!r}: model, the model's name at the endpoint, is required")
    encrypted = endpoint.url.startswith("https://") or endpoint.is_loopback
    if endpoint.api_key_env and not encrypted and not endpoint.allow_plain_http_key:
        raise ConfigurationError(
            f"model {key!r}: the API key would be sent unencrypted to {endpoint.host}: use https://, or set allow_plain_http_key"
            f" under [models.{key}] on a network you trust"
        )
    return endpoint


def _named(option: str, key: str) -> str:
    return f"{option} of model {key!r}"


def _number(option: str, key: str, values: Mapping[str, Any]) -> float | None:
    return checked(_named(option, key), optional(parse_number), values.get(option), positive=True)


def _parse_url(value: object) -> str:
    """Return the base URL without a closing slash."""
    if value is None:
        raise InvalidValueError("the address of the endpoint is required, such as http://localhost:8080")
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        readable = parts is not None and parts.scheme in _PORTS and parts.hostname and parts.port != 0
    except ValueError:
        readable = False
    if parts is None or not readable:
        raise InvalidValueError("the URL cannot be read: write http://host:port or https://host/path")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidValueError(
            f"the URL may contain only an address: put the key for {parts.hostname} into an environment variable, and name that"
            " in api_key_env"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def _parse_variable(value: object) -> str:
    if not isinstance(value, str) or not VARIABLE.fullmatch(value):
        raise InvalidValueError(
            "this must be the name of an environment variable in capital letters, such as OPENAI_API_KEY, never a key"
        )
    return value

"""Requests to an endpoint, and the one border where the HTTP library's exceptions and statuses are translated."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, NamedTuple, TypeVar

import httpx

from ingest.encode.http.endpoint import Endpoint
from ingest.encode.http.pacing import Pacer, renewed_in, retry_after
from ingest.errors import ConfigurationError, ModelError, ModelUnavailableError
from ingest.process import HomeProcess
from ingest.redaction import without_secrets

CONNECT_SECONDS = 10.0

_REFUSED_TEXT = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
_FAILED = (HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.FAILED_DEPENDENCY)
_UNAUTHORIZED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
_NO_MONEY = "insufficient_quota"
"""The code with which OpenAI answers 429 to an account that has used up its money: waiting does not help."""

_REASON_LIMIT = 300
"""Maximum characters of the endpoint's words in a message."""

_SENDABLE_KEY = re.compile(r"[!-~]+")

A = TypeVar("A")
T = TypeVar("T")


class TooLargeError(ModelError):
    """A request has too many texts, tokens or bytes for the endpoint."""


class FailedRequestError(ModelUnavailableError):
    """The endpoint took a request and failed on it. A text may be the cause: some servers answer 500 to one that is too long."""


class Reply(NamedTuple):
    """The answer to a request: its JSON, and its headers by lower-case name."""

    json: Any
    headers: Mapping[str, str]


class EndpointClient:
    """A client of one endpoint. Safe from several threads of the process that made it.

    Args:
        key: registry key of the model, for messages.
        endpoint: where requests go. Raises `ConfigurationError` if its API key is not in the environment.
        transport: replaces the network, for tests.
    """

    def __init__(self, key: str, endpoint: Endpoint, *, transport: httpx.BaseTransport | None = None) -> None:
        self._home = HomeProcess(f"the connection of model {key!r}")
        self._key = key
        self._endpoint = endpoint
        self._secret = _secret_of(key, endpoint)
        self._pacer = Pacer(endpoint.requests_per_minute, endpoint.tokens_per_minute)
        authorization = {"Authorization": f"Bearer {self._secret}"} if self._secret else {}
        self._client = httpx.Client(
            headers={"User-Agent": f"qdrant-ingest/{version('qdrant-ingest')}", **authorization},
            timeout=httpx.Timeout(endpoint.timeout, connect=min(CONNECT_SECONDS, endpoint.timeout)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=endpoint.concurrency, keepalive_expiry=2.0),
            trust_env=not endpoint.is_loopback,  # this machine is never reached through a proxy
            transport=transport,
        )

    @property
    def counts_tokens(self) -> bool:
        """Whether `post` must be told the tokens of a request."""
        return self._pacer.counts_tokens

    def close(self) -> None:
        self._client.close()

    def interrupt(self) -> None:
        """Let each `post` that waits for its turn raise `ModelUnavailableError`."""
        self._pacer.interrupt()

    def post(self, path: str, body: Mapping[str, Any], *, tokens: int = 0) -> Reply:
        """Send a request when its turn has come, and return the answer. Does not retry.

        Raises `TooLargeError`, `ModelError` if the texts are refused, `FailedRequestError` if the endpoint fails on them, and
        `ModelUnavailableError` for everything else: marked `gave_up` if no retry can help.
        """
        self._home.check()
        if not self._pacer.wait(tokens):
            raise ModelUnavailableError(f"{self._who} was not asked: the run is stopping", gave_up=True)
        try:
            response = self._client.post(self._endpoint.url + path, json=body)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict) as exc:
            raise self._unreachable(exc) from exc
        headers = {name.lower(): value for name, value in response.headers.items()}
        if (wait := renewed_in(headers)) is not None:
            self._pacer.pause(wait)
        if not response.is_success:
            raise self._refused(response, headers)
        return Reply(self.read(httpx.Response.json, response), headers)

    def read(self, parse: Callable[[A], T], answer: A) -> T:
        """Return what `parse` reads from an answer. Raises `ModelUnavailableError` if it is cut short or of another kind."""
        try:
            return parse(answer)
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            reason, _ = _reason_in(answer) if isinstance(answer, dict) and answer.get("error") else ("", None)
            said = f" ({self._one_line(reason)})" if reason else ""
            raise ModelUnavailableError(
                f"{self._who} gave an answer that cannot be read as one of the API {self._endpoint.api}{said}: check api and url"
            ) from exc

    def misfit(self, found: str, expected: str) -> ModelUnavailableError:
        """Return the error for an answer with other vectors than the model's."""
        return ModelUnavailableError(f"{self._who} returned {found} instead of {expected}: check model, dim and dimensions")

    @property
    def _who(self) -> str:
        return f"model {self._key!r} at {self._endpoint.host}"

    def _unreachable(self, exc: Exception) -> ModelUnavailableError:
        reason = self._one_line(str(exc) or type(exc).__name__)
        final = isinstance(exc, (httpx.UnsupportedProtocol, httpx.InvalidURL)) or _is_certificate(exc)
        return ModelUnavailableError(f"{self._who} is unavailable ({reason}): check that it is running", gave_up=final)

    def _refused(self, response: httpx.Response, headers: Mapping[str, str]) -> ModelError:
        status = response.status_code
        reason, code = _reason_of(response)
        said = f"{status} {response.reason_phrase}".strip() + (f", {self._one_line(reason)}" if reason else "")
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLargeError(f"{self._who} takes no request of this size ({said}): reduce batch_texts or max_tokens")
        if status in _REFUSED_TEXT:
            return ModelError(f"{self._who} refused it ({said})")
        if status in _FAILED:
            return FailedRequestError(f"{self._who} failed ({said})", retry_after=retry_after(headers))
        if code != _NO_MONEY and (status in _TRANSIENT or status > HTTPStatus.NOT_IMPLEMENTED):
            wait = retry_after(headers)
            if status == HTTPStatus.TOO_MANY_REQUESTS and wait:
                self._pacer.pause(wait)  # the other requests are refused, too
            return ModelUnavailableError(f"{self._who} is overloaded or failing ({said})", retry_after=wait)
        advice = "check api_key_env and what the key may do" if status in _UNAUTHORIZED else "check url, model and the account"
        return ModelUnavailableError(f"{self._who} answers {said}: {advice}", gave_up=True)

    def _one_line(self, text: str) -> str:
        """Return words of the endpoint for a message: one line of bounded length without the key."""
        hidden = text.replace(self._secret, "***") if self._secret else text
        return " ".join(without_secrets(hidden).split())[:_REASON_LIMIT]


def _secret_of(key: str, endpoint: Endpoint) -> str | None:
    if endpoint.api_key_env is None:
        return None
    secret = os.environ.get(endpoint.api_key_env, "").strip()
    if not secret:
        raise ConfigurationError(
            f"model {key!r} requires an API key: set the environment variable {endpoint.api_key_env}, which its api_key_env names"
        )
    if not _SENDABLE_KEY.fullmatch(secret):
        raise ConfigurationError(f"the API key in {endpoint.api_key_env} has characters that no server accepts")
    return secret


def _reason_of(response: httpx.Response) -> tuple[str, str | None]:
    """Return the words and the code of an error, as the APIs have them."""
    try:
        return _reason_in(response.json())
    except ValueError:
        return "", None


def _reason_in(body: Any) -> tuple[str, str | None]:
    error = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return str(error), None
    words = next((error[name] for name in ("message", "detail", "title") if error.get(name)), "")
    code = error.get("code")
    return str(words), code if isinstance(code, str) else None


def _is_certificate(exc: BaseException | None) -> bool:
    """Return whether a certificate that is not trusted is the cause of an error."""
    import ssl  # noqa: PLC0415 - only an error needs it

    while exc is not None:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return True
        exc = exc.__cause__ or exc.__context__
    return False

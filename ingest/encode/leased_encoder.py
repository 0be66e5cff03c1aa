"""The encoder that a lease provides, and the border where the errors of devices and connections are translated."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ingest.encode.contract import AsyncEncoder, Encoder, Model, Vectors
from ingest.encode.devices import is_accelerator, translate_error
from ingest.encode.vectors import finite_rows, not_finite
from ingest.errors import LeaseError, ModelError, ModelUnavailableError
from ingest.process import HomeProcess


class LeasedEncoder:
    """The encoder that a lease provides. It stops working when the lease ends."""

    def __init__(self, encoder: Encoder, model: Model, place: str) -> None:
        self._home = HomeProcess(f"the lease of model {model.key!r}", instead="take one in the child, after the fork")
        self._encoder: Encoder | None = encoder
        self._model = model
        self._place = place

    def encode_documents(self, texts: Sequence[str]) -> Vectors:
        with translated_errors(self._model, self._place):
            return self._alive().encode_documents(texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        with translated_errors(self._model, self._place):
            vectors = self._alive().encode_queries(texts)
        if not finite_rows(self._model, vectors, len(texts)).all():
            raise ModelError(f"{not_finite(self._model)}: it cannot encode this query")
        return vectors

    def end(self) -> None:
        self._encoder = None

    def _alive(self) -> Encoder:
        self._home.check()
        if self._encoder is None:
            raise LeaseError(f"the lease of model {self._model.key!r} has ended: take a new one to encode")
        return self._encoder


class LeasedAsyncEncoder(LeasedEncoder):
    """The `AsyncEncoder` that a lease provides."""

    def start_documents(self, texts: Sequence[str]) -> Callable[[], Vectors]:
        with translated_errors(self._model, self._place):
            encoder = self._alive()
            assert isinstance(encoder, AsyncEncoder)  # noqa: S101 - for the type checker: `leased_encoder` checks it
            started = encoder.start_documents(texts)
        return lambda: self._wait(started)

    def _wait(self, started: Callable[[], Vectors]) -> Vectors:
        with translated_errors(self._model, self._place):
            return started()


def leased_encoder(encoder: Encoder, model: Model, place: str) -> LeasedEncoder:
    """Return the encoder that a lease provides for one of a model. Only an accelerator computes beside the CPU."""
    is_async = is_accelerator(place) and isinstance(encoder, AsyncEncoder)
    return (LeasedAsyncEncoder if is_async else LeasedEncoder)(encoder, model, place)


@contextmanager
def translated_errors(model: Model, place: str) -> Iterator[None]:
    """Translate the errors of a device, and of the connection to a remote model."""
    try:
        yield
    except (ConnectionError, TimeoutError) as exc:
        reason = str(exc) or type(exc).__name__
        raise ModelUnavailableError(f"model {model.key!r} is unavailable ({reason}): check that its server is running") from exc
    except Exception as exc:
        error = translate_error(exc, place)
        if error is None:
            raise
        traceback.clear_frames(exc.__traceback__)  # they hold the tensors of the failed batch
        if error is exc:
            raise
        raise error from exc

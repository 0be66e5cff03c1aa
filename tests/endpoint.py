"""An HTTP endpoint in this process that speaks every API of remote models, checks what it is sent, and misbehaves on cue."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from ingest.encode.http.model import HttpModel
from ingest.encode.registry import find_model
from ingest.encode.runner import BatchRunner
from ingest.retry import RetryPolicy
from ingest.telemetry import ThroughputMonitor
from ingest.testing import HashEncoder

DIM = 16
QUICK = RetryPolicy(attempts=6, first=0.0, longest=0.0)
TEXTS = [f"text number {number} of the window" for number in range(50)]

KEY = "sk-that-must-not-be-seen-anywhere"

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer instead of vectors."""

    status: int
    body: Any = field(default_factory=lambda: {"error": {"message": "told to"}})
    headers: Headers = field(default_factory=dict)


@dataclass(slots=True)
class FakeEndpoint:
    """`with FakeEndpoint() as endpoint:` listens at `endpoint.url`. Vectors are those of a `HashEncoder`.

    Attributes:
        dim, revision: of the model behind it. `revision` may change.
        reads: words of a text that it reads; the rest is ignored in silence. None: all.
        refuses: words from which a text is too long; None: never.
        most_texts: texts of a request from which it answers 413.
        cue: called with the number of a request (from 1) and its texts; returns a refusal, or None.
        key: the key that it wants, None for none.
        requests: path and body of each request; `headers` are those of the last one.
    """

    dim: int = DIM
    revision: str = "1"
    reads: int | None = None
    refuses: int | None = None
    most_texts: int = 10_000
    cue: Callable[[int, Sequence[str]], Refusal | None] = lambda *_: None
    key: str | None = None
    answer_headers: Headers = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: Headers = field(default_factory=dict)
    busiest: int = 0
    _at_work: int = 0
    _server: ThreadingHTTPServer = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __enter__(self) -> Self:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 2**16  # the head and the body of an answer in one packet

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer, headers = endpoint.answer(self.path, body, dict(self.headers))
                content = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def texts(self) -> list[str]:
        """All texts of all requests, in their order."""
        return [text for _, body in self.requests for text in texts_of(body)]

    def answer(self, path: str, body: dict[str, Any], headers: Headers) -> tuple[int, Any, Headers]:
        texts = texts_of(body)
        with self._lock:
            self.requests.append((path, body))
            self.headers = headers
            number = len(self.requests)
            self._at_work += 1
            self.busiest = max(self.busiest, self._at_work)
        try:
            refusal = self.cue(number, texts)
            if self.key is not None and headers.get("Authorization") != f"Bearer {self.key}":
                refusal = Refusal(401, {"error": {"message": f"Incorrect API key provided: {headers.get('Authorization')}"}})
            elif len(texts) > self.most_texts:
                refusal = Refusal(413, {"error": "batch size error", "error_type": "Validation"})
            elif self.refuses is not None and any(len(text.split()) >= self.refuses for text in texts):
                refusal = Refusal(400, {"error": "the input length exceeds the context length"})
            if refusal is not None:
                return refusal.status, refusal.body, refusal.headers
            return 200, answers(path, body, self._vectors(texts)), {**self.answer_headers, "x-compute-tokens": str(len(texts))}
        finally:
            with self._lock:
                self._at_work -= 1

    def _vectors(self, texts: Sequence[str]) -> list[list[float]]:
        read = [text if self.reads is None else " ".join(text.split()[: self.reads]) for text in texts]
        rows: list[list[float]] = HashEncoder(dim=self.dim, revision=self.revision).encode_documents(read).tolist()
        return rows


def endpoint_options(endpoint: FakeEndpoint, **changes: Any) -> dict[str, Any]:
    return {"backend": "http", "api": "openai", "url": endpoint.url, "model": "m", "dim": DIM, "max_tokens": 256, **changes}


def remote_model(endpoint: FakeEndpoint, **changes: Any) -> HttpModel:
    return HttpModel(find_model("far", custom={"far": endpoint_options(endpoint, **changes)}))


def encode(
    model: Any, texts: Sequence[str] = TEXTS, *, retry: RetryPolicy = QUICK, monitor: ThroughputMonitor | None = None
) -> Any:
    with BatchRunner([model], retry=retry, monitor=monitor) as runner:
        return runner.run({model.key: texts})[model.key]


def texts_of(body: Mapping[str, Any]) -> list[str]:
    texts: list[str] = next(body[name] for name in ("input", "inputs", "texts", "documents") if name in body)
    return texts


def answers(path: str, body: Mapping[str, Any], rows: Sequence[Sequence[float]]) -> Any:
    """The answer to a request in the shape of its API. Lists are in reverse where an index says whose a row is."""
    usage = {"total_tokens": 10 * len(rows)}
    if path.endswith("rerank"):
        scores = [{"index": number, "score": row[0], "relevance_score": row[0]} for number, row in enumerate(rows)]
        return scores[::-1] if path == "/rerank" and "texts" in body else {"results": scores[::-1], "data": scores[::-1]}
    if path == "/embed_sparse":
        return [[{"index": 7, "value": 1.0}, {"index": 3, "value": abs(row[0])}] for row in rows]
    if path == "/embed":
        return rows
    if path == "/api/embed":
        return {"model": body["model"], "embeddings": rows, "prompt_eval_count": 10 * len(rows)}
    if path == "/v2/embed":
        return {"embeddings": {"float": rows}, "meta": {"billed_units": {"input_tokens": 10 * len(rows)}}}
    encoded = "base64" in (body.get("encoding_format"), body.get("embedding_type"))
    data = [{"index": number, "embedding": _base64(row) if encoded else row} for number, row in enumerate(rows)]
    return {"object": "list", "data": data[::-1], "usage": usage}


def _base64(row: Sequence[float]) -> str:
    import numpy as np  # noqa: PLC0415

    return base64.b64encode(np.array(row, "<f4").tobytes()).decode()

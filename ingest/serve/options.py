"""How collections are served."""

from __future__ import annotations

from dataclasses import dataclass

from ingest.parameters import normalize, parse_boolean, parse_integer, parse_number, parse_texts
from ingest.serve.access import Tokens


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """The limits and permissions of a server.

    Attributes:
        tokens: the bearer tokens. None: everybody who reaches the server may do everything, so it must serve this machine alone.
        cors_origins: origins whose pages may use the API, such as `https://intranet.example`.
        threads: requests that are answered at a time.
        queue: requests that may wait for a thread; one more is refused with 429.
        deadline: seconds after which a request is answered with 504, and an unfinished body with 408.
        max_body: most bytes of a body.
        writable: whether documents may be written and deleted.
    """

    tokens: Tokens | None = None
    cors_origins: tuple[str, ...] = ()
    threads: int = 8
    queue: int = 64
    deadline: float = 30.0
    max_body: int = 1024 * 1024
    writable: bool = False

    def __post_init__(self) -> None:
        normalize(self, "cors_origins", parse_texts)
        normalize(self, "threads", parse_integer, least=1)
        normalize(self, "queue", parse_integer, least=0)
        normalize(self, "deadline", parse_number, positive=True)
        normalize(self, "max_body", parse_integer, least=1)
        normalize(self, "writable", parse_boolean)

"""The process that converts files which could crash, hang or fill the memory: it calls `serve`.

Reads requests from standard input and writes replies to standard output, each preceded by its length in eight bytes. A request is
a line and the content of a file; the line has the name of the format and, for a web page, the content to keep (`HtmlContent`). A
reply is a `Page` as JSON, or the reason why there is none. Ends when its input does, or, except on Windows, after `IDLE_SECONDS`
without a request.
"""

from __future__ import annotations

import json
import os
import select
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from ingest.source.read_options import HtmlContent

IDLE_SECONDS = 30
MEMORY = 4 * 2**30
"""Most bytes of address space of the process, on Linux."""


def serve() -> None:
    """Convert files until there are no more."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not write into the replies
    _limit_memory()
    requests = os.fdopen(0, "rb", buffering=0)
    while os.name == "nt" or select.select([requests], [], [], IDLE_SECONDS)[0]:  # Windows waits for sockets alone
        request = read_message(requests)
        if request is None:
            break
        reply = json.dumps(_reply(request)).encode()
        write_message(replies, reply)


def read_message(file: BinaryIO) -> bytes | None:
    """Return the next message, or None at the end of the file."""
    length = _read(file, 8)
    return None if len(length) < 8 else _read(file, int.from_bytes(length, "big"))  # noqa: PLR2004  see the module


def write_message(file: BinaryIO, *parts: bytes) -> None:
    """Write a message made of some parts."""
    file.writelines((sum(map(len, parts)).to_bytes(8, "big"), *parts))
    file.flush()


def _read(file: BinaryIO, size: int) -> bytes:
    parts = []
    while size and (data := file.read(min(size, 2**20))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _reply(request: bytes) -> dict[str, object]:
    from ingest.source.convert.registry import convert_here  # noqa: PLC0415  within the memory limit
    from ingest.source.fields import Unusable  # noqa: PLC0415  as above
    from ingest.source.read_options import ReadOptions  # noqa: PLC0415  as above
    from ingest.source.streams import first_line  # noqa: PLC0415  as above

    header, _, data = request.partition(b"\n")
    del request
    name, _, html_content = header.decode().rpartition(" ")
    try:
        page = convert_here(data, name, ReadOptions(html_content=cast("HtmlContent", html_content)))
    except Unusable as exc:
        return {"reason": str(exc)}
    except RecursionError:
        return {"reason": f"the {name} is nested too deeply"}
    except MemoryError:
        return {"reason": f"the {name} takes more than {MEMORY:,} bytes of memory to read"}
    except Exception as exc:  # noqa: BLE001  a fault of ours in one file must not end the run
        return {"reason": f"the file cannot be read as {name}: {type(exc).__name__}: {first_line(exc)}"}
    facts = {"title": page.title, "metadata": dict(page.metadata), "url": page.url, "pages": page.pages, "anchors": page.anchors}
    return {"text": page.text, "format": page.format, **facts}


def _limit_memory() -> None:
    if sys.platform == "linux":  # others refuse such a limit, or do not keep to it
        import resource  # noqa: PLC0415  not on every platform

        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most), most))

"""Canonical JSON, digests, and the ids of documents and chunks. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any
from uuid import NAMESPACE_URL

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_quoted = json.encoder.encode_basestring
_URL_NAMESPACE = NAMESPACE_URL.bytes
_encoder = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_encoder(make: Callable[..., Any] | None) -> Callable[[Any], str]:
    """Return the function that encodes a JSON value canonically.

    `make` is CPython's private encoder in C. `JSONEncoder.encode` makes one for every value, which takes as long as the encoding
    itself; made once, it halves the time. An interpreter without it (None) encodes with `JSONEncoder.encode`.
    """
    if make is None:
        return _encoder.encode
    encode = make(None, _encoder.default, _quoted, None, _encoder.key_separator, _encoder.item_separator, True, False, False)
    return lambda value: "".join(encode(value, 0))


_canonical = canonical_encoder(getattr(json.encoder, "c_make_encoder", None))


def canonical_json(value: Any) -> bytes:
    """Return the one byte string for a JSON value: sorted keys, no spaces, UTF-8. Raises `ValueError` on NaN and infinities."""
    return _canonical(value).encode()


def digest(value: Any) -> str:
    """Return 32 hex characters (128 bits of SHA-256) of a JSON value's canonical form."""
    return digest_bytes(canonical_json(value))


def digest_bytes(value: bytes) -> str:
    """Return 32 hex characters (128 bits of SHA-256)."""
    return hashlib.sha256(value).hexdigest()[:32]


def doc_key(source: str, doc_id: str) -> str:
    """Return the UUID string of a document. The same id in two sources is two documents."""
    return _uuid5(f"[{_quoted(source)},{_quoted(doc_id)}]".encode())


def is_uuid(value: str) -> bool:
    """Return whether a string is a UUID in its usual spelling, as all ids and document keys are."""
    return _UUID.fullmatch(value) is not None


def chunk_id(document_key: str, text: str, nth: int) -> str:
    """Return the UUID string of a chunk. `nth` counts equal texts before it, so ids are unique and follow the text."""
    return _uuid5(f'["{document_key}","{hashlib.sha256(text.encode()).hexdigest()}",{nth}]'.encode())


def _uuid5(name: bytes) -> str:
    """UUID version 5 (RFC 9562) of a JSON array, so that ("a", "b_c") and ("a_b", "c") stay apart.

    The same as `str(uuid.uuid5(NAMESPACE_URL, name))` in a third of the time: every document needs two.
    """
    digits = hashlib.sha1(_URL_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"

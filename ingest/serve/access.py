"""Who may ask what: bearer tokens, and the names under which a browser may call this host."""

from __future__ import annotations

import hmac
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from ingest.errors import ConfigurationError
from ingest.parameters import InvalidValueError, checked, parse_choice, parse_mapping, parse_text, parse_texts

Access = Literal["public", "token", "read", "write"]
"""What an operation requires: nothing, any token, or a token for the collection to read or to write."""

OWNER = "ingest_owner"
"""Key in the state of a request that came by the socket file of the store, which only the owner of the store can open."""

MIN_TOKEN = 16
"""Least characters of a token."""

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Grant:
    """What a client may do.

    Attributes:
        client: the client's name in the token file, for logs.
        collections: normalized names of the collections. None: all.
        write: whether it may write to them.
    """

    client: str = "anyone"
    collections: frozenset[str] | None = None
    write: bool = True

    def allows(self, collection: str, access: Access) -> bool:
        """Return whether the client may read or write a collection."""
        return (self.write or access != "write") and (self.collections is None or collection in self.collections)


class Tokens:
    """The bearer tokens of a file, kept as digests."""

    def __init__(self, grants: Mapping[str, Grant]) -> None:
        self._grants = [(_digest(token), grant) for token, grant in grants.items()]

    @classmethod
    def read(cls, path: Path, normalize: Callable[[str], str]) -> Tokens:
        """Read a TOML file with a table for each client: `token`, `collections` (`["*"]` for all), `access` (read or write).

        Args:
            normalize: returns the normalized name of a collection.

        Raises `ConfigurationError`.
        """
        try:
            tables = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as exc:
            raise ConfigurationError(f"the token file {path} cannot be read: {exc}") from exc
        grants: dict[str, Grant] = {}
        for client, table in tables.items():
            token, grant = _grant(f"{path}: [{client}]", client, table, normalize)
            if token in grants:
                raise ConfigurationError(f"{path}: [{client}]: the token is also that of [{grants[token].client}]")
            grants[token] = grant
        if not grants:
            raise ConfigurationError(f"the token file {path} has no token: add a table [NAME] with token, collections and access")
        return cls(grants)

    def find(self, authorization: str | None) -> Grant | None:
        """Return the grant of an `Authorization` header, or None if it has no known token. Compares all, in constant time."""
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        given = _digest(authorization[len(_SCHEME) :].strip())
        found = [grant for digest, grant in self._grants if hmac.compare_digest(digest, given)]
        return found[0] if found else None


def _grant(place: str, client: str, table: object, normalize: Callable[[str], str]) -> tuple[str, Grant]:
    fields: dict[str, Any] = checked(place, parse_mapping, table, lambda value: value)
    if unknown := fields.keys() - {"token", "collections", "access"}:
        raise ConfigurationError(f"{place}: unknown key {min(unknown)}: use token, collections and access")
    token = checked(f"{place}: token", _parse_token, fields.get("token"))
    names = checked(f"{place}: collections", parse_texts, fields.get("collections", ()))
    access = checked(f"{place}: access", parse_choice, fields.get("access", "read"), ("read", "write"))
    if not names:
        raise ConfigurationError(f'{place}: collections is missing: name them, or write ["*"] for all')
    collections = None if "*" in names else frozenset(map(normalize, names))
    return token, Grant(client, collections, write=access == "write")


def _parse_token(value: object) -> str:
    """Return the token. Messages never show it."""
    try:
        token = parse_text(value)
    except InvalidValueError:
        raise InvalidValueError("it is missing or not a text") from None
    if len(token) < MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidValueError(f"it must have at least {MIN_TOKEN} ASCII characters and no spaces: try openssl rand -hex 32")
    return token


def _digest(token: str) -> bytes:
    return sha256(token.encode()).digest()


def is_loopback(host: str) -> bool:
    """Return whether a server bound to this host is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_local_name(header: str | None, own: Sequence[str] = ()) -> bool:
    """Return whether a `Host` header names this machine, or one of `own`.

    A page of another site that rebinds its own name to 127.0.0.1 still sends that name.
    """
    try:
        name = urlsplit(f"//{header or ''}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) or name in own

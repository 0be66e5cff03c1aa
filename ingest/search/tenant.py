"""The tenant of a searcher: conditions that every point meets that it may read."""

from __future__ import annotations

from collections.abc import Mapping

from ingest.errors import ConfigurationError
from ingest.parameters import InvalidValueError, parse_mapping, parse_text, shown
from ingest.store.contract import Condition, Store
from ingest.store.payload_path import is_field

Tenant = str | Mapping[str, str]
"""A tenant: the value of the one field with a tenant index, or payload field → value."""


def parse_tenant(value: object) -> Tenant:
    """Return a tenant."""
    if isinstance(value, Mapping):
        fields = parse_mapping(value, parse_text)
        if not fields or not all(map(is_field, fields)):
            raise InvalidValueError(
                f"{shown(value)} does not map payload fields to values, such as {{'metadata.tenant': 'acme'}}"
            )
        return fields
    return parse_text(value)


def tenant_conditions(tenant: Tenant | None, store: Store, collection: str) -> tuple[Condition, ...]:
    """Return the conditions on the points of a tenant. Raises `ConfigurationError` if its field is not clear."""
    if tenant is None:
        return ()
    if isinstance(tenant, Mapping):
        return tuple(Condition(field, "eq", value) for field, value in tenant.items())
    fields = [field for field, index in store.indexes(collection).items() if index.tenant]
    if len(fields) != 1:
        raise ConfigurationError(
            f"tenant: {len(fields)} fields of {collection} have a tenant index, not one: pass a mapping such as"
            ' {"metadata.tenant": "acme"}, or set tenant = "keyword tenant" under [index] in ingest.toml and run the sync again'
        )
    return (Condition(fields[0], "eq", tenant),)

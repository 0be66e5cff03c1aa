"""The values of PostgreSQL that psycopg cannot give as plain Python values: as the text that PostgreSQL shows."""

from __future__ import annotations

from typing import Any

_SHOWN = (
    "inet", "cidr", "int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange",
    "int4multirange", "int8multirange", "nummultirange", "datemultirange", "tsmultirange", "tstzmultirange",
)  # fmt: skip


def read_as_plain_values(connection: Any) -> None:
    """Make a new connection of psycopg return addresses, ranges, and times that Python does not have, as text.

    A single `infinity`, a common end of what is still valid, would otherwise end the reading. Arrays of enums become lists.
    """
    from psycopg import DataError  # noqa: PLC0415  an extra
    from psycopg.types import TypeInfo  # noqa: PLC0415  as above
    from psycopg.types.datetime import DateLoader, TimestampLoader, TimestamptzLoader  # noqa: PLC0415  as above
    from psycopg.types.string import TextLoader  # noqa: PLC0415  as above

    def or_text(loader: Any) -> type:
        def load(self: Any, data: Any) -> Any:
            try:
                return loader.load(self, data)
            except DataError:
                return bytes(data).decode()

        return type("OrText", (loader,), {"load": load})

    for name in _SHOWN:
        connection.adapters.register_loader(name, TextLoader)
    for name, loader in (("date", DateLoader), ("timestamp", TimestampLoader), ("timestamptz", TimestamptzLoader)):
        connection.adapters.register_loader(name, or_text(loader))
    for name, oid, array in connection.execute("SELECT typname, oid, typarray FROM pg_type WHERE typtype = 'e'").fetchall():
        TypeInfo(name, oid, array).register(connection)
    connection.rollback()

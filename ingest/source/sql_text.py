"""The text of queries. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PART = re.compile(
    r"""'[^']*' | "[^"]*" | `[^`]*` | (?<!\w)\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$  # quoted
    | (?P<blank> \s+ | --[^\n]* | /\*.*?\*/ )
    | (?P<end> ; )
    | .""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPED_QUOTE = re.compile(r"""\\['"]""")

_AS_TEXT: Mapping[str, str] = {
    "postgresql": "encode({column}, 'hex'), or convert_from({column}, 'UTF8') if it is text",
    "mysql": "HEX({column}), CONVERT({column} USING utf8mb4) if it is text, or {column} + 0 if it is BIT",
    "sqlite": "hex({column}), or CAST({column} AS TEXT) if it is text",
}


def without_end(query: str) -> str:
    """Return a query without the semicolons, comments and space after its statement, so that it can be a subquery.

    A semicolon followed by another statement stays, and so does everything if a backslash stands before a quote, because
    databases disagree on what it means.
    """
    if _ESCAPED_QUOTE.search(query):
        return query.rstrip().rstrip(";")
    end, ended = 0, False
    for part in _PART.finditer(query):
        if part.lastgroup == "end":
            ended = True
        elif part.lastgroup != "blank":
            if ended:
                return query
            end = part.end()
    return query[:end]


def how_to_convert(column: str, dialect: str) -> str:
    """Return what to write into a query for a column of bytes."""
    dialect = "mysql" if dialect == "mariadb" else dialect
    return _AS_TEXT.get(dialect, "{column} as text").format(column=column)

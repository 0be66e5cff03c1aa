"""A parser for filters in one line of text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from ingest.errors import ConfigurationError
from ingest.store.conditions import MAX_DEPTH, combined, make_condition, parse_field
from ingest.store.contract import Combination, Condition, Filter, Operator
from ingest.store.payload_path import FIELD

_SPACE = re.compile(r"\s*")
_AND = re.compile(r"&|and(?![\w.-])", re.IGNORECASE)
_OR = re.compile(r"or(?![\w.-])", re.IGNORECASE)
_NOT = re.compile(r'not(?=\s*\(|\s+["\w])', re.IGNORECASE)
_IN = re.compile(r"(not\s+)?in\s*([(\[])", re.IGNORECASE)
_IS = re.compile(r"is\s+(not\s+)?(null|missing)\b", re.IGNORECASE)
_AREA = re.compile(r"(near|box|polygon)\s*\(([^()]*)\)", re.IGNORECASE)
_OPERATOR = re.compile(r">=|<=|!=|\^=|=|:|>|<|~")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ENDS = re.compile(r'[&|"]|\s+(?:and|or)(?=[\s(]|\Z)|[()]|}', re.IGNORECASE)
_ITEM = re.compile(r'[^,"()\[\]]+')
_SECOND_TEST = re.compile(r"\s\S*\s*[=<>~]")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
"""A JSON number: `0123` and `1_000` stay text."""

_LONGEST_NUMBER = 40
"""Maximum characters of a number; a longer one is an identifier."""

_LONGEST_SHOWN = 200
"""Maximum characters of a filter in a message."""

_COMPARISONS: Mapping[str, Operator] = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt", "~": "text"}
_LITERALS = {"true": True, "false": False, "null": None}
_METERS = {"km": 1000.0, "m": 1.0, "": 1.0}

_VALUE_EXPECTED = 'a value (text that begins with an operator or a bracket, or contains & | or ", goes in double quotes)'
_TEST_EXPECTED = "one of = != > >= < <= ~ ^= : in is near box polygon { (a value with and, or, & or | goes in double quotes)"

Value = str | int | float | bool | None


def parse_expression(expression: str) -> tuple[Filter, ...]:
    """Return the filters of one line of text, joined by AND.

        filter  = and { "or" and }
        and     = not { ("and" | "&") not }
        not     = [ "not" ] ( "(" filter ")" | test )
        test    = field ("=" | ":" | "!=") value { "|" value }   any of them; none of them
                | field ["not"] "in" "[" value { "," value } "]"  the same
                | field ("=" | "!=") "*"                         the field exists; it does not
                | field "is" ["not"] ("null" | "missing")
                | field (">" | ">=" | "<" | "<=") value          a number or an ISO 8601 date
                | field "~" value                                contains the text
                | "path" "^=" folder                             the file lies below the folder, which ends with /
                | field "near" "(" latitude "," longitude "," distance ")"     meters, or 5km
                | field "box" "(" south "," west "," north "," east ")"
                | field "polygon" "(" latitude longitude { "," latitude longitude } ")"
                | field "{" filter "}"                           one object of a list of objects meets the filter
        value   = "true" | "false" | "null" | number | text | JSON string in double quotes

    `metadata.year>=2020 and (metadata.lang=en or not metadata.tags:draft)`. A quoted value is always text. Text without
    quotes may have several words, but not `and` or `or` among them. Raises `ConfigurationError`.
    """
    parser = _Parser(expression)
    whole = parser.read_or()
    parser.expect_end()
    return whole.filters if isinstance(whole, Combination) and whole.operator == "and" else (whole,)


class _Parser:
    """One pass over an expression."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open = 0

    def read_or(self) -> Filter:
        parts = [self._read_and()]
        while self._take(_OR):
            parts.append(self._read_and())
        return combined("or", parts)

    def expect_end(self) -> None:
        self._skip_space()
        if self._at < len(self._text):
            raise self._refuse("and, or, or the end")

    def _read_and(self) -> Filter:
        parts = [self._read_not()]
        while self._take(_AND):
            parts.append(self._read_not())
        return combined("and", parts)

    def _read_not(self) -> Filter:
        negations = 0
        while self._take(_NOT):
            negations += 1
        inner = self._read_group("(", ")") if self._next_is("(") else self._read_test()
        return Combination("not", (inner,)) if negations % 2 else inner

    def _read_group(self, opening: str, closing: str) -> Filter:
        self._at += len(opening)
        self._open += 1
        if self._open > MAX_DEPTH:
            raise ConfigurationError(f"a filter has more than {MAX_DEPTH} brackets within each other: write it flatter")
        inner = self.read_or()
        self._open -= 1
        if not self._next_is(closing):
            raise self._refuse(f"and, or, or {closing}")
        self._at += len(closing)
        return inner

    def _read_test(self) -> Filter:
        self._skip_space()
        field = FIELD.match(self._text, self._at)
        if field is None:
            raise self._refuse("a field such as metadata.year")
        self._at = field.end()
        name = parse_field(field[0])
        if self._next_is("{"):
            return make_condition(name, "element", self._read_group("{", "}"))
        if is_ := self._take(_IS):
            return Condition(name, "null" if is_[2].lower() == "null" else "missing", value=is_[1] is None)
        if in_ := self._take(_IN):
            return make_condition(name, "none" if in_[1] else "any", self._read_items("]" if in_[2] == "[" else ")"))
        if area := self._take(_AREA):
            return _area(name, area[1].lower(), area[2])
        if operator := self._take(_OPERATOR):
            return _compare(name, operator[0], self._read_values(), self._text)
        raise self._refuse(_TEST_EXPECTED)

    def _read_values(self) -> list[str]:
        values = [self._read_value()]
        while self._next_is("|"):
            self._at += 1
            values.append(self._read_value())
        return values

    def _read_value(self) -> str:
        """Return a value as it is written, with its quotes."""
        if quoted := self._take(_QUOTED):
            return quoted[0]
        self._skip_space()
        if self._text[self._at : self._at + 1] in ("=", "<", ">", "!", "~", "(", '"', ""):
            raise self._refuse(_VALUE_EXPECTED)
        start, end = self._at, self._end_of_value()
        value = self._text[start:end].strip()
        if not value or self._text[end : end + 1] == '"':
            raise self._refuse(_VALUE_EXPECTED)
        if _SECOND_TEST.search(value):
            raise self._refuse("one value: join two tests by and, or put the value in double quotes")
        self._at = end
        return value

    def _end_of_value(self) -> int:
        """Return where the value without quotes ends that begins here. A bracket that it opens belongs to it."""
        depth = 0
        for found in _ENDS.finditer(self._text, self._at):
            match found[0]:
                case "(":
                    depth += 1
                case ")" if depth:
                    depth -= 1
                case ")" | "}" if self._open:
                    return found.start()
                case "&" | "|" | '"':
                    return found.start()
                case word if word[0].isspace() and not depth:
                    return found.start()
        return len(self._text)

    def _read_items(self, closing: str) -> list[Value]:
        items = []
        while True:
            item = self._take(_QUOTED) or self._take(_ITEM)
            if item is None or not item[0].strip():
                raise self._refuse("a value of the list")
            items.append(_literal(item[0].strip()))
            if self._next_is(closing):
                self._at += 1
                return items
            if not self._next_is(","):
                raise self._refuse(f", or {closing}")
            self._at += 1

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return what matches here, after space, and go on behind it."""
        self._skip_space()
        if found := pattern.match(self._text, self._at):
            self._at = found.end()
        return found

    def _next_is(self, token: str) -> bool:
        self._skip_space()
        return self._text.startswith(token, self._at)

    def _skip_space(self) -> None:
        if space := _SPACE.match(self._text, self._at):
            self._at = space.end()

    def _refuse(self, expected: str) -> ConfigurationError:
        found = repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"
        text = self._text if len(self._text) <= _LONGEST_SHOWN else f"{self._text[:_LONGEST_SHOWN]}…"
        return ConfigurationError(f"the filter {text!r} cannot be read: expected {expected} instead of {found}")


def _compare(field: str, operator: str, raw: Sequence[str], expression: str) -> Condition:
    if operator == "^=":
        return _below(field, raw)
    if operator in _COMPARISONS:
        if len(raw) > 1:
            raise ConfigurationError(f"the filter {operator} on {field} takes one value, not {len(raw)}")
        value = _unquoted(raw[0]) if operator == "~" else _literal(raw[0])
        return make_condition(field, _COMPARISONS[operator], value)
    if list(raw) == ["*"]:
        return Condition(field, "exists", operator != "!=")
    values = [_literal(value) for value in raw]
    if values == [None]:
        return Condition(field, "null", operator != "!=")
    if None in values:
        raise ConfigurationError(f"the filter {expression!r} mixes null with values: write {field} is null or {field}=…")
    if operator == "!=":
        return make_condition(field, "none", values)
    return make_condition(field, "eq", values[0]) if len(values) == 1 else make_condition(field, "any", values)


def _below(field: str, raw: Sequence[str]) -> Condition:
    """Return the condition that a file lies in a folder or below it: each file has all its folders in its payload."""
    folders = [_unquoted(each) for each in raw]
    if field != "path" or not all(folder.endswith("/") and folder.strip("/") for folder in folders):
        raise ConfigurationError(f"the filter ^= on {field} takes path and a folder that ends with /, such as path^=docs/guides/")
    return make_condition("folders", "any", [folder.removeprefix("./").strip("/") for folder in folders])


def _area(field: str, kind: str, arguments: str) -> Condition:
    parts = [part.strip() for part in arguments.split(",")]
    match kind:
        case "near":
            return make_condition(field, "near", [*map(_number, parts[:-1]), _meters(parts[-1])])
        case "box":
            return make_condition(field, "box", [_number(part) for part in parts])
    return make_condition(field, "polygon", [[_number(number) for number in part.split()] for part in parts])


def _meters(text: str) -> Value:
    number = text.rstrip("km").strip()
    scale, meters = _METERS.get(text[len(number) :].strip()), _number(number)
    return meters * scale if scale is not None and isinstance(meters, int | float) else text


def _number(text: str) -> Value:
    return _literal(text) if text[:1] != '"' else text


def _literal(raw: str) -> Value:
    if raw in _LITERALS:
        return _LITERALS[raw]
    if len(raw) <= _LONGEST_NUMBER and _NUMBER.fullmatch(raw):
        number: int | float = json.loads(raw)
        return number
    return _unquoted(raw)


def _unquoted(raw: str) -> str:
    if len(raw) > 1 and raw[0] == raw[-1] == "'":  # as in SQL; the value would silently be one with its quotes
        raise ConfigurationError(f"{raw} is in single quotes: put the text in double quotes, or write it without")
    if not raw.startswith('"'):
        return raw
    try:
        return str(json.loads(raw, strict=False))
    except ValueError as exc:
        raise ConfigurationError(f"{raw} is no JSON string: {exc}") from exc

"""Every name that a public signature mentions can be imported from `ingest`, and every class and function is documented."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import inspect
import sys
import types
import typing
from collections.abc import Iterator

import pytest

import ingest

FOR_OUR_OWN_ROOMS = {
    "FindCopies",  # what an adoption passes to `run_job`
    "FieldUse",  # what a boost tells the check of a search's fields
    "CollectionView",  # what `Searcher.view` returns, for evaluation
    "SharedModel",  # what a `ModelPool` keeps
    "SearchRequest",  # what `Searcher.answers` takes, for a search of several collections
    "RetryingStore",  # what `open_store` returns is a `Store`
}

ALIASES = {"Vector": ingest.Vector}
"""What modules of the store import for type checkers alone, so that they do without numpy."""


def signatures(value: object) -> Iterator[tuple[object, str]]:
    """Yield every public annotation of a class or function, with the object that its names belong to."""
    if inspect.isfunction(value):
        yield from ((value, str(annotation)) for annotation in value.__annotations__.values())
    if not inspect.isclass(value):
        return
    for base in value.__mro__:
        if not base.__module__.startswith("ingest"):
            continue
        fields = inspect.get_annotations(base)
        texts = {name: getattr(annotation, "__forward_arg__", str(annotation)) for name, annotation in fields.items()}
        yield from ((base, annotation) for name, annotation in texts.items() if not name.startswith("_"))
        for name, member in vars(base).items():
            if name == "__init__" or not name.startswith("_"):
                yield from signatures(member.fget if isinstance(member, property) else getattr(member, "__func__", member))


def is_our_own(name: str, value: object) -> bool:
    """Return whether a name of an annotation is defined in this package, as a class or as an alias."""
    if inspect.isclass(value):
        return value.__module__.startswith("ingest")
    if inspect.ismodule(value) or isinstance(value, typing.TypeVar):
        return False
    elsewhere = (typing, types, collections.abc, sys.modules["numpy.typing"])
    return all(getattr(module, name, None) is not value for module in elsewhere)


def mentioned(value: object) -> Iterator[tuple[str, object]]:
    """Yield the names of this package that the signatures of a class or function mention, and what they stand for."""
    for owner, annotation in signatures(value):
        space = {**ALIASES, **vars(sys.modules[owner.__module__])}
        for node in ast.walk(ast.parse(annotation, mode="eval")):
            if isinstance(node, ast.Name) and not hasattr(builtins, node.id) and is_our_own(node.id, space[node.id]):
                yield node.id, space[node.id]


@pytest.mark.parametrize("name", ingest.__all__)
def test_every_name_that_a_signature_mentions_is_public(name: str) -> None:
    missing = {
        mention
        for mention, value in mentioned(getattr(ingest, name))
        if mention not in FOR_OUR_OWN_ROOMS and getattr(ingest, mention, None) is not value
    }
    assert not missing


def test_every_class_and_function_is_documented() -> None:
    public = {name: getattr(ingest, name) for name in ingest.__all__}
    documented = {name: vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__ for name, value in public.items()}
    kinds = (inspect.isclass, inspect.isfunction)
    assert not [
        name
        for name, value in public.items()
        if any(is_kind(value) for is_kind in kinds) and (documented[name] or f"{name}(").startswith(f"{name}(")
    ]

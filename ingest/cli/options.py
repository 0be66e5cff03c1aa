"""Options that several commands share. Each is None if it is not given: its value comes from the settings then."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection, in any spelling.", show_default=False)]
CollectionArgument = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="The collection, in any spelling.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Store = Annotated[
    str | None, typer.Option("--store", help="Folder of the embedded engine, or a server's URL. [default: .ingest/qdrant]")
]
Device = Annotated[
    str | None,
    typer.Option("--device", help="Devices to compute on, such as cuda:0, separated by commas, or cpu. [default: the first GPU]"),
]
DeleteAfter = Annotated[
    str | None,
    typer.Option(
        "--delete-after", help="Grace period of documents that full soft-deletes, such as 12h or 7d. [default: delete at once]"
    ),
]
MaxDelete = Annotated[
    str | None,
    typer.Option("--max-delete", help="Share of the documents that full may delete before the run stops. [default: 20%]"),
]
Check = Annotated[
    str | None,
    typer.Option(
        "--check",
        help="How to find changed documents: version (files that have not changed are not read), content. [default: version]",
    ),
]
Rerank = Annotated[
    str | None, typer.Option("--rerank", help="When to rerank: auto (if the model is available), on, off. [default: auto]")
]
Reranker = Annotated[
    str | None,
    typer.Option("--reranker", help="Reranker: a registry key, a folder, or a hub id. [default: ms-marco-minilm-l6]"),
]
Vectors = Annotated[str | None, typer.Option("--vectors", help="Named vectors to query, separated by commas. [default: all]")]
Late = Annotated[
    str, typer.Option("--late", help="How multivectors take part: rerank (order the best fused hits), fuse (as the others), off.")
]
Fusion = Annotated[str, typer.Option("--fusion", help="How to fuse vectors: scores, rrf (ranks), dbsf (scores per query).")]
Feedback = Annotated[
    bool,
    typer.Option(
        "--feedback/--no-feedback", help="Score the found chunks again by dense queries moved toward the three best (1 to 5 ms)."
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        "--tenant", help="Tenant whose points alone are read: the value of the field with a tenant index.", show_default=False
    ),
]
Detailed = Annotated[bool, typer.Option("--verbose", help="Print every count and rate.")]
Rejects = Annotated[Path | None, typer.Option("--rejects", help="Rejects file. [default: .ingest/rejects/COLLECTION.jsonl]")]
MaxRejects = Annotated[
    str | None,
    typer.Option("--max-rejects", help="Share or number of rejected records above which the exit code is 3. [default: 10%]"),
]
Telemetry = Annotated[
    Path | None, typer.Option("--telemetry", help="File to which lease events, passes and errors are appended as JSON lines.")
]
MetricsPort = Annotated[
    int | None, typer.Option("--metrics-port", min=1, max=65535, help="Loopback port on which Prometheus metrics are served.")
]
MovedFrom = Annotated[
    str | None,
    typer.Option(
        "--moved-from",
        help="Former name of the source, or of a folder in it. Its stored points are taken along without encoding.",
    ),
]
Reuse = Annotated[
    list[str] | None,
    typer.Option(
        "--reuse",
        help="Other collection of the same models whose vectors of equal texts are copied, or all. May be repeated.",
    ),
]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept-fingerprints",
        help="Accept the stored vectors as compatible with the configured models although their fingerprints differ.",
    ),
]


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter of a command that is a dataclass by its fields, as options of their own."""
    signature = inspect.signature(command, eval_str=True)
    groups = {
        name: each.annotation
        for name, each in signature.parameters.items()
        if isinstance(each.annotation, type) and is_dataclass(each.annotation)
    }

    @wraps(command)
    def called(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        group = groups.get(name)
        parameters.extend(inspect.signature(group, eval_str=True).parameters.values() if group else [parameter])
    called.__signature__ = signature.replace(  # type: ignore[attr-defined]  # functions have no declared one
        parameters=[parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    return called

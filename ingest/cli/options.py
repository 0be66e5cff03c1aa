"""Options that several commands share. Each defaults to None: what is not given comes from the settings."""

from __future__ import annotations

from typing import Annotated

import typer

Collection = Annotated[str, typer.Option("--collection", "-c", help="The collection, in any spelling.", show_default=False)]
CollectionArgument = Annotated[
    str, typer.Argument(metavar="COLLECTION", help="The collection, in any spelling.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Sources = Annotated[
    list[str],
    typer.Argument(
        help="Folders, globs, files (text, Markdown, HTML, code, JSONL, CSV, TSV, Parquet; .gz, .zst), URLs, or - for stdin.",
        metavar="SOURCE...",
        show_default=False,
    ),
]
Store = Annotated[
    str | None, typer.Option("--store", help="A folder for the embedded engine, or a server's URL. [default: .ingest/qdrant]")
]
Dense = Annotated[str | None, typer.Option("--dense", help="Dense models, joined by commas, or none. [default: all-miniLM-l6]")]
Sparse = Annotated[str | None, typer.Option("--sparse", help="Sparse models, joined by commas, or none. [default: bm25]")]
Delete = Annotated[
    str | None,
    typer.Option("--delete", help="none, incremental (stale chunks) or full (also gone documents). [default: incremental]"),
]
MaxDelete = Annotated[
    str | None, typer.Option("--max-delete", help="Share of the documents that full may delete. [default: 20%]")
]
Rerank = Annotated[str | None, typer.Option("--rerank", help="auto (if the model is to be had), on or off. [default: auto]")]
Reranker = Annotated[
    str | None,
    typer.Option("--reranker", help="A registry key, a folder, or a hub id. [default: ms-marco-minilm-l6]"),
]
Name = Annotated[str | None, typer.Option("--name", help="The source's name, part of every id. [default: its absolute location]")]
Format = Annotated[
    str | None, typer.Option("--format", help="What the source holds, where its name does not say it: jsonl, csv, …")
]
SqlQuery = Annotated[str | None, typer.Option("--query", help="The query whose rows are the documents, for an SQL source.")]
IdField = Annotated[str | None, typer.Option("--id-field", help="Field that holds a record's id.")]
TextField = Annotated[str | None, typer.Option("--text-field", help="Field that holds its text.")]
TitleField = Annotated[str | None, typer.Option("--title-field", help="Field that holds its title.")]
ChunkTokens = Annotated[
    int | None, typer.Option("--chunk-tokens", help="Tokens per chunk at most. [default: what every model takes]")
]
ChunkOverlap = Annotated[
    float | None, typer.Option("--chunk-overlap", help="Share of a chunk that the next repeats. [default: 0]")
]

"""`ingest models`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from ingest.cli import options
from ingest.cli.invocation import Invocation
from ingest.cli.output import print_json
from ingest.cli.terminal import output
from ingest.encode.check import check_model
from ingest.encode.contract import MEMBER_KINDS, ModelKind
from ingest.encode.openvino.ahead import convert_ahead
from ingest.encode.plugin_config import plugin_configs
from ingest.encode.registry import VERIFIED_WITH, find_model, known_models
from ingest.encode.resolve import pull, status

app = typer.Typer(help="List, check, convert and download models.", no_args_is_help=True, rich_markup_mode=None)

KINDS: tuple[ModelKind, ...] = (*MEMBER_KINDS, "reranker")


Key = Annotated[str, typer.Argument(metavar="KEY", help="Registry key of the model.", show_default=False)]


@app.command("list")
def list_models(context: typer.Context, as_json: options.Json = False) -> None:
    """List every model of the registries, the settings and plugins, and whether it is on this machine."""
    invocation: Invocation = context.obj
    known = known_models(invocation.settings().models)
    models = [*known.values(), *(model for model in plugin_configs() if model.key not in known)]
    if as_json:
        print_json(
            {
                "models": [
                    {**asdict(model), "path": model.path and str(model.path), "status": status(model)} for model in models
                ],
                "verified_with": VERIFIED_WITH,
            }
        )
        return
    table = Table()
    for heading in ("key", "kind", "dim", "tokens", "license", "verified", "status"):
        table.add_column(heading, no_wrap=True)
    for model in models:
        dim, tokens = (str(value) if value else "" for value in (model.vector_dim, model.max_tokens))
        table.add_row(model.key, model.kind, dim, tokens, model.license, model.verified or "no", status(model))
    output().print(table)
    typer.echo(
        f"verified with {VERIFIED_WITH} on the CPU: weights = vectors of the published weights;"
        " architecture = random weights in the architecture of the model; no = never loaded here, its Python code included"
    )


@app.command("check")
def check(context: typer.Context, key: Key, device: options.Device = None, as_json: options.Json = False) -> None:
    """Load a model, encode a sentence, and compare the vector with the registry entry."""
    invocation: Invocation = context.obj
    settings = invocation.settings(device=device)
    report = check_model(
        key, custom_models=settings.models, trust_remote_code=settings.trust_remote_code, devices=settings.device or None
    )
    if as_json:
        print_json(asdict(report))
    else:
        shape = (
            f"{report.dim} dimensions{' per token' * (report.kind == 'multivector')}" if report.dim else f"{report.terms} terms"
        )
        typer.echo(f"{report.key}: {shape}, {report.dtype} on {report.device} by {report.backend}, {report.seconds:.1f} s")


@app.command("convert")
def convert(context: typer.Context, key: Key, as_json: options.Json = False) -> None:
    """Convert a model to int8 for OpenVINO, before the first run or query that uses it."""
    invocation: Invocation = context.obj
    settings = invocation.settings()
    done = convert_ahead(
        key,
        cache_directory=settings.cache_dir.expanduser(),
        custom_models=settings.models,
        trust_remote_code=settings.trust_remote_code,
    )
    if as_json:
        print_json(asdict(done))
    else:
        typer.echo(f"{key} is there in {done.precision}, after {done.seconds:.1f} s")


@app.command("pull")
def pull_model(context: typer.Context, key: Key, as_json: options.Json = False) -> None:
    """Download a model's pinned revision, for use offline."""
    invocation: Invocation = context.obj
    files = pull(find_model(key, custom=invocation.settings().models, kinds=KINDS))
    if as_json:
        print_json({"key": key, "folder": str(files.folder)})
    else:
        typer.echo(f"{key} is in {files.folder}")

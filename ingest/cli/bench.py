"""`ingest bench`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ingest.cli import options
from ingest.cli.invocation import Invocation
from ingest.cli.output import plain, print_json
from ingest.cli.session import models_of
from ingest.cli.terminal import output
from ingest.encode.selftest import SelfTest, run_selftest

Model = Annotated[
    str | None,
    typer.Option("--model", help="Registry key of a dense, sparse or multivector model. [default: the first in the settings]"),
]


def bench(context: typer.Context, model: Model = None, as_json: options.Json = False) -> None:
    """Measure in less than a minute how fast this machine encodes, and print which backend and batch size to use."""
    invocation: Invocation = context.obj
    settings = invocation.settings()
    measured = run_selftest(
        model or models_of(settings)[0],
        cache_directory=settings.cache_dir.expanduser(),
        devices=settings.device or None,
        lease_directory=settings.lease_dir,
        custom_models=settings.models,
        trust_remote_code=settings.trust_remote_code,
    )
    if as_json:
        print_json({**asdict(measured), "settings": _settings(measured)})
    else:
        _print(measured)


def _settings(measured: SelfTest) -> dict[str, str | int]:
    """Return what to write into `ingest.toml`: no precision, which would also apply to collections made in another one."""
    best = measured.best
    chosen: dict[str, str | int] = {}
    if best.backend in ("torch", "openvino"):
        chosen["backend"] = best.backend
    if measured.device.startswith("cpu") and best.tokens_per_second:  # without tokens, no batches of them
        chosen["cpu_batch_tokens"] = best.batch_tokens
    return chosen


def _print(measured: SelfTest) -> None:
    console = output()
    where = f"{measured.device}, {measured.threads} threads" if measured.device.startswith("cpu") else measured.device
    table = Table(title=f"{measured.model} on {where}: {measured.seconds:.0f} s", title_justify="left")
    for heading in ("backend", "precision"):
        table.add_column(heading)
    for heading in ("tokens per batch", "texts/s", "tokens/s"):
        table.add_column(heading, justify="right")
    for trial in measured.trials:
        figures = f"{trial.batch_tokens:,}", f"{trial.texts_per_second:,.1f}", f"{trial.tokens_per_second:,.0f}"
        table.add_row(trial.backend, trial.precision, *figures, style="bold" if trial is measured.best else None)
    console.print(table)
    for way, reason in measured.left_out.items():
        console.print(Text(plain(f"{way} was left out: {reason}"), style="yellow"))
    chosen = _settings(measured)
    if not chosen:
        console.print("nothing to set: only one backend can run this model")
        return
    lines = "\n".join(f"{name} = {value!r}".replace("'", '"') for name, value in chosen.items())
    console.print(Text(f"fastest here, for new collections, in ingest.toml:\n\n{lines}\n"))

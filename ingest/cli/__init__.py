"""The command line: settings → `Collection` → print. No logic.

Exit codes: 0 done · 1 failed or does not balance · 2 wrong usage or configuration · 3 done, but more rejects than allowed ·
4 stopped by the deletion limit · 130 interrupted.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ingest.cli.commands import LazyGroup
from ingest.cli.output import error_json, plain, print_json
from ingest.errors import ConfigurationError, DeletionBrakeError, IngestError
from ingest.redaction import without_secrets

app = typer.Typer(
    name="ingest",
    cls=LazyGroup,
    help="Keeps Qdrant collections equal to your documents, in several vector spaces at once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option("--config", help="Settings file. [default: ingest.toml in the working directory, if it exists]")
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Print the settings in force, without secrets, and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, and print a traceback with an error.")] = False,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if show_version:
        from importlib.metadata import version  # noqa: PLC0415  only this needs it

        typer.echo(version("qdrant-ingest"))
        raise typer.Exit
    if not gc.isenabled():  # see `main`
        gc.freeze()
        gc.enable()
    from ingest.cli.invocation import Invocation  # noqa: PLC0415  settings take longer to import than a help text to print

    _start_logging(debug=debug)
    context.obj = Invocation(config=config)
    if show_settings:
        typer.echo(context.obj.settings().model_dump_json(indent=2))
        raise typer.Exit


def main() -> None:
    """Run the `ingest` command."""
    # A run makes millions of objects and hardly a cycle: collecting cycles at the default rate takes a tenth of its time.
    gc.set_threshold(50_000, 20, 50)
    # What is imported stays: looking for cycles in it takes a twentieth of a short command.
    gc.disable()
    # The interpreter looks for cycles once more when it ends, which takes a fifth of a search: the process ends anyway.
    atexit.register(gc.freeze)
    try:
        _check_arguments(sys.argv[1:])
        app()
        sys.stdout.flush()
    except IngestError as error:
        _fail(error)
    except OSError as error:  # of standard output or the telemetry file
        typer.echo(f"error: {error.filename or 'an output'} cannot be read or written: {error.strerror or error}", err=True)
        # Flushing to a full or closed pipe would fail once more while Python shuts down.
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  lives as long as the process
        sys.exit(IngestError.exit_code)


def _check_arguments(arguments: Sequence[str]) -> None:
    for argument in arguments:
        if not argument.isprintable() and any("\ud800" <= character <= "\udfff" for character in argument):
            raise ConfigurationError(f"the argument {argument!r} is not valid UTF-8: write it in UTF-8")


def _fail(error: IngestError) -> NoReturn:
    """Print one line on stderr and, with --json, one object on stdout; exit with the error's code."""
    if "--debug" in sys.argv:
        import traceback  # noqa: PLC0415  only this needs it

        typer.echo(without_secrets("".join(traceback.format_exception(error))), err=True, nl=False)
    doc_ids = list(error.doc_ids) if isinstance(error, DeletionBrakeError) else []
    typer.echo(f"error: {plain(str(error))}", err=True)
    for doc_id in doc_ids:
        typer.echo(f"  would delete {plain(doc_id)}", err=True)
    if "--json" in sys.argv:
        print_json(error_json(error))
    sys.exit(error.exit_code)


class _PublicFormatter(logging.Formatter):
    """A formatter that removes secrets: libraries log URLs with their passwords."""

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def _start_logging(*, debug: bool) -> None:
    on_terminal = sys.stderr.isatty()
    handler = _terminal_handler() if on_terminal else logging.StreamHandler()
    handler.setFormatter(_PublicFormatter("%(message)s" if on_terminal else "%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
    logging.getLogger("ingest").setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("botocore").setLevel(logging.INFO)  # its details are the signed headers of requests, session token included
    if not debug:  # it logs each attempt, and the error that follows says it once
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _terminal_handler() -> logging.Handler:
    from rich.logging import RichHandler  # noqa: PLC0415  only terminals need it

    from ingest.cli.terminal import messages  # noqa: PLC0415

    return RichHandler(console=messages(), show_path=False)

"""What cog puts into docs/reference.md: the help of every command and the table of settings, from the code itself."""

from __future__ import annotations

import typing

from pydantic import BaseModel
from typer.testing import CliRunner

from ingest.cli import app
from ingest.cli.commands import COMMANDS, load_command
from ingest.settings import Settings


def command_help(*command: str) -> str:
    """Return a command's help as a console block."""
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="ingest", env={"COLUMNS": "100", "NO_COLOR": "1"})
    if result.exit_code:
        raise SystemExit(result.output)
    return f"```text\n{result.output.strip()}\n```"


def settings_table() -> str:
    """Every setting with its default."""
    rows = ["| setting | default | what it does |", "|---|---|---|"]
    rows.extend(f"| `{name}` | {default} | {what} |" for name, default, what in _settings(Settings, ""))
    return "\n".join(rows)


def commands() -> list[str]:
    """Every command there is, groups spelled out."""
    return sorted(path for name in COMMANDS for path in _commands(load_command(name), (name,)))


def _settings(model: type[BaseModel], prefix: str) -> typing.Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _default(field.default), field.description or ""


def _default(value: object) -> str:
    if value is None or repr(value) == "PydanticUndefined":
        return ""
    if isinstance(value, list):
        return ", ".join(f"`{each}`" for each in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _commands(command: typing.Any, path: tuple[str, ...]) -> typing.Iterator[str]:
    yield " ".join(path)
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))

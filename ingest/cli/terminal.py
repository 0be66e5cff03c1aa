"""The consoles of the command line: one for standard output, one for standard error."""

from __future__ import annotations

from functools import cache

from rich.console import Console

PIPED_WIDTH = 10_000
"""Columns of output that is no terminal: nothing is wrapped there."""


def output() -> Console:
    """Return a console on standard output that prints text as it is. Text in a pipe or a file is not wrapped."""
    console = Console(markup=False, emoji=False, highlight=False)
    return console if console.is_terminal else Console(markup=False, emoji=False, highlight=False, width=PIPED_WIDTH)


@cache
def messages() -> Console:
    """Return the console on standard error. Progress and log lines share it, so that neither overwrites the other."""
    return Console(stderr=True)

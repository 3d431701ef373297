"""Complaints of a mistaken command line, as short as all others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from raysl.errors import message


class Commands(TyperGroup):
    """Commands whose complaints of the command line are as short as all others."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _short_complaints():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _short_complaints():
            return super().invoke(ctx)


@contextmanager
def _short_complaints() -> Iterator[None]:
    try:
        yield
    except _USAGE as error:
        text = message(error.format_message())
        error.format_message = lambda: text
        raise


_USAGE: Any = typer.BadParameter.__mro__[1]  # of all that is wrong with a command line

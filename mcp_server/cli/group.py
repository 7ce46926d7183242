"""The group of commands, whose errors are framed at a terminal alone."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import rich_click as click
from click.exceptions import Exit, NoArgsIsHelpError


class Group(click.RichGroup):
    """A frame is for who looks at a terminal; in the log of a container it breaks addresses and commands at 80 columns.

    Where standard error is none, a line stays a line: it can be searched for and copied.
    """

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        """Read the options, and say what is wrong with them."""
        with _said_plainly():
            return super().make_context(*given, **more)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is named, and say what is wrong with it."""
        with _said_plainly():
            return super().invoke(ctx)


@contextlib.contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except click.ClickException as error:
        if sys.stderr.isatty() or isinstance(error, NoArgsIsHelpError):  # which is no error, but the help
            raise
        click.echo(_plain(error), err=True)
        raise Exit(error.exit_code) from None


def _plain(error: click.ClickException) -> str:
    said = f"Error: {error.format_message()}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.ctx.get_usage().strip()}\n{said}\nTry '{error.ctx.command_path} --help' for help."
    return said

"""The group of commands, whose errors are framed at a terminal alone."""

import sys
from typing import Any

import rich_click as click
from click.exceptions import NoArgsIsHelpError


class Group(click.RichGroup):
    """A frame is for who looks at a terminal; in the log of a container it breaks addresses and commands at 80 columns.

    Where standard error is none, a line stays a line: it can be searched for and copied.
    """

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that is named, and say what is wrong with it."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            if sys.stderr.isatty() or isinstance(error, NoArgsIsHelpError):  # which is no error, but the help
                raise
            click.echo(_plain(error), err=True)
            ctx.exit(error.exit_code)


def _plain(error: click.ClickException) -> str:
    said = f"Error: {error.format_message()}"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        return f"{error.ctx.get_usage().strip()}\n{said}\nTry '{error.ctx.command_path} --help' for help."
    return said

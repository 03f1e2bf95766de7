"""What the benchmarks' commands have in common."""

from typing import Any

import click

from winnrobust.runtime.errors import InputError


class Command(click.Command):
    """Says what was wrong with the input in one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None

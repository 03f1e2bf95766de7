"""The command line: one file per command, each of which parses, calls and prints."""

import errno
import sys
from typing import Any

import click

from winnrobust.cli.attack import attack
from winnrobust.cli.compare import compare
from winnrobust.cli.quickstart import quickstart
from winnrobust.cli.report import report
from winnrobust.cli.train import train
from winnrobust.errors import InputError


class OneLineErrors(click.Group):
    """A command group that turns what a user can cause into one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            _fail(str(error))
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click's own business: the reader of our output went away
            place = f" ({error.filename})" if error.filename else ""
            _fail(f"{error.strerror or error}{place}; what was written before is intact")
        except KeyboardInterrupt:
            click.echo("stopped; a training run goes on with --resume", err=True)
            sys.exit(130)


def _fail(message: str) -> None:
    error = click.ClickException(" ".join(message.split()))
    error.exit_code = 2
    raise error


@click.group(
    cls=OneLineErrors,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="winnrobust")
def main() -> None:
    """Is this classifier really more robust than that one?

    Train a Wasserstein Introspective Neural Network (WINN) and a baseline, attack both, and read
    adversarial errors and cross-correction rates in a table like the paper's.

    \b
    New here?  winnrobust quickstart
    In full:   winnrobust train --dataset mnist --arch vanilla --method baseline
               winnrobust train --dataset mnist --arch vanilla --method winn
               winnrobust attack --eps 0.125
               winnrobust report results/...
    """


for command in (quickstart, train, attack, compare, report):
    main.add_command(command)

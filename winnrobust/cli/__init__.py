"""The command line: one file per command, each of which parses, calls and prints."""

import errno
import importlib
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import InputError

COMMANDS = {
    "quickstart": "Train, attack and compare on the embedded digits, in minutes.",
    "train": "Train a WINN, a baseline, or by adversarial training.",
    "attack": "Attack trained models and cross-check them.",
    "attacks": "List the attacks: threat model, cost, source.",
    "models": "List the trained models that come along.",
    "synthesize": "Draw samples from a trained WINN.",
    "detect": "Do models notice adversarial and foreign images?",
    "quality": "Score samples by a classifier.",
    "gallery": "Write a page of what trained generators make, with scores.",
    "texture": "Draw a texture of any size after a picture.",
    "compare": "Train both methods, attack both, write the report.",
    "reproduce": "Train, attack and write what a table of the paper needs.",
    "report": "Build tables and one HTML page from stored results.",
}
"""Name -> what the list of commands says; `winnrobust.cli.NAME` holds the command NAME."""


class OneLineError(click.ClickException):
    """What the user sees of an error: one line on stderr, exit code 2."""

    exit_code = 2


class Commands(click.Group):
    """Imports a command when it is called (torch takes seconds) and keeps errors to one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(
            importlib.import_module(f"winnrobust.cli.{cmd_name}"), cmd_name
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        keep_freed_memory()
        try:
            with _job():
                return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            raise _one_line(error.format_message(), error.ctx) from None
        except InputError as error:
            raise _one_line(str(error)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click's own business: the reader of our output went away
            place = f" ({error.filename})" if error.filename else ""
            raise _one_line(
                f"{error.strerror or error}{place}; what was written before is intact"
            ) from None
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and "memory" not in str(error):
                raise
            raise _one_line(
                "there is not enough memory for these settings; lower --batch-size,"
                " --negatives-per-class or --noise-dim; what was written before is intact"
            ) from None
        except KeyboardInterrupt:
            sys.exit(130)  # what a shell calls interrupted; the run itself has said how to go on


def _job() -> AbstractContextManager[None]:
    """Join the processes of a job where torchrun started this one, without importing torch else."""
    if "RANK" not in os.environ:
        return nullcontext()
    return importlib.import_module("winnrobust.runtime.distributed").job()


def _one_line(message: str, ctx: click.Context | None = None) -> OneLineError:
    text = " ".join(message.split())
    return OneLineError(text if ctx is None else f"{text} See '{ctx.command_path} --help'.")


@click.group(
    name="winnrobust",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="winnrobust", prog_name="winnrobust")
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

"""The command line: one file per command, each of which parses, calls and prints."""

import errno
import importlib
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

import click

from winnrobust.runtime.allocator import keep_freed_memory
from winnrobust.runtime.errors import LONGEST, InputError, brief, printable

COMMANDS = {
    "quickstart": "Train, attack, and compare on built-in digits, in minutes.",
    "train": "Train a WINN, a baseline, or an adversarially trained network.",
    "attack": "Attack models, yours or ours: which is more robust?",
    "attacks": "List the attacks: threat model, cost, source.",
    "models": "List the trained models that come with the package.",
    "synthesize": "Draw samples from a trained WINN.",
    "detect": "Do models detect adversarial and out-of-distribution images?",
    "quality": "Score samples with a classifier.",
    "gallery": "Write a page of samples from trained generators, with scores.",
    "texture": "Draw a texture of any size from a picture.",
    "compare": "Train two methods, attack both, and write the report.",
    "reproduce": "Reproduce a table of the paper: train, attack, compare.",
    "report": "Write a page and tables from stored results.",
}
"""Name -> what the list of commands says; `winnrobust.cli.NAME` holds the command NAME."""


DEBUG_VARIABLE = "WINNROBUST_DEBUG"

BITS = 63
"""Of an integer: what libraries and tables have room for."""


class OneLineError(click.ClickException):
    """What the user sees of an error: one line on stderr, exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split()))[:LONGEST])


class InternalError(OneLineError):
    """The same of an error that is not the user's; exit code 1."""

    exit_code = 1


class Stopped(KeyboardInterrupt):
    """A signal asked the process to end: what the work does then is what it does for Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number  # what a shell calls ended by that signal


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
        for parameter in command.params:
            parameter.callback = parameter.callback or _check_numbers
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        keep_freed_memory()
        try:
            with _signals(), _job():
                return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except KeyboardInterrupt as stop:  # the work itself has said how to go on
            sys.exit(stop.exit_code if isinstance(stop, Stopped) else 128 + signal.SIGINT)
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # click's own business: the reader of our output went away
            if isinstance(error, click.exceptions.Exit | click.Abort):
                raise
            if ctx.params["debug"]:
                traceback.print_exc()
            raise _one_line(error) from None


def _one_line(error: Exception) -> OneLineError:
    """What the user sees of an error."""
    if isinstance(error, click.UsageError):
        more = f". See '{error.ctx.command_path} --help'." if error.ctx else ""
        return OneLineError(error.format_message().rstrip(".") + more)
    if isinstance(error, InputError | click.ClickException):
        return OneLineError(str(error))
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        return OneLineError(f"{error.strerror or error}{place}; what was written before is intact")
    if _is_out_of_memory(error):
        return OneLineError(
            "there is not enough memory for these settings; lower --batch-size,"
            " --negatives-per-class or --noise-dim; what was written before is intact"
        )
    return InternalError(
        f"{type(error).__name__}: {brief(error)}; what was written before is intact; for the"
        f" traceback, to report it: winnrobust --debug ..., or {DEBUG_VARIABLE}=1"
    )


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")  # it takes seconds, so nobody imports it for this
    if torch is None:
        return False
    # A CPU's allocator has no class of errors for itself.
    return isinstance(error, torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: " in str(error)
    )


@contextmanager
def _signals() -> Iterator[None]:
    """Let the signals that ask a process to end do what Ctrl-C does, for a `with` block."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [signal.Signals[name] for name in names]
    here = threading.current_thread() is threading.main_thread()
    # One that is ignored, as SIGHUP under nohup, stays so.
    taken = [each for each in numbers if here and signal.getsignal(each) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _job() -> AbstractContextManager[None]:
    """Join the processes of a job where torchrun started this one, without importing torch else."""
    if "RANK" not in os.environ:
        return nullcontext()
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # else the others are there
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # we say ourselves who is missing
    return importlib.import_module("winnrobust.runtime.distributed").job()


def _check_numbers(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Refuse numbers that are none and those that no library takes."""
    for each in value if isinstance(value, tuple | list) else (value,):
        if isinstance(each, float) and math.isnan(each):
            raise click.BadParameter("it must be a number, not nan")
        if isinstance(each, int) and each.bit_length() > BITS:
            raise click.BadParameter(f"{each} is too large")
    return value


@click.group(
    name="winnrobust",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="winnrobust", prog_name="winnrobust")
@click.option(
    "--debug",
    is_flag=True,
    envvar=DEBUG_VARIABLE,
    show_envvar=True,
    help="Show the traceback of an error, too.",
)
def main(debug: bool) -> None:
    """Is this classifier really more robust than that one?

    Attack image classifiers, yours or those that come with the package, and read clean and robust
    accuracies with intervals, a paired test, and whether the attacks worked. The package also
    trains Wasserstein Introspective Neural Networks (WINN), which it is named after.

    \b
    New here?    winnrobust quickstart
    Your model:  winnrobust attack --model mine=cnn.pth --arch mine=my_nets:cnn --data my-images
                 winnrobust report results/...
    The paper's: winnrobust train --dataset mnist --arch vanilla --method baseline
                 winnrobust train --dataset mnist --arch vanilla --method winn
                 winnrobust attack --eps 0.125
    """

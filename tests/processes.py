"""Commands in processes of their own, which can be killed, but need not import torch each time.

A server imports everything once; each command is a fork of it.
"""

import multiprocessing
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import click
import torch

from winnrobust.cli import COMMANDS, main

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([__name__])
HERE = str(Path(__file__).parents[1])

PATIENCE = 300


class Done(NamedTuple):
    """How a process ended: as `subprocess` has it, -9 is killed; and all that it wrote."""

    code: int
    output: str


class Started:
    """A process that runs a command, or a function."""

    def __init__(
        self,
        work: Callable[[], object],
        output: Path,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.output = output
        output.write_text("")
        self.process: ForkServerProcess = CONTEXT.Process(
            target=_run, args=(work, output, dict(variables or {}))
        )
        with patch.dict(os.environ, PYTHONPATH=HERE):  # for the server, if this starts it
            self.process.start()

    def wait_for(self, pattern: str) -> None:
        """Wait until it has written a line that matches."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(pattern, self.output.read_text(), re.MULTILINE):
            assert self.process.is_alive(), self.output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        if self.process.is_alive():
            os.kill(self.process.pid, number)

    def wait(self) -> Done:
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, "it still runs"
        return Done(self.process.exitcode, self.output.read_text())


class Command(NamedTuple):
    """A command as typed; with `fatal_rename` it is killed at its n-th rename to such a name.

    The temporary file is written then, and whatever it was to replace is still the old one.
    """

    arguments: tuple[str, ...]
    fatal_rename: int | None = None
    to: str = "*"

    def __call__(self) -> None:
        if self.fatal_rename is not None:
            _die_at_rename(self.fatal_rename, self.to)
        sys.argv = ["winnrobust", *self.arguments]
        main()


def start(
    *arguments: object, output: Path, fatal_rename: int | None = None, to: str = "*"
) -> Started:
    """Start a command."""
    return Started(Command(tuple(map(str, arguments)), fatal_rename, to), output)


def finish(
    *arguments: object, output: Path, fatal_rename: int | None = None, to: str = "*"
) -> Done:
    """Run a command to its end."""
    return start(*arguments, output=output, fatal_rename=fatal_rename, to=to).wait()


def together(work: Callable[[], object], folder: Path, count: int = 2) -> list[Done]:
    """Run the same in several processes that make up a job, as torchrun starts them."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    job = {"WORLD_SIZE": str(count), "MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
    started = [
        Started(work, folder / f"output-{rank}.txt", job | {"RANK": str(rank)})
        for rank in range(count)
    ]
    return [each.wait() for each in started]


def _run(work: Callable[[], object], output: Path, variables: Mapping[str, str]) -> None:
    """What the new process does."""
    with output.open("a") as file:
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            os.dup2(file.fileno(), number)
            stream.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ |= variables
    torch.set_num_threads(1)
    work()


def _die_at_rename(left: int, to: str) -> None:
    rename = Path.replace

    def dying(self: Path, target: Path) -> Path:
        nonlocal left
        left -= Path(target).match(to)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.replace = dying


for name in COMMANDS:
    main.get_command(click.Context(main), name)  # imports it, in the server, too

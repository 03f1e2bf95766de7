"""Commands as typed, small trained runs that they work on, and Ctrl-C at a known moment."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from winnrobust.cli import main

TINY = ["train", "--dataset", "mnist5k", "--limit-train", "100", "--epochs", "1", "--device", "cpu"]
"""What every method takes."""
SMALL = [*TINY, "--negatives-per-class", "2", "--synthesis-max-steps", "2"]
"""A WINN."""


def winnrobust(*arguments: object) -> Result:
    """Run a command in process, as typed."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def work_in(folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, code: str) -> None:
    """Make `folder` the current one, with a user's module in it that commands can import anew."""
    (folder / f"{module}.py").write_text(code)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, module, raising=False)


def assert_one_line(result: Result, *parts: str) -> None:
    """The promise for all bad input: one line on stderr, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@contextmanager
def stopped_once(folder: Path, pattern: str, count: int = 1) -> Iterator[None]:
    """Press Ctrl-C when a network is asked after `count` such files are in a folder."""

    def look(*_: Any) -> None:
        if len(list(folder.glob(pattern))) >= count:
            raise KeyboardInterrupt

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with one run of each method; baseline first, so the WINN is the newer."""
    folder = tmp_path_factory.mktemp("cli") / "runs"
    for method, command in (("baseline", TINY), ("winn", SMALL)):
        result = winnrobust(*command, "--method", method, "--out", folder / method)
        assert result.exit_code == 0, result.output
    return folder

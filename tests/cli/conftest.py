"""Small trained runs that the commands work on."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from winnrobust.cli import main

TINY = ["train", "--dataset", "mnist5k", "--limit-train", "100", "--epochs", "1", "--device", "cpu"]
"""What every method takes."""
SMALL = [*TINY, "--negatives-per-class", "2", "--synthesis-max-steps", "2"]
"""A WINN."""


def winnrobust(*arguments: object) -> Result:
    """Run a command in process, as typed."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_one_line(result: Result, *parts: str) -> None:
    """The promise for all bad input: one line on stderr, exit code 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder with one run of each method; baseline first, so the WINN is the newer."""
    folder = tmp_path_factory.mktemp("cli") / "runs"
    for method, command in (("baseline", TINY), ("winn", SMALL)):
        result = winnrobust(*command, "--method", method, "--out", folder / method)
        assert result.exit_code == 0, result.output
    return folder

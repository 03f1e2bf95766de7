"""Whatever goes wrong, the user sees one line; the traceback is for who asks for it."""

import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust
from winnrobust.runtime.errors import InputError

ILLEGAL = (
    "CUDA error: an illegal memory access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)
BROKEN_PROMISE = KeyError("no such column")


@pytest.fixture
def failing(tmp_path, monkeypatch):
    """Types a command whose work fails with the error given."""

    def fail(error, *options):
        def work(*_, **__):
            raise error

        monkeypatch.setattr("winnrobust.reporting.report.write_report", work)
        return winnrobust(*options, "report", "results", "--out", tmp_path / "out")

    return fail


def assert_internal(result, *parts):
    """One line as well, but exit code 1: it is not the user who can mend it."""
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for part in parts:
        assert part in result.stderr


def test_an_error_of_ours_shows_what_it_is(failing):
    assert_internal(failing(BROKEN_PROMISE), "KeyError: 'no such column'", "winnrobust --debug")
    result = failing(RuntimeError(ILLEGAL))
    assert_internal(result, "RuntimeError: CUDA error: an illegal memory access was encountered")
    assert "enough memory" not in result.stderr


def test_only_what_is_a_lack_of_memory_is_called_one(failing):
    with pytest.raises(RuntimeError) as no_room:
        torch.empty(2**60, dtype=torch.uint8)
    for error in (MemoryError(), torch.cuda.OutOfMemoryError("CUDA out of memory"), no_room.value):
        assert_one_line(failing(error), "there is not enough memory for these settings")
    assert_internal(failing(RuntimeError("shared memory of another kind")), "of another kind")


def test_the_traceback_is_there_for_who_asks(failing, monkeypatch):
    for error, code in ((BROKEN_PROMISE, 1), (InputError("no such file"), 2)):
        result = failing(error, "--debug")
        assert result.exit_code == code
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.splitlines()[-1].startswith("Error: ")
        assert "Traceback" not in failing(error).stderr
    monkeypatch.setenv("WINNROBUST_DEBUG", "1")
    assert "Traceback" in failing(BROKEN_PROMISE).stderr


HUGE = str(2**64)


@pytest.mark.parametrize(
    "arguments",
    [
        ("attack", "--seed", HUGE),
        ("attack", "--limit", HUGE),
        ("attack", "--steps", "9" * 5000),
        ("attack", "--queries", HUGE),
        ("attack", "--time-budget", "nan"),
        ("attack", "--eps", "9" * 400 + "/7"),
        ("attack", "--eps", "9" * 5000),
        ("train", "--seed", HUGE),
        ("train", "--epochs", HUGE),
        ("synthesize", "zoo:mnist-vanilla-winn", "--n", HUGE),
        ("synthesize", "zoo:mnist-vanilla-winn", "--class", f"-{HUGE}"),
        ("texture", "run", "--size", "9" * 5000 + "x1"),
    ],
)
def test_numbers_beyond_all_bounds_end_in_one_line(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    option = next(part for part in arguments if part.startswith("--"))
    assert_one_line(winnrobust(*arguments), option)
    assert not list(tmp_path.iterdir())


def test_names_are_shown_so_that_a_terminal_obeys_none(tmp_path):
    for name, shown in (
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("new\nline", r"new\nline"),
        ("\u202egnp", r"\u202egnp"),
        (os.fsdecode(b"\xff\xfe"), r"\xff\xfe"),
    ):
        for arguments in (("report",), ("attack",), ("train", "--config")):
            result = winnrobust(*arguments, tmp_path / name)
            assert_one_line(result, str(tmp_path / shown))


def test_a_pipe_is_not_waited_for(tmp_path):
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    (tmp_path / "class").mkdir()
    os.mkfifo(tmp_path / "class" / "pipe.png")
    for arguments in (
        ("train", "--config", pipe),
        ("attack", pipe),
        ("attack", "--model", f"m={pipe.with_suffix('.pt')}", "--data", pipe),
        ("attack", "--model", "m=nets:cnn", "--weights", f"m={pipe}", "--data", tmp_path),
        ("attack", "zoo:mnist-vanilla-winn", "--data", tmp_path),
        ("attack", "zoo:mnist-vanilla-winn", "--data", pipe),
        ("texture", "--source", pipe, "--out", tmp_path / "out.png"),
        ("train", "--unsupervised", "--data", tmp_path / "class", "--out", tmp_path / "run"),
    ):
        assert_one_line(winnrobust(*arguments))


CONFIGS = {
    "huge": "lr = 1" + "0" * 400,
    "deep": "lr = " + "[" * 3000 + "]" * 3000,
    "digits": "epochs = " + "9" * 5000,
    "recipe": "recipe = []",
    "method": "unsupervised = true\nmethod = {}",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_nothing_could_use_ends_in_one_line(tmp_path, name):
    (tmp_path / "given.toml").write_text(CONFIGS[name])
    run = tmp_path / "run"
    assert_one_line(winnrobust("train", "--config", tmp_path / "given.toml", "--out", run))
    assert not run.exists()


def test_images_that_nothing_could_use_end_in_one_line(tmp_path):
    (tmp_path / "0").mkdir()
    for name in ("1", "2"):
        Image.new("L", (28, 28)).save(tmp_path / "0" / f"{name}.png")
    content = bytearray((tmp_path / "0" / "1.png").read_bytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    (tmp_path / "0" / "2.png").write_bytes(bytes(content))
    result = winnrobust("attack", "zoo:mnist-vanilla-winn", "--data", tmp_path)
    assert_one_line(result, "2.png is not an image")
    np.savez(tmp_path / "data.npz", images=np.zeros((2, 28, 28)), labels=np.array([0, {}]))
    result = winnrobust("attack", "zoo:mnist-vanilla-winn", "--data", tmp_path / "data.npz")
    assert_one_line(result, "holds pickled objects")


LEFT_BEHIND = [
    {"RANK": "0", "WORLD_SIZE": "2"},
    {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost"},
    {"RANK": "7", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"},
    {"RANK": "", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"},
    {"RANK": "0", "WORLD_SIZE": "four", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"},
    {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "99999"},
]


@pytest.mark.parametrize("variables", LEFT_BEHIND)
def test_variables_that_a_scheduler_left_behind_are_named(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    message = winnrobust("attacks")
    assert_one_line(message, "unset RANK WORLD_SIZE MASTER_ADDR MASTER_PORT")


@pytest.mark.parametrize("variables", [{"WORLD_SIZE": "4"}, {"RANK": "0", "WORLD_SIZE": "1"}])
def test_a_job_of_one_process_runs_alone(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert winnrobust("attacks").exit_code == 0


IMPATIENT = """
import os
from datetime import timedelta
os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"  # what the command itself would do before the import
import winnrobust.runtime.distributed as distributed
distributed.PATIENCE = timedelta(seconds=1)
from winnrobust.cli import main
main(["attacks"])
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_processes_that_never_come_are_not_waited_for_without_end(rank):
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = str(probe.getsockname()[1])
    variables = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    done = subprocess.run(
        [sys.executable, "-c", IMPATIENT],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    told, error = done.stderr.splitlines()
    assert f"waiting at localhost:{port} for the other of 2 processes" in told
    assert f"the 2 processes of this job did not meet at localhost:{port}" in error
    assert "unset RANK" in error


def test_the_commands_list_needs_no_torch():
    """`--help` takes a moment, not seconds."""
    code = "import sys; from winnrobust.cli import main; assert 'torch' not in sys.modules"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0

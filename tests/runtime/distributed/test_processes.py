"""Two real processes, started by torchrun, compute what one does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.runtime.distributed import worker
from winnrobust.training.methods import METHODS

TINY = [
    *("--dataset", "mnist5k", "--limit-train", "101", "--epochs", "2", "--batch-size", "20"),
    *("--negatives-per-class", "2", "--synthesis-max-steps", "3", "--device", "cpu"),
]


def torchrun(*arguments: str | Path) -> list[str]:
    """The command that starts two processes of a script or, after `-m`, of a module."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", "2", *map(str, arguments)]


def run(command: list[str], code: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("job") / "found.pt"
    run(torchrun("-m", "tests.runtime.distributed.worker", path))
    return torch.load(path, weights_only=False)  # our own file


@pytest.fixture(autouse=True)
def one_thread():
    """As many as torchrun gives each process: float32 sums depend on it in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_there_were_two(together):
    assert together["size"] == 2


@pytest.mark.parametrize("method", list(METHODS))
def test_a_steps_gradient_is_that_of_one_process(together, method):
    alone = worker.gradients(method)
    assert set(alone) == set(together[method])
    for name, expected in alone.items():
        if expected is None:  # an untrained critic; one process has no gradient, two add up none
            assert not together[method][name].any()
        else:
            torch.testing.assert_close(together[method][name], expected, rtol=1e-5, atol=1e-10)
    assert method != "winn" or alone["gradient_penalty"] > 0.1


def test_synthesis_is_that_of_one_process(together):
    alone, found = worker.synthesis(), together["synthesis"]
    assert torch.equal(found["result"].steps, alone["result"].steps)
    assert torch.equal(found["result"].reached, alone["result"].reached)
    torch.testing.assert_close(found["result"].images, alone["result"].images, rtol=0, atol=1e-6)
    for label, moments in alone["adam"].items():
        torch.testing.assert_close(found["adam"][label]["step"], moments["step"])


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("evaluation", worker.evaluation),
        ("aimed", lambda: worker.evaluation("random")),
        ("distances", worker.distances),
    ],
)
def test_evaluation_is_that_of_one_process(together, name, compute):
    alone = compute()
    assert set(together[name]) == set(alone)
    for part, expected in alone.items():
        if part in worker.TABLES:  # which may hold NaN
            pd.testing.assert_frame_equal(
                pd.DataFrame(together[name][part]), pd.DataFrame(expected)
            )
        else:
            assert together[name][part] == expected


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The same small run by one process and by two."""
    folder = tmp_path_factory.mktemp("runs")
    run([sys.executable, "-m", "winnrobust", "train", *TINY, "--out", str(folder / "alone")])
    run(torchrun("-m", "winnrobust", "train", *TINY, "--out", folder / "together"))
    return folder


def test_training_ends_near_the_run_of_one_process(runs):
    alone, together = (
        load_file(runs / name / "model.safetensors") for name in ("alone", "together")
    )
    for name, expected in alone.items():
        torch.testing.assert_close(together[name], expected, rtol=0, atol=2e-2)
    lines = [
        (runs / name / "metrics.jsonl").read_text().splitlines() for name in ("alone", "together")
    ]
    assert len(lines[0]) == len(lines[1]) == 2
    assert (runs / "together" / "training.png").exists()


def test_attack_counts_are_those_of_one_process(runs, tmp_path):
    models = [runs / "alone", runs / "together" / "model.safetensors"]
    options = [
        "--attacks",
        "fgsm,pgd",
        "--limit",
        "300",
        "--batch-size",
        "64",
        "--device",
        "cpu",
        "--no-diagnose",
    ]
    command = ["-m", "winnrobust", "attack", *map(str, models), *options, "--out"]
    run([sys.executable, *command, str(tmp_path / "alone")])
    said = run(torchrun(*command, tmp_path / "together"))
    tables = [(tmp_path / name / "results.csv").read_text() for name in ("alone", "together")]
    assert tables[0] == tables[1]
    assert said.stdout.count("results are in") == 1


def test_a_process_that_dies_ends_the_job_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    long = [*TINY, "--epochs", "30"]
    job = subprocess.Popen(
        torchrun("-m", "winnrobust", "train", *long, "--out", folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (folder / "state" / "last.safetensors").exists():
            assert job.poll() is None, job.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(second_process(job.pid), signal.SIGKILL)
        output, errors = job.communicate(timeout=120)
    finally:
        if job.poll() is None:
            os.killpg(job.pid, signal.SIGKILL)
    assert job.returncode != 0
    assert "SIGKILL" in errors
    assert (
        "stopped; go on with: winnrobust train --resume" in output
        or "another process of this job ended" in errors
    )
    finished = len((folder / "metrics.jsonl").read_text().splitlines())
    assert 1 <= finished < 30
    resume = ["--resume", "--device", "cpu", "--out", str(folder)]
    run([sys.executable, "-m", "winnrobust", "train", *resume])
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 30


def second_process(launcher: int) -> int:
    """The process with rank 1 among the launcher's children."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if b"RANK=1" in environment:
            return int(child)
    raise AssertionError(f"no rank 1 among {children}")

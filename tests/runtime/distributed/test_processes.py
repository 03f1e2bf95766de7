"""Real processes that work together compute what one does."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests import processes
from tests.evaluation.test_run import assert_equal
from tests.runtime.distributed import worker
from winnrobust import read_outcomes
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
def job(tmp_path_factory) -> Path:
    """What two processes computed, and the folders of their evaluations."""
    folder = tmp_path_factory.mktemp("job")
    for done in processes.together(partial(worker.work, folder), folder):
        assert done.code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def together(job) -> dict:
    return torch.load(job / "found.pt", weights_only=False)  # our own file


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


@pytest.mark.parametrize("name", worker.EVALUATIONS)
def test_evaluation_is_that_of_one_process(job, together, name, tmp_path):
    assert_equal(together[name], worker.EVALUATIONS[name](tmp_path))
    assert (together[name].summary.costs.seconds > 0).all()
    pd.testing.assert_frame_equal(read_outcomes(job / name), read_outcomes(tmp_path))
    writers = {path.stem.split("-")[-1] for path in (job / name / "outcomes").iterdir()}
    assert writers == {"r0", "r1"}


def test_every_process_reads_its_share_of_a_folder_alone(job):
    read = [json.loads((job / "pictures" / f"read-{rank}.json").read_text()) for rank in range(2)]
    looked_at, each = 16, worker.PICTURES // 2
    assert all(len(names) <= looked_at + each + 8 for names in read)
    assert len(set(read[0]) | set(read[1])) == worker.PICTURES
    # All see the first ones, to learn how the models answer; no other is read twice.
    assert set(read[0]) & set(read[1]) == set(read[0][:looked_at])
    assert len(read[0][looked_at:]) == len(set(read[0][looked_at:]))


def test_nothing_keeps_the_group_and_its_threads_after_the_job():
    """A thread of a group that is left alone can abort the process while it ends."""
    run(torchrun("-m", "tests.runtime.distributed.leaving"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The same small run by one process and by two."""
    folder = tmp_path_factory.mktemp("runs")
    alone = ("train", *TINY, "--out", folder / "alone")
    assert processes.finish(*alone, output=folder / "output.txt").code == 0
    run(torchrun("-m", "winnrobust", "train", *TINY, "--out", folder / "together"))
    return folder


@pytest.mark.slow
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


ATTACK = [
    *("attack", "zoo:mnist-vanilla-baseline", "zoo:mnist-vanilla-winn", "--dataset", "mnist5k"),
    *("--attacks", "fgsm,pgd", "--steps", "3", "--limit", "60", "--batch-size", "8"),
    *("--device", "cpu", "--no-diagnose"),
]


@pytest.fixture(scope="module")
def attacked(tmp_path_factory) -> Path:
    """The results of one process."""
    folder = tmp_path_factory.mktemp("attacked")
    done = processes.finish(*ATTACK, "--out", folder / "out", output=folder / "output.txt")
    assert done.code == 0, done.output
    return folder / "out"


def assert_same_results(out: Path, expected: Path) -> None:
    for name in ("results.csv", "table.csv"):
        assert (out / name).read_bytes() == (expected / name).read_bytes()
    pd.testing.assert_frame_equal(read_outcomes(out), read_outcomes(expected))
    assert not list(out.parent.rglob(".*"))


@pytest.mark.slow
def test_an_attack_started_by_torchrun_is_that_of_one_process(attacked, tmp_path):
    said = run(torchrun("-m", "winnrobust", *ATTACK, "--out", tmp_path / "out"))
    assert said.stdout.count("results are in") == 1
    assert_same_results(tmp_path / "out", attacked)


def attack_in_which_the_second_dies(out: Path) -> None:
    """At its second batch; each process has four."""
    fatal = 2 if os.environ["RANK"] == "1" else None
    processes.Command((*ATTACK, "--out", str(out)), fatal, "outcomes/*.parquet")()


def test_what_a_job_left_unfinished_one_process_goes_on_with(attacked, tmp_path):
    out = tmp_path / "out"
    first, second = processes.together(partial(attack_in_which_the_second_dies, out), tmp_path)
    assert second.code == -signal.SIGKILL, second.output
    assert first.code == 2, first.output
    assert first.output.splitlines()[-1].startswith("Error: another process of this job ended")
    parts = {path.name for path in (out / "outcomes").glob("[0-9]*.parquet")}
    assert "0000008-0000016-r1.parquet" in parts
    assert "0000024-0000032-r1.parquet" not in parts
    done = processes.finish(*ATTACK, "--out", out, output=tmp_path / "output.txt")
    assert done.code == 0, done.output
    assert "going on after " in done.output
    assert parts <= {path.name for path in (out / "outcomes").iterdir()}
    assert_same_results(out, attacked)


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_and_the_run_goes_on(tmp_path):
    folder = tmp_path / "run"
    long = [*TINY, "--epochs", "12"]
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
    assert 1 <= finished < 12
    resume = ["--resume", "--device", "cpu", "--out", str(folder)]
    run([sys.executable, "-m", "winnrobust", "train", *resume])
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 12


def second_process(launcher: int) -> int:
    """The process with rank 1 among the launcher's children."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if b"RANK=1" in environment:
            return int(child)
    raise AssertionError(f"no rank 1 among {children}")

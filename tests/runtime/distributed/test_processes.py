"""Two real processes compute what one does."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.processes import Command, together
from tests.runtime.distributed import worker
from winnrobust.runtime.locks import hold
from winnrobust.training.methods import METHODS

TINY = (
    *("--dataset", "mnist5k", "--limit-train", "51", "--epochs", "2", "--batch-size", "20"),
    *("--negatives-per-class", "2", "--synthesis-max-steps", "3", "--device", "cpu"),
)


def run(work: Callable[[], object], folder: Path, processes: int) -> str:
    """Run the same in so many processes; returns what the main one wrote."""
    done = together(work, folder, processes)
    assert all(each.code == 0 for each in done), [each.output for each in done]
    return done[0].output


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("job")
    run(partial(worker.main, str(folder / "found.pt")), folder, 2)
    return torch.load(folder / "found.pt", weights_only=False)  # our own file


@pytest.fixture(autouse=True)
def one_thread():
    """As many as torchrun gives each process: float32 sums depend on it in the last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_there_were_two(job):
    assert job["size"] == 2


@pytest.mark.parametrize("method", list(METHODS))
def test_a_steps_gradient_is_that_of_one_process(job, method):
    alone = worker.gradients(method)
    assert set(alone) == set(job[method])
    for name, expected in alone.items():
        if expected is None:  # an untrained critic; one process has no gradient, two add up none
            assert not job[method][name].any()
        else:
            torch.testing.assert_close(job[method][name], expected, rtol=1e-5, atol=1e-10)
    assert method != "winn" or alone["gradient_penalty"] > 0.1


def test_synthesis_is_that_of_one_process(job):
    alone, found = worker.synthesis(), job["synthesis"]
    assert torch.equal(found["result"].steps, alone["result"].steps)
    assert torch.equal(found["result"].reached, alone["result"].reached)
    torch.testing.assert_close(found["result"].images, alone["result"].images, rtol=0, atol=1e-6)
    for label, moments in alone["adam"].items():
        torch.testing.assert_close(found["adam"][label]["step"], moments["step"])


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("evaluation", worker.evaluation),
        ("targeted", partial(worker.evaluation, targeted="random")),
        ("distances", worker.distances),
    ],
)
def test_evaluation_is_that_of_one_process(job, name, compute, tmp_path):
    alone = compute(tmp_path)
    assert set(job[name]) == set(alone)
    for part, expected in alone.items():
        if part in worker.TABLES:  # which may hold NaN
            pd.testing.assert_frame_equal(pd.DataFrame(job[name][part]), pd.DataFrame(expected))
        else:
            assert job[name][part] == expected


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """The same small run by one process and by two."""
    folder = tmp_path_factory.mktemp("runs")
    for name, processes in (("alone", 1), ("together", 2)):
        run(Command(("train", *TINY, "--out", str(folder / name))), folder, processes)
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
    command = (
        *("attack", str(runs / "alone"), str(runs / "together" / "model.safetensors")),
        *("--attacks", "fgsm,pgd", "--limit", "300", "--batch-size", "64", "--device", "cpu"),
        *("--no-diagnose", "--out"),
    )
    for name, processes in (("alone", 1), ("together", 2)):
        said = run(Command((*command, str(tmp_path / name))), tmp_path, processes)
        assert said.count("results are in") == 1
    tables = [(tmp_path / name / "results.csv").read_text() for name in ("alone", "together")]
    assert tables[0] == tables[1]


def test_only_the_main_process_speaks_and_all_end_alike(tmp_path):
    """A run that is there already: one of them finds that, and none waits for it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("precious")
    done = together(Command(("train", *TINY, "--out", str(tmp_path / "run"))), tmp_path)
    assert [each.code for each in done] == [2, 2]
    assert "already exists and is left untouched" in done[0].output


def test_a_job_is_refused_a_run_that_another_process_works_on(tmp_path):
    path = tmp_path / "run"
    with hold(path):
        done = together(Command(("train", *TINY, "--out", str(path))), tmp_path)
    assert [each.code for each in done] == [2, 2]
    for each in done:
        assert f"{path} is in use by" in each.output


@pytest.mark.slow
def test_torchrun_starts_a_job(tmp_path):
    code = (
        "from winnrobust.runtime import distributed as d\n"
        "with d.job(): print(d.all_gather(d.rank()), d.is_main_process())"
    )
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(torchrun(tmp_path / "script.py"), capture_output=True, text=True)
    assert sorted(done.stdout.splitlines()) == ["[0, 1] False", "[0, 1] True"]
    assert "waiting" not in done.stderr


def torchrun(*arguments: str | Path) -> list[str]:
    """The command that starts two processes of a script or, after `-m`, of a module."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", "2", *map(str, arguments)]


@pytest.mark.slow
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
    run(Command(("train", "--resume", "--device", "cpu", "--out", str(folder))), tmp_path, 1)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 30


def second_process(launcher: int) -> int:
    """The process with rank 1 among the launcher's children."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if b"RANK=1" in environment:
            return int(child)
    raise AssertionError(f"no rank 1 among {children}")

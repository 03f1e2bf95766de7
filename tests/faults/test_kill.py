"""A real process, killed or stopped, in the middle of an epoch and at every kind of write."""

import os
import signal
from functools import partial

import pytest

from tests import processes

EPOCHS = 3
TINY = [
    *("train", "--dataset", "mnist5k", "--limit-train", 150, "--batch-size", 50, "--device", "cpu")
]
TRAIN = [*TINY, "--epochs", EPOCHS, "--negatives-per-class", 2, "--synthesis-max-steps", 2]
ENDLESS = [*TINY, "--epochs", 1000, "--method", "baseline"]


@pytest.fixture
def start(tmp_path):
    return partial(processes.start, output=tmp_path / "output.txt")


@pytest.fixture
def finish(tmp_path):
    return partial(processes.finish, output=tmp_path / "output.txt")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = processes.finish(*TRAIN, "--out", folder / "run", output=folder / "output.txt")
    assert done.code == 0, done.output
    return folder / "run"


def assert_resumes_to_the_same_bits(finish, out, undisturbed):
    done = finish("train", "--resume", "--out", out)
    assert done.code == 0, done.output
    for name in ("model.safetensors", "state/negatives-0003.safetensors"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert len((out / "metrics.jsonl").read_text().splitlines()) == EPOCHS
    assert not list(out.rglob("*.partial*"))


def test_killed_in_the_middle_of_an_epoch(tmp_path, start, finish, undisturbed):
    out = tmp_path / "run"
    process = start(*TRAIN, "--out", out)
    process.wait_for("^epoch   1")
    process.send(signal.SIGKILL)
    assert process.wait().code == -signal.SIGKILL
    assert_resumes_to_the_same_bits(finish, out, undisturbed)


# The first two writes are config.json and manifest.json; then come the writes of epoch 1 and 2:
# negatives, picture, model (if best), metrics, state.
@pytest.mark.parametrize(
    "write", [3, 5, 11, *(pytest.param(write, marks=pytest.mark.slow) for write in (4, 6, 7, 9))]
)
def test_killed_in_the_middle_of_a_write(tmp_path, finish, undisturbed, write):
    out = tmp_path / "run"
    assert finish(*TRAIN, "--out", out, fatal_rename=write).code == -signal.SIGKILL
    assert list(out.rglob("*.partial*"))
    assert not (out / "metrics.jsonl").exists() or os.path.getsize(out / "metrics.jsonl") > 0
    assert_resumes_to_the_same_bits(finish, out, undisturbed)


@pytest.mark.parametrize("write", [1, 2])
def test_killed_before_the_run_is_there_leaves_the_place_free(tmp_path, finish, write):
    out = tmp_path / "runs" / "run"
    assert finish(*TRAIN, "--out", out, fatal_rename=write).code == -signal.SIGKILL
    assert not out.exists()
    done = finish(*TINY, "--method", "baseline", "--epochs", 1, "--out", out)
    assert done.code == 0, done.output
    assert os.listdir(tmp_path / "runs") == ["run"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    for method, command in (("baseline", TINY), ("winn", TRAIN)):
        out = folder / "runs" / f"mnist5k-vanilla-{method}-seed0"
        typed = [*command, "--epochs", 1, "--method", method, "--out", out]
        done = processes.finish(*typed, output=folder / "output.txt")
        assert done.code == 0, done.output
    return folder / "runs"


# The attack's writes: what it is, one to eight batches, manifest, examples, distances, a picture,
# three tables, results.csv and .json.
@pytest.mark.slow
@pytest.mark.parametrize("write", [1, 7, 11])
def test_a_comparison_killed_during_attack_or_report_goes_on(tmp_path, finish, trained, write):
    compare = ["compare", *TRAIN[1:], "--no-diagnose", "--epochs", 1, "--runs", trained]
    out = tmp_path / "out"
    assert finish(*compare, "--out", out, fatal_rename=write).code == -signal.SIGKILL
    done = finish(*compare, "--out", out)
    assert done.code == 0, done.output
    assert (out / "index.html").exists()
    assert (out / "results" / "results.json").exists()


# Its writes: what it is, and four batches; the third of them is lost.
def test_an_attack_killed_between_its_batches_goes_on(tmp_path, finish, undisturbed):
    attack = ["attack", undisturbed, "--limit", 40, "--batch-size", 10, "--no-diagnose"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert finish(*attack, "--out", out, fatal_rename=4).code == -signal.SIGKILL
    assert not out.exists()
    again = finish(*attack, "--out", out)
    assert again.code == 0, again.output
    assert "going on after 20 of them" in again.output
    assert finish(*attack, "--out", whole).code == 0
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_stopped_it_says_how_to_go_on(tmp_path, start, number, code):
    out = tmp_path / "run"
    process = start(*ENDLESS, "--out", out)
    process.wait_for("^epoch   1")
    process.send(number)
    done = process.wait()
    assert done.code == code
    assert f"go on with: winnrobust train --resume --out {out}" in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.glob(".*"))


def test_two_processes_do_not_work_on_one_run(tmp_path, start):
    out = tmp_path / "run"
    first = start(*ENDLESS, "--out", out)
    first.wait_for("^epoch   1")
    second = processes.finish("train", "--resume", "--out", out, output=tmp_path / "second.txt")
    assert second.code == 2
    assert f"Error: {out} is in use by 'winnrobust train" in second.output
    assert f"(process {first.process.pid} on " in second.output
    first.send(signal.SIGKILL)
    first.wait()
    third = start("train", "--resume", "--out", out)
    third.wait_for("^going on after epoch")
    third.send(signal.SIGTERM)
    assert third.wait().code == 143

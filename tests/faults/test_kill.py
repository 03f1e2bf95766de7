"""A real process, killed or stopped, in the middle of an epoch and at every kind of write."""

import json
import os
import signal
from functools import partial

import pandas as pd
import pytest

from tests import processes
from winnrobust import read_outcomes

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


# Before anything is attacked, before the first batch is there, among the tables, at their end, and
# in the report.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "to"),
    [
        (1, "results.json"), (1, "outcomes/*.parquet"), (1, "results.csv"), (2, "results.json"),
        (1, "index.html"),
    ],
)  # fmt: skip
def test_a_comparison_killed_during_attack_or_report_goes_on(tmp_path, finish, trained, write, to):
    compare = ["compare", *TRAIN[1:], "--attacks", "fgsm", "--no-diagnose", "--epochs", 1]
    compare += ["--runs", trained]
    out = tmp_path / "out"
    killed = finish(*compare, "--out", out, fatal_rename=write, to=to)
    assert killed.code == -signal.SIGKILL, killed.output
    done = finish(*compare, "--out", out)
    assert done.code == 0, done.output
    assert (out / "index.html").exists()
    assert json.loads((out / "results" / "results.json").read_text())["status"] == "complete"
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    ("to", "done"), [("outcomes/*.parquet", 8), ("examples/*.npz", 4), ("table.tex", 16)]
)
def test_a_killed_attack_goes_on_where_it_was(tmp_path, finish, undisturbed, whole, to, done):
    """Killed at the third batch, at the second's examples, or when all are done."""
    out, write = tmp_path / "out", {8: 3, 4: 2, 16: 1}[done]
    killed = finish(*attack_of(undisturbed), "--out", out, fatal_rename=write, to=to)
    assert killed.code == -signal.SIGKILL, killed.output
    assert json.loads((out / "results.json").read_text())["status"] == "running"
    again = finish(*attack_of(undisturbed), "--out", out)
    assert again.code == 0, again.output
    assert f"going on after {done} of them" in again.output
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    pd.testing.assert_frame_equal(read_outcomes(out), read_outcomes(whole))
    assert {path.relative_to(out) for path in out.rglob("*")} == {
        path.relative_to(whole) for path in whole.rglob("*")
    }
    assert not list(tmp_path.rglob(".*"))


def test_an_attack_killed_at_its_first_write_leaves_the_place_free(tmp_path, finish, undisturbed):
    out = tmp_path / "out"
    killed = finish(*attack_of(undisturbed), "--out", out, fatal_rename=1)
    assert killed.code == -signal.SIGKILL, killed.output
    assert [path.suffixes[-2:] for path in out.iterdir()] == [[".partial", ".json"]]
    again = finish(*attack_of(undisturbed), "--out", out)
    assert again.code == 0, again.output
    assert "going on" not in again.output
    assert not list(tmp_path.rglob(".*"))


def attack_of(run):
    # Random starts, and examples of the first images in the first two batches.
    typed = ["--attacks", "fgsm,pgd", "--steps", 2, "--limit", 16, "--batch-size", 4]
    return ["attack", run, *typed, "--no-diagnose"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, undisturbed):
    folder = tmp_path_factory.mktemp("whole")
    done = processes.finish(
        *attack_of(undisturbed), "--out", folder / "out", output=folder / "output.txt"
    )
    assert done.code == 0, done.output
    return folder / "out"


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

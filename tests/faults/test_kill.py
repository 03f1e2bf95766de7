"""A real process, killed with SIGKILL, in the middle of an epoch and at every kind of write."""

import os
import signal
import subprocess
import sys
import time

import pytest

EPOCHS = 3
TINY = ["train", "--dataset", "mnist5k", "--limit-train", "300", "--device", "cpu"]
TRAIN = [
    *TINY, "--epochs", str(EPOCHS), "--negatives-per-class", "3", "--synthesis-max-steps", "3",
]  # fmt: skip
WRITES_PER_EPOCH = 5  # negatives, picture, model (if best), metrics, state

# Runs the command line with a rename that dies instead of doing its n-th job: the temporary file
# is written then, and whatever it was to replace is still the old one.
DIE_AT_RENAME = """
import os, pathlib, signal, sys
left = int(sys.argv.pop(1))
rename = pathlib.Path.replace
def dying(self, target):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
pathlib.Path.replace = dying
from winnrobust.cli import main
main()
"""


def winnrobust(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "winnrobust", *map(str, arguments)]


def finish(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    result = finish(winnrobust(*TRAIN, "--out", out))
    assert result.returncode == 0, result.stderr
    return out


def assert_resumes_to_the_same_bits(out, undisturbed):
    result = finish(winnrobust("train", "--resume", "--out", out))
    assert result.returncode == 0, result.stderr
    for name in ("model.safetensors", "state/negatives-0003.safetensors"):
        assert (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert len((out / "metrics.jsonl").read_text().splitlines()) == EPOCHS


def test_killed_in_the_middle_of_an_epoch(tmp_path, undisturbed):
    out = tmp_path / "run"
    process = subprocess.Popen(
        winnrobust(*TRAIN, "--out", out), stdout=subprocess.PIPE, text=True, bufsize=1
    )
    for line in process.stdout:
        if line.startswith("epoch   1"):
            break
    time.sleep(0.15)  # some steps into the second epoch
    process.kill()
    assert process.wait() == -signal.SIGKILL
    finished_epochs = len((out / "metrics.jsonl").read_text().splitlines())
    assert 1 <= finished_epochs < EPOCHS
    assert_resumes_to_the_same_bits(out, undisturbed)


# The first two writes are config.json and manifest.json; then come the writes of epoch 1 and 2.
@pytest.mark.parametrize("write", [3, 5, 7, 11])
def test_killed_in_the_middle_of_a_write(tmp_path, undisturbed, write):
    out = tmp_path / "run"
    result = finish([sys.executable, "-c", DIE_AT_RENAME, str(write), *TRAIN, "--out", str(out)])
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (out / "metrics.jsonl").exists() or os.path.getsize(out / "metrics.jsonl") > 0
    assert_resumes_to_the_same_bits(out, undisturbed)


@pytest.mark.parametrize("write", [1, 2])
def test_killed_before_the_run_is_there_leaves_the_place_free(tmp_path, write):
    out = tmp_path / "run"
    result = finish([sys.executable, "-c", DIE_AT_RENAME, str(write), *TRAIN, "--out", str(out)])
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not out.exists()
    result = finish(winnrobust(*TRAIN, "--epochs", 1, "--out", out))
    assert result.returncode == 0, result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    runs = tmp_path_factory.mktemp("trained")
    for method, command in (("baseline", TINY), ("winn", TRAIN)):
        name = f"mnist5k-vanilla-{method}-seed0"
        typed = [*command, "--epochs", 1, "--method", method, "--out", runs / name]
        result = finish(winnrobust(*typed))
        assert result.returncode == 0, result.stderr
    return runs


# The attack's writes: what it is, one to eight batches, manifest, examples, distances, a picture,
# three tables, results.csv and .json.
@pytest.mark.parametrize("write", [1, 7, 11])
def test_a_comparison_killed_during_attack_or_report_goes_on(tmp_path, trained, write):
    compare = [
        "compare",
        *TRAIN[1:],
        "--no-diagnose",
        "--epochs",
        "1",
        "--runs",
        str(trained),
        "--out",
    ]
    out = str(tmp_path / "out")
    result = finish([sys.executable, "-c", DIE_AT_RENAME, str(write), *compare, out])
    assert result.returncode == -signal.SIGKILL, result.stderr
    result = finish(winnrobust(*compare, out))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "index.html").exists()
    assert (tmp_path / "out" / "results" / "results.json").exists()


# Its writes: what it is, and four batches; the third of them is lost.
def test_an_attack_killed_between_its_batches_goes_on(tmp_path, undisturbed):
    attack = ["attack", str(undisturbed), "--limit", "40", "--batch-size", "10", "--no-diagnose"]
    out = tmp_path / "out"
    killed = [sys.executable, "-c", DIE_AT_RENAME, "4", *attack, "--out", str(out)]
    result = finish(killed)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not out.exists()
    again, whole = finish(winnrobust(*attack, "--out", out)), tmp_path / "whole"
    assert again.returncode == 0, again.stderr
    assert "going on after 20 of them" in again.stdout
    assert finish(winnrobust(*attack, "--out", whole)).returncode == 0
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    assert not list(tmp_path.glob(".*.unfinished"))


def test_interrupted_says_how_to_go_on(tmp_path, undisturbed):
    out = tmp_path / "run"
    process = subprocess.Popen(
        winnrobust(*TRAIN, "--out", out),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        # A background job inherits an ignored Ctrl-C; a user at a terminal does not.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    for line in process.stdout:
        if line.startswith("epoch   1"):
            break
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"go on with: winnrobust train --resume --out {out}" in rest
    assert "Traceback" not in errors
    assert_resumes_to_the_same_bits(out, undisturbed)

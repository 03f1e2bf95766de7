"""An evaluation that was interrupted: it goes on, with the same settings and models only."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from tests.cli.conftest import SMALL, assert_one_line, stopped_once, winnrobust
from tests.cli.nets import FIRST, SECOND, write_images
from winnrobust import read_outcomes

TWO_BATCHES = "outcomes/*.parquet", 2
GOES_ON = "the same command with --out out goes on from there"
OTHER = "out holds an interrupted evaluation with other "

ROWS = [(number / 30, 1 - number / 30, number % 2) for number in range(1, 30)]
"""29 images, in batches of ten."""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with images.npz in it."""
    write_images(tmp_path / "images.npz", ROWS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def attack(*arguments, out="out"):
    typed = ("--data", "images.npz", "--batch-size", 10, "--attacks", "fgsm", "--no-diagnose")
    return winnrobust("attack", *typed, "--out", out, *arguments)


def interrupted(*arguments):
    """Type an attack that is interrupted when 20 images are done; returns what was said."""
    with stopped_once(Path("out"), *TWO_BATCHES):
        result = attack(*arguments)
    assert result.exit_code == 130, result.output
    assert f"20 images are done: {GOES_ON}" in result.stdout
    return result


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(path, **values):
    """Replace entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# --- going on -----------------------------------------------------------------------------------


def test_the_same_command_goes_on_after_what_is_done(folder):
    typed = (*FIRST, *SECOND, "--attacks", "fgsm,pgd", "--steps", 3, "--eps", "0.05,0.1")
    interrupted(*typed)
    out = folder / "out"
    stored = json.loads((out / "results.json").read_text())
    assert (stored["schema"], stored["status"], stored["n"]) == (3, "running", 29)
    assert not (out / "results.csv").exists()
    before = contents(out / "outcomes")
    again = attack(*typed)
    assert again.exit_code == 0, again.output
    assert "going on after 20 of them" in again.stdout
    assert before.items() <= contents(out / "outcomes").items()
    assert len(json.loads((out / "manifest.json").read_text())["resumed"]) == 1
    assert len(json.loads((out / "results.json").read_text())["sessions"]) == 2
    assert attack(*typed, out="whole").exit_code == 0
    for name in ("results.csv", "table.csv"):
        assert (out / name).read_bytes() == (folder / "whole" / name).read_bytes()
    pd.testing.assert_frame_equal(read_outcomes("out"), read_outcomes("whole"))
    assert {path.name for path in folder.iterdir()} == {"images.npz", "out", "whole"}


def test_interrupted_at_once_it_leaves_nothing_behind(folder):
    with stopped_once(folder, "out/results.json"):
        result = attack(*FIRST)
    assert result.exit_code == 130
    assert "stopped; nothing was written to out" in result.stdout
    assert [path.name for path in folder.iterdir()] == ["images.npz"]


def test_a_request_to_end_is_obeyed_like_ctrl_c(folder):
    def look(*_):
        if len(list(folder.glob("out/outcomes/*.parquet"))) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    hook = torch.nn.modules.module.register_module_forward_pre_hook(look)
    try:
        result = attack(*FIRST)
    finally:
        hook.remove()
    assert result.exit_code == 128 + signal.SIGTERM
    assert f"20 images are done: {GOES_ON}" in result.stdout
    assert "going on after 20 of them" in attack(*FIRST).stdout


def test_the_diagnosis_comes_last_and_is_made_up_for(folder):
    typed = ("attack", *FIRST, "--data", "images.npz", "--attacks", "fgsm", "--limit", 4)
    typed += ("--out", "out")
    with stopped_once(folder, "out/outcomes/*.parquet"):
        result = winnrobust(*typed)
    assert result.exit_code == 130
    assert f"4 images are done: {GOES_ON}" in result.stdout
    before = contents(folder / "out" / "outcomes")
    again = winnrobust(*typed)
    assert again.exit_code == 0, again.output
    assert "looking for false robustness" in again.stdout
    assert (folder / "out" / "diagnosis.json").exists()
    assert contents(folder / "out" / "outcomes") == before


def test_what_could_not_be_written_is_not_attacked_again(folder, monkeypatch):
    replace = Path.replace

    def full(path, target):
        if Path(target).name == "results.csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        result = attack(*FIRST)
    assert_one_line(result, "No space left on device", "what was written before is intact")
    assert f"29 images are done: {GOES_ON}" in result.stdout
    before = contents(folder / "out" / "outcomes")
    again = attack(*FIRST)
    assert again.exit_code == 0, again.output
    assert "going on after 29 of them" in again.stdout
    assert contents(folder / "out" / "outcomes") == before


@pytest.mark.slow
def test_a_comparison_goes_on_too(runs, tmp_path):
    for method in ("baseline", "winn"):
        shutil.copytree(runs / method, tmp_path / "runs" / f"mnist5k-vanilla-{method}-seed0")
    out = tmp_path / "report"
    typed = ("compare", *SMALL[1:], "--attacks", "fgsm", "--no-diagnose", "--out", out)
    typed += ("--runs", tmp_path / "runs")
    with stopped_once(out, "results/outcomes/*.parquet"):
        result = winnrobust(*typed)
    assert result.exit_code == 130
    done = sum(int(path.name[8:15]) - int(path.name[:7]) for path in out.rglob("*.parquet"))
    assert f"{done} images are done: the same command with --out {out} goes on" in result.stdout
    result = winnrobust(*typed)
    assert result.exit_code == 0, result.output
    assert f"going on after {done} of them" in result.stdout
    assert (out / "index.html").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "report"}


# --- but not with anything else ---------------------------------------------------------------


def test_what_is_done_of_another_evaluation_is_not_mixed_with_this_one(folder):
    interrupted(*FIRST, *SECOND)
    before = contents(folder / "out")
    assert_one_line(attack(*FIRST, *SECOND, "--seed", 1), OTHER + "settings", "choose another")
    assert_one_line(attack(*FIRST, *SECOND, "--eps", 0.3), OTHER + "settings", "remove the folder")
    assert_one_line(attack(*SECOND, *FIRST), OTHER + "models")  # tables keep their order
    assert_one_line(attack(*FIRST), OTHER + "models")
    assert_one_line(attack(*FIRST, *SECOND, "--limit", 25), OTHER + "data")
    assert_one_line(attack(*FIRST, "--limit", 25, "--no-cross"), OTHER + "models and data and sett")
    assert contents(folder / "out") == before
    again = attack(*FIRST, *SECOND, "--batch-size", 4)  # changes no result
    assert again.exit_code == 0, again.output
    assert "going on after 20 of them" in again.stdout


def test_a_factory_that_draws_its_weights_makes_another_model_each_time(folder):
    drawn = ("--model", "drawn=tests.cli.nets:drawn")
    interrupted(*drawn)
    assert_one_line(attack(*drawn), OTHER + "models")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 3, "status": "running"}'])
def test_if_nobody_knows_what_was_evaluated_it_says_so(folder, content):
    interrupted(*FIRST)
    (folder / "out" / "results.json").write_text(content)
    before = contents(folder / "out")
    assert_one_line(attack(*FIRST), "results.json")
    assert contents(folder / "out") == before


def test_outcomes_of_nobody_knows_what_are_left_alone(folder):
    interrupted(*FIRST)
    (folder / "out" / "results.json").unlink()
    before = contents(folder / "out")
    assert_one_line(attack(*FIRST), "already exists and is left untouched")
    assert contents(folder / "out") == before


def test_damaged_outcomes_are_named_and_what_to_do_helps(folder):
    interrupted(*FIRST)
    part = folder / "out" / "outcomes" / "0000010-0000020-r0.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    assert_one_line(
        attack(*FIRST), f"{part.relative_to(folder)} is not a part of", "remove it, and its"
    )
    part.unlink()
    again = attack(*FIRST)
    assert again.exit_code == 0, again.output
    assert "going on after 10 of them" in again.stdout
    assert sorted(read_outcomes("out").image.unique()) == list(range(29))


@pytest.mark.parametrize("content", ["", '[{"model": "first"}]'])
def test_a_damaged_diagnosis_is_named(folder, content):
    interrupted(*FIRST)
    (folder / "out" / "diagnosis.json").write_text(content)
    typed = ("--data", "images.npz", "--batch-size", 10, "--attacks", "fgsm", "--out", "out")
    assert_one_line(winnrobust("attack", *FIRST, *typed), "diagnosis.json")
    assert len(list((folder / "out" / "outcomes").iterdir())) == 2


def test_going_on_with_another_version_is_noted(folder):
    interrupted(*FIRST, "--time-budget", "inf")
    path = folder / "out" / "results.json"
    sessions = json.loads(path.read_text())["sessions"]
    change(path, sessions=[sessions[0] | {"commit": "0123abc"}])
    result = attack(*FIRST, "--time-budget", "inf")
    assert result.exit_code == 0, result.output
    assert "another version of winnrobust (commit 0123abc)" in result.output


@pytest.mark.parametrize("out", [".", ".."])
def test_results_need_a_name(folder, out):
    assert_one_line(attack(*FIRST, out=out), "choose another --out")


# --- and meanwhile -----------------------------------------------------------------------------


def test_a_report_on_it_says_how_far_it_is_and_how_to_go_on(folder, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["winnrobust", "attack", "--all", "that"])
    interrupted(*FIRST)
    result = winnrobust("report", "out", "--out", "page")
    assert_one_line(result, "out is not finished: 20 of 29 images are done",
                    "'winnrobust attack --all that' goes on")  # fmt: skip
    assert not (folder / "page").exists()


HOLDER = """
import sys
from winnrobust.runtime.locks import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_told_who_works_there(folder):
    command = [sys.executable, "-c", HOLDER, "out"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        result = attack(*FIRST)
        assert_one_line(result, "out is in use by '", f"(process {holder.pid} on ", "wait for it")
        assert not (folder / "out").exists()
        holder.kill()  # its lock goes with it
    assert attack(*FIRST).exit_code == 0
    assert {path.name for path in folder.iterdir()} == {"images.npz", "out"}


def test_two_parts_of_the_same_images_count_once(folder):
    """As two processes of a job leave them that had cut the images at other places."""
    interrupted(*FIRST)
    place = folder / "out" / "outcomes"
    shutil.copy(place / "0000010-0000020-r0.parquet", place / "0000010-0000020-r1.parquet")
    assert attack(*FIRST).exit_code == 0
    outcomes = read_outcomes("out")
    assert not outcomes.duplicated(["image", "source", "evaluated"]).any()
    assert attack(*FIRST, out="whole").exit_code == 0
    assert (folder / "out/results.csv").read_bytes() == (folder / "whole/results.csv").read_bytes()

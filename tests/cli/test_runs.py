"""Folders under --runs that cannot be read: they are named, and stand in nobody's way."""

import json
import os
import shutil

import pytest

from tests.cli.conftest import assert_one_line, winnrobust

CONFIG = {"dataset": "mnist5k", "arch": "vanilla", "method": "baseline"}

DAMAGED = {
    "cut": '{"dataset": ',
    "list": "[]",
    "empty": "{}",
    "type": '{"dataset": 7, "arch": "vanilla", "method": "baseline"}',
    "arch": json.dumps(CONFIG | {"arch": []}),
    "recipe": json.dumps(CONFIG | {"recipe": []}),
    "method": json.dumps(CONFIG | {"method": {}, "unsupervised": True}),
    "deep": "[" * 200_000,
    "digits": '{"seed": ' + "9" * 5000 + "}",
    "surrogate": '{"dataset": "\\ud800"}',
    "bytes": "\udcff",
}


@pytest.fixture
def more(runs, tmp_path):
    """Two runs that are whole."""
    return shutil.copytree(runs, tmp_path / "runs")


def add(folder, config, manifest='{"status": "complete"}'):
    folder.mkdir()
    (folder / "config.json").write_text(config, errors="surrogateescape")
    (folder / "manifest.json").write_text(manifest)
    (folder / "model.safetensors").write_text("")


def attack(*arguments):
    return winnrobust("attack", "--attacks", "fgsm", "--no-diagnose", "--limit", 10, *arguments)


def passed_over(result):
    """The folders that were named as not readable, with the reason."""
    lines = [line for line in result.output.splitlines() if "is passed over" in line]
    assert all(line.startswith("note: ") for line in lines)
    return lines


def test_each_run_that_cannot_be_read_is_named_once_and_the_others_are_used(more, tmp_path):
    for name, config in DAMAGED.items():
        add(more / name, config)
    result = attack("--runs", more, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = passed_over(result)
    assert len(lines) == len(DAMAGED)
    for name in DAMAGED:
        (line,) = (line for line in lines if f" {more / name} " in line)
        assert "because it cannot be read: " in line
    assert f"attacking baseline ({more / 'baseline'})" in result.output
    resumed = winnrobust("train", "--resume", "--runs", more)
    assert f"{more / 'winn'} is complete" in resumed.output
    assert len(passed_over(resumed)) == len(DAMAGED)


def test_a_damaged_manifest_of_a_run_that_nobody_named_stands_in_nobodys_way(more, tmp_path):
    (more / "winn" / "manifest.json").write_text("{")
    result = attack("--runs", more, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    (line,) = passed_over(result)
    assert f"{more / 'winn' / 'manifest.json'} is not valid JSON" in line
    assert f"{more / 'winn'}" not in result.output.split("attacking")[1]
    named = attack(more / "winn", "--out", tmp_path / "named")
    assert_one_line(named, "manifest.json is not valid JSON")


def test_a_pipe_among_the_runs_is_not_waited_for(more, tmp_path):
    add(more / "pipes", json.dumps(CONFIG))
    (more / "pipes" / "config.json").unlink()
    os.mkfifo(more / "pipes" / "config.json")
    result = attack("--runs", more, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(passed_over(result)) == 1


def test_where_all_are_damaged_it_is_said_before_models_that_come_along_are_taken(tmp_path):
    (tmp_path / "runs").mkdir()
    add(tmp_path / "runs" / "mine", "{")
    result = winnrobust("train", "--resume", "--runs", tmp_path / "runs")
    assert result.exit_code == 2
    assert "no run to resume" in result.stderr
    assert len(passed_over(result)) == 1

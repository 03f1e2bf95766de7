"""`winnrobust synthesize` as a user types it."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import assert_one_line, winnrobust
from winnrobust.data.folders import load_user_data
from winnrobust.models.checkpoint import load_model, save_model


def test_a_picture_with_a_table_beside_it(runs, tmp_path):
    out = tmp_path / "samples.png"
    result = winnrobust("synthesize", runs / "winn", "--n", 20, "--out", out)
    assert result.exit_code == 0, result.output
    assert "stopped early %" in result.output
    assert f"samples are in {out}" in result.output
    assert Image.open(out).size == (2 * 30 + 2, 10 * 30 + 2)  # a row for each class
    rows = list(csv.DictReader(out.with_suffix(".csv").open()))
    assert [row["class"] for row in rows] == [str(n // 2) for n in range(20)]
    assert all(np.isfinite(float(row["critic"])) for row in rows)


@pytest.mark.parametrize(("count", "size"), [(15, (2, 10)), (8, (1, 8))])
def test_every_class_begins_a_row(runs, tmp_path, count, size):
    """Fifteen samples: two of the classes 0 to 4, one of the others, with a gap beside it."""
    out = tmp_path / "samples.png"
    assert winnrobust("synthesize", runs / "winn", "--n", count, "--out", out).exit_code == 0
    assert Image.open(out).size == (size[0] * 30 + 2, size[1] * 30 + 2)


def test_a_single_class_makes_a_square(runs, tmp_path):
    out = tmp_path / "threes.png"
    arguments = ("--n", 9, "--class", 3, "--out", out)
    assert winnrobust("synthesize", runs / "winn", *arguments).exit_code == 0
    assert Image.open(out).size == (3 * 30 + 2, 3 * 30 + 2)


def test_arrays_that_other_commands_take_as_data(runs, tmp_path):
    out = tmp_path / "samples.npz"
    result = winnrobust(
        "synthesize", runs / "winn", "--n", 3, "--class", 3, "--out", out, "--noise", "langevin"
    )
    assert result.exit_code == 0, result.output
    data = load_user_data(out)
    assert data.images.images.shape == (3, 1, 28, 28)
    assert data.images.labels.tolist() == [3, 3, 3]
    with np.load(out) as arrays:
        told = json.loads(str(arrays["provenance"]))
        assert len(arrays["critic"]) == 3
        assert (arrays["steps"] <= 2).all()  # as the run was trained
    assert told["noise"] == {"kind": "langevin", "size": 0.01}
    assert told["config"]["synthesis"]["max_steps"] == 2
    result = winnrobust("attack", runs / "winn", "--data", out, "--no-diagnose",
                        "--attacks", "fgsm", "--out", tmp_path / "results")  # fmt: skip
    assert result.exit_code == 0, result.output


def test_the_range_comes_from_the_file_or_its_run_or_the_user(runs, tmp_path):
    """Older files do not have it; their runs do, in the metrics of the best epoch."""
    run = tmp_path / "run"
    shutil.copytree(runs / "winn", run)
    row = json.loads((run / "metrics.jsonl").read_text())
    network, info = load_model(run / "model.safetensors")
    low, high = row["stored_threshold_low"], row["stored_threshold_high"]
    assert info.thresholds == ((low, high),)

    old = run / "model.safetensors"
    old.unlink()
    save_model(old, network, type(info)(**{**vars(info), "thresholds": ()}))
    for name, where in (("run", run), ("file", old)):
        out = tmp_path / f"{name}.npz"
        assert winnrobust("synthesize", where, "--n", 1, "--out", out).exit_code == 0
        assert low - 1e-6 <= np.load(out)["thresholds"].item() <= high + 1e-6

    bare = tmp_path / "bare.safetensors"
    shutil.copy(old, bare)
    result = winnrobust("synthesize", bare, "--n", 1, "--out", tmp_path / "none.png")
    assert_one_line(result, "give the range of critic values with --threshold")
    out = tmp_path / "given.npz"
    result = winnrobust("synthesize", bare, "--n", 1, "--threshold", "0.5,0.75",
                        "--max-steps", 1, "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert 0.5 <= np.load(out)["thresholds"].item() <= 0.75


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class", "10"], "there is no class 10"),
        (["--class", "-1"], "there is no class -1"),
        (["--noise-size", "0.1"], "--noise-size has no effect without --noise"),
        (["--noise", "dropout", "--noise-size", "1"], "must be from 0 to below 1"),
        (["--threshold", "2,1"], "from a lower number to a higher"),
        (["--threshold", "a"], "is not a range; write --threshold -3,1.5"),
        (["--device", "nowhere"], "cannot be used here"),
    ],
)
def test_bad_options_end_in_one_line(runs, tmp_path, options, message):
    out = tmp_path / "samples.png"
    result = winnrobust("synthesize", runs / "winn", "--out", out, *options)
    assert_one_line(result, message)
    assert not out.exists()


def test_bad_files_end_in_one_line(runs, tmp_path):
    out = tmp_path / "samples.png"
    assert_one_line(
        winnrobust("synthesize", runs / "baseline", "--out", out), "baseline draws no samples"
    )
    assert_one_line(winnrobust("synthesize", tmp_path, "--out", out), "holds no model.safetensors")
    assert_one_line(
        winnrobust("synthesize", runs / "winn", "--out", tmp_path / "a.jpg"), "must end in .png"
    )
    for mine in (out, out.with_suffix(".csv")):
        mine.write_text("mine")
        assert_one_line(winnrobust("synthesize", runs / "winn", "--out", out), "already exists")
        assert mine.read_text() == "mine"
        mine.unlink()
    (tmp_path / "folder.npz").mkdir()
    for arguments, message in (
        ([tmp_path / "folder.npz"], "is a folder"),
        ([runs / "winn" / "config.json" / "a.npz"], "config.json is not a folder"),
        ([out, "--out", out], "is named twice"),
    ):
        assert_one_line(winnrobust("synthesize", runs / "winn", "--out", *arguments), message)
    damaged = tmp_path / "model.safetensors"
    damaged.write_bytes((runs / "winn" / "model.safetensors").read_bytes()[:1000])
    assert_one_line(
        winnrobust("synthesize", damaged, "--out", tmp_path / "b.png"), "truncated or corrupt"
    )

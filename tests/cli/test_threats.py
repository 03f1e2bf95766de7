"""`winnrobust attack --threat` and what belongs to it, as a user types it."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import assert_one_line, winnrobust
from winnrobust import read_evaluation, read_outcomes

BASELINE = "zoo:mnist-vanilla-baseline"


def attack(out, *typed):
    common = ("--dataset", "mnist5k", "--limit", 6, "--device", "cpu", "--no-diagnose")
    return winnrobust("attack", BASELINE, *common, "--out", out, *typed)


def levels(out):
    stored = json.loads((out / "results.json").read_text())["settings"]["epsilons"]
    return {norm: [round(x, 6) for x in bounds] for norm, bounds in stored.items()}


def test_threats_of_all_kinds_in_one_evaluation(tmp_path):
    out = tmp_path / "out"
    threats = ("linf:2/255,0.125", "l2:1.5", "corruptions:1,5", "spatial:30", "patch:5")
    typed = [word for threat in threats for word in ("--threat", threat)]
    result = attack(out, "--attacks", "pgd(steps=2)", *typed, "--limit", 3)
    assert result.exit_code == 0, result.output
    assert "by default" not in result.output
    assert levels(out)["linf"] == [0.007843, 0.125]
    outcomes = read_outcomes(out)
    made = outcomes[outcomes.attack.notna()].groupby(["attack", "norm"], observed=True).size()
    assert made["pgd(steps=2)", "linf"] == 6
    assert made["pgd(steps=2)", "l2"] == made["spatial", "spatial"] == made["patch", "patch"] == 3
    assert made.xs("corruptions", level="norm").tolist() == [6] * 15
    assert "Error under corruptions of mnist5k, %" in result.output
    assert "worst case, spatial 30°" in result.output
    report = winnrobust("report", out, "--out", tmp_path / "report")
    assert report.exit_code == 0, report.output
    assert "Error of baseline by corruption and severity" in (
        tmp_path / "report" / "index.html"
    ).read_text("utf-8")


def test_eps_alone_is_linf_alone(tmp_path):
    out = tmp_path / "out"
    result = attack(out, "--eps", "0.125", "--attacks", "pgd", "--steps", 1)
    assert result.exit_code == 0, result.output
    assert levels(out) == {"linf": [0.125]}
    assert "by default" not in result.output


def test_without_threats_the_data_set_decides_and_a_line_says_so(tmp_path):
    out = tmp_path / "out"
    result = attack(out)
    assert result.exit_code == 0, result.output
    assert levels(out) == {"linf": [0.125, 0.3], "l2": [1.5]}
    assert (
        "by default for the data set mnist5k: linf:0.125 (the WINN paper's), linf:0.3 (the"
        " field's), l2:1.5 (the field's); --threat chooses others\n"
    ) in result.output


def test_an_attack_in_another_norm_than_eps_gets_its_default(tmp_path):
    out = tmp_path / "out"
    result = attack(out, "--eps", "0.1", "--attacks", "fgsm,ddn", "--steps", 2)
    assert result.exit_code == 0, result.output
    assert levels(out) == {"linf": [0.1], "l2": [1.5]}
    assert "by default for the data set mnist5k: l2:1.5 (the field's)" in result.output


def test_images_of_a_users_own_count_by_their_size(tmp_path):
    images = tmp_path / "mnist.npz"  # the name decides nothing
    rng = np.random.default_rng(0)
    np.savez(images, images=rng.random((4, 1, 28, 28), np.float32), labels=np.arange(4))
    result = winnrobust(
        "attack", BASELINE, "--data", images, "--device", "cpu", "--no-diagnose",
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert levels(tmp_path / "out") == {"linf": [0.031373], "l2": [0.5]}
    assert (
        "by default for small images (28x28): linf:8/255 (as CIFAR-10), l2:0.5 (as CIFAR-10)"
    ) in result.output


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (("--threat", "linf:8"), "threat 'linf:8': bounds must be numbers from 0 to 1, in the units"
                                 " of [0, 1] images, not 8"),
        (("--threat", "l2"), "threat 'l2' must be written like linf:8/255, l2:0.5"),
        (("--threat", "l2:1", "--attacks", "fgsm"), "'fgsm' fits none of the threats (l2:1)"),
        (("--threat", "l0:9"), "no attack fits the threats (l0:9); name one that does"),
        (("--threat", "patch:29"), "a patch of 29 pixels does not fit into images of 28x28"),
        (("--eps", "0.1", "--fail-if", "robust_accuracy < 0.1 at l2:1"),
         "nothing is attacked there, only at linf:0.1"),
        (("--round", "0"), "0 is not in the range 1<=x<=16"),
        (("--targets", "a.txt", "--targeted", "random"),
         "--targets and --targeted cannot be combined"),
    ],
)  # fmt: skip
def test_mistakes_are_named_in_one_line(tmp_path, typed, message):
    assert_one_line(attack(tmp_path / "out", *typed), message)
    assert not (tmp_path / "out").exists()


def write(path, classes):
    if path.suffix == ".npy":
        np.save(path, np.array(classes))
    else:
        head = "target\n" if path.suffix == ".csv" else ""
        path.write_text(head + "\n".join(map(str, classes)) + "\n")
    return path


@pytest.mark.parametrize("suffix", ["npy", "csv", "txt"])
def test_targets_from_a_file(tmp_path, suffix):
    labels = read_labels(tmp_path)
    wanted = [(label + 3) % 10 for label in labels]
    out, file = tmp_path / "out", write(tmp_path / f"targets.{suffix}", wanted)
    result = attack(out, "--eps", "0.3", "--targets", file)
    assert result.exit_code == 0, result.output
    rows = read_outcomes(out)
    assert rows[rows.attack == "fgsm"].target.tolist() == wanted


def read_labels(tmp_path):
    assert attack(tmp_path / "labels", "--eps", "0").exit_code == 0
    rows = read_outcomes(tmp_path / "labels")
    return rows[rows.attack.isna()].label.tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\nx\n", "must have a class on each line, a whole number from 0 on; not 'x'"),
        ("", "must have a class on each line, a whole number from 0 on; it is empty"),
        ("1\n2\n", "there are 2 targets for 6 images; give one for each"),
        (None, "does not exist"),
    ],
)
def test_files_of_targets_that_are_none(tmp_path, text, message):
    file = tmp_path / "targets.txt"
    if text is not None:
        file.write_text(text)
    assert_one_line(attack(tmp_path / "out", "--eps", "0.1", "--targets", file), message)


def test_rounding_is_told_and_stored(tmp_path):
    out = tmp_path / "out"
    result = attack(out, "--threat", "linf:0.1234", "--round", 8)
    assert result.exit_code == 0, result.output
    evaluation = read_evaluation(out)
    rounded = evaluation.results.summary.rounded
    assert rounded.columns.tolist()[-2:] == ["successes", "survived"]
    assert "Successes that survive rounding to 8 bits" in (out / "table.md").read_text()
    rows = evaluation.outcomes[evaluation.outcomes.attack.notna()]
    assert rows.correct_unrounded.notna().all()
    images = evaluation.results.examples.adversarials * 255
    np.testing.assert_allclose(images, images.round(), atol=1e-4)


def test_an_evaluation_in_several_norms_goes_on_where_it_was(tmp_path):
    typed = ("--attacks", "pgd", "--steps", 2, "--threat", "linf:0.1,l2:1", "--batch-size", 3)
    assert attack(tmp_path / "whole", *typed).exit_code == 0
    assert attack(tmp_path / "out", *typed).exit_code == 0
    out = tmp_path / "out"
    (out / "outcomes" / "0000003-0000006-r0.parquet").unlink()
    stored = json.loads((out / "results.json").read_text())
    (out / "results.json").write_text(json.dumps({**stored, "status": "running"}))
    result = attack(out, *typed)
    assert result.exit_code == 0, result.output
    assert "going on after 3 of them" in result.output
    frames = [read_outcomes(each) for each in (tmp_path / "whole", out)]
    pd.testing.assert_frame_equal(*(frame.astype({"status": str}) for frame in frames))

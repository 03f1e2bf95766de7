"""Several seeds of one method, given to `winnrobust attack` as a user types it."""

import json
import shutil

import pytest

from tests.cli.conftest import SMALL, TINY, winnrobust


@pytest.fixture(scope="module")
def seeds(runs, tmp_path_factory):
    """Two seeds of each method, and a baseline that was trained in another way."""
    folder = tmp_path_factory.mktemp("seeds")
    for method, command in (("baseline", TINY), ("winn", SMALL)):
        shutil.copytree(runs / method, folder / f"{method}-0")
        typed = [*command, "--method", method, "--seed", 1, "--out", folder / f"{method}-1"]
        result = winnrobust(*typed)
        assert result.exit_code == 0, result.output
    result = winnrobust(*TINY, "--method", "baseline", "--lr", 0.01, "--out", folder / "other")
    assert result.exit_code == 0, result.output
    return folder


def attacked(out, *paths):
    result = winnrobust(
        "attack",
        *paths,
        "--attacks",
        "fgsm",
        "--eps",
        "0.125",
        "--limit",
        50,
        "--no-diagnose",
        "--device",
        "cpu",
        "--out",
        out,
    )
    assert result.exit_code == 0, result.output
    models = json.loads((out / "results.json").read_text())["models"]
    return {model["name"]: model["group"] for model in models}


def test_seeds_of_one_method_are_aggregated_and_compared(seeds, tmp_path):
    paths = [seeds / name for name in ("baseline-0", "baseline-1", "winn-0", "winn-1")]
    assert attacked(tmp_path / "out", *paths) == {
        "baseline-seed0": "baseline", "baseline-seed1": "baseline",
        "winn-seed0": "winn", "winn-seed1": "winn",
    }  # fmt: skip
    result = winnrobust("report", tmp_path / "out", "--out", tmp_path / "page")
    assert result.exit_code == 0, result.output
    (evaluation,) = json.loads((tmp_path / "page" / "report.json").read_text())["evaluations"]
    (row,) = [
        row for row in evaluation["seeds"] if (row["attack"], row["group"]) == ("fgsm", "winn")
    ]
    own = [
        row["adversarial_error"]
        for row in evaluation["transfer"]
        if row["source"] == row["target"] and row["source"].startswith("winn")
    ]
    assert row["seeds"] == 2
    assert row["mean"] == pytest.approx(sum(own) / 2)
    assert row["sd"] == pytest.approx(abs(own[0] - own[1]) / 2**0.5)
    (row,) = [row for row in evaluation["differences"] if row["attack"] == "fgsm"]
    assert (row["first"], row["second"]) == ("baseline", "winn")
    said = "within noise" if row["within_noise"] else "beyond noise"
    page = (tmp_path / "page" / "report.md").read_text()
    assert "(2 seeds, " in page
    assert said in page


def test_what_differs_in_more_than_the_seed_is_no_seed_of_the_same(seeds, tmp_path):
    """Else their mean would be called that of a method, and nothing would compare them."""
    paths = [seeds / name for name in ("baseline-0", "baseline-1", "other")]
    groups = attacked(tmp_path / "out", *paths)
    (other,) = [name for name in groups if "other" in name]
    assert groups[other] == other
    first, second = (group for name, group in groups.items() if name != other)
    assert first == second != other


def test_a_run_and_its_copy_are_not_two_seeds(seeds, tmp_path):
    shutil.copytree(seeds / "winn-0", tmp_path / "copy")
    groups = attacked(tmp_path / "out", seeds / "winn-0", tmp_path / "copy")
    assert list(groups.values()) == list(groups)

"""What the page of the paper's tables says of figures that are given by hand."""

import math

import pandas as pd
import pytest

from benchmarks.paper import forms, goals, readings, selections, table_of
from winnrobust.reporting.reproduction import FIGURE_COLUMNS
from winnrobust.runtime.errors import InputError

CORRECTIONS = (
    "correction by it of the baseline's errors",
    "correction by the baseline of its errors",
)


def figures(values: dict) -> pd.DataFrame:
    """(method, epsilon, quantity) -> our figure, of the vanilla CNN on MNIST; or with the network
    before that."""
    keys = [key if len(key) == 4 else ("vanilla", *key) for key in values]
    table = pd.DataFrame(keys, columns=["network", "method", "epsilon", "quantity"])
    return table.assign(
        dataset="mnist", paper=0.0799, paper_dataset="mnist", mean=list(values.values()), n=10_000,
        unlike="-",
    )  # fmt: skip


FGSM = "adversarial error"
REACHED = {
    ("vanilla", "baseline", 0.125, FGSM): 0.3541,
    ("vanilla", "icn", 0.125, FGSM): 0.1602,
    ("vanilla", "winn", 0.125, FGSM): 0.08,
    ("vanilla", "winn", 0.125, CORRECTIONS[0]): 0.88,
    ("vanilla", "winn", 0.125, CORRECTIONS[1]): 0.50,
    ("vanilla", "winn", 0.0, "test error"): 0.007,
    ("resnet32", "baseline", 0.0, "test error"): 0.005,
    ("resnet32", "baseline", 0.125, FGSM): 0.115,
    ("resnet32", "winn", 0.0, "test error"): 0.005,
    ("resnet32", "winn", 0.125, FGSM): 0.023,
}


def reached(table: pd.DataFrame) -> list[str]:
    return [row["reached"] for row in goals(table)]


def test_goals_at_their_bounds_are_reached():
    assert reached(figures(REACHED)) == ["yes"] * 10


@pytest.mark.parametrize(
    ("key", "worse"),
    [
        (("vanilla", "baseline", 0.125, FGSM), 0.3542),
        (("vanilla", "baseline", 0.125, FGSM), 0.2940),
        (("vanilla", "icn", 0.125, FGSM), 0.2203),
        (("vanilla", "winn", 0.125, FGSM), 0.0801),
        (("vanilla", "winn", 0.125, CORRECTIONS[0]), 0.8799),
        (("vanilla", "winn", 0.125, CORRECTIONS[1]), 0.5001),
        (("vanilla", "winn", 0.0, "test error"), 0.0071),
        (("resnet32", "baseline", 0.0, "test error"), 0.0051),
        (("resnet32", "baseline", 0.125, FGSM), 0.1149),
        (("resnet32", "winn", 0.0, "test error"), 0.0051),
    ],
)
def test_a_goal_that_is_missed_is_not_reached(key, worse):
    assert sorted(reached(figures(REACHED | {key: worse}))) == ["no"] + ["yes"] * 9


def test_a_fifth_of_a_baseline_that_was_trained_otherwise_is_not_reached():
    row = goals(figures(REACHED).assign(unlike="epochs"))[-1]
    assert row["reached"] == "no"
    assert "not matched: epochs" in row["goal"]


def test_goals_without_a_figure_are_named():
    said = reached(figures({("winn", 0.0, "test error"): 0.005}))
    assert sorted(said) == ["not measured"] * 9 + ["yes"]


def test_of_equal_epochs_the_last_is_selected():
    epochs = pd.DataFrame(
        {
            "epoch": [1, 2, 3, 4],
            "valid": [0.02, 0.01, 0.01, 0.03],
            "clean": [0.004, 0.02, 0.01, 0.03],
            "0.125": [0.5, 0.4, 0.3, 0.2],
            "0.0625": [0.25, 0.2, 0.15, 0.1],
        }
    )
    rows = {row["selected by"]: row for row in selections("winn", epochs)}
    chosen = {way: row["epoch"] for way, row in rows.items()}
    assert chosen == {
        "validation images": 3, "the last epoch": 4, "test images (authors' code)": 1,
    }  # fmt: skip
    assert rows["validation images"]["FGSM 0.125, stable loss, %"] == "30.00"


def test_both_readings_stand_beside_the_paper():
    values = {("winn", e, "adversarial error"): x for e, x in ((0.125, 0.1), (0.0625, 0.04))}
    (row,) = readings(figures(values))
    assert row["paper"] == "7.99 (mnist)"
    assert row["ours, [0, 1] (code)"] == "10.00 at 0.125"
    assert row["ours, [-1, 1] (text)"] == "4.00 at 0.0625"


def test_both_forms_of_the_loss_stand_beside_the_paper():
    of = {"adversarial error": 0.1199, "adversarial error, stable loss": 0.1598}
    values = {("winn", e, name): x for e in (0.125, 0.0625) for name, x in of.items()}
    (row,) = forms(figures(values))
    assert (row["epsilon"], row["paper, %"]) == ("0.125", "7.99")
    assert (row["usual form, %"], row["times the paper's"]) == ("11.99", "1.50")
    assert (row["stable form, %"], row["times the paper's "]) == ("15.98", "2.00")
    (row,) = forms(figures(values).assign(dataset="cifar10-20k"))
    assert (row["paper, %"], row["times the paper's"]) == ("-", "-")


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ",".join(FIGURE_COLUMNS[:-1]) + "\n"])
def test_a_foreign_table_is_refused(tmp_path, text):
    (tmp_path / "reproduction.csv").write_text(text)
    with pytest.raises(InputError, match="make the table anew"):
        table_of(tmp_path / "reproduction.csv")


def test_no_share_is_no_figure():
    assert set(reached(figures({("winn", 0.0, "test error"): math.nan}))) == {"not measured"}

"""The paper's tables beside ours, from outcomes by hand."""

import math
from functools import partial

import pytest

from tests.reporting import conftest
from tests.reporting.conftest import PAPER, attacked, describe_model, results_of
from winnrobust.reporting import paper
from winnrobust.reporting.reproduction import (
    BUDGETS,
    FIGURE_COLUMNS,
    TARGETS,
    Group,
    Reproduced,
    Target,
    figures_of,
    reproduction_tables,
)
from winnrobust.reporting.runs import RunRecord
from winnrobust.runtime.intervals import rate

EPSILONS = (0.125, 0.0625)
paper_outcomes = partial(conftest.paper_outcomes, attack="fgsm(loss='ce')")
VANILLA = Group("mnist", "vanilla", ("baseline", "winn"), "mnist", EPSILONS)
ATTACKED = Target("Table 3", (VANILLA,), attacked=True)
CLEAN = Target("Table 2", (VANILLA,), attacked=False)


def run_of(epochs: int, seconds: float, best=None, **config) -> RunRecord:
    metrics = [{"epoch": 1, "cpu_seconds": seconds / 4}, {"epoch": 2, "cpu_seconds": seconds / 4}]
    manifest = {"epochs": epochs, "training_seconds": seconds, "best": best or {}}
    return RunRecord("winn", config, manifest, metrics)


RUNS = {("baseline", 0): run_of(20, 1800), ("winn", 0): run_of(20, 7200)}


def figures(results, target=ATTACKED, runs=RUNS, group=None, given=frozenset()):
    group = group or VANILLA._replace(epsilons=(0.125,))
    return figures_of(target, "quick", [Reproduced(group, results, runs, given)])


def figure(table, method, quantity):
    rows = table[(table.method == method) & (table.quantity == quantity)]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture
def published():
    """An evaluation with the paper's own counts."""
    return results_of(paper_outcomes())


def test_the_papers_counts_give_the_papers_figures(published):
    table = figures(published)
    assert list(table.columns) == list(FIGURE_COLUMNS)
    for method, quantity in (
        ("baseline", "adversarial error"),
        ("winn", "adversarial error"),
        ("winn", "correction by it of the baseline's errors"),
        ("winn", "correction by the baseline of its errors"),
    ):
        row = figure(table, method, quantity)
        assert row["mean"] == pytest.approx(row.paper, abs=5e-5)
        assert row.order == "as in the paper"
        assert row.low < row["mean"] < row.high
        assert math.isnan(row.sd)
    row = figure(table, "winn", "correction by it of the baseline's errors")
    assert (row["mean"], row.n) == (pytest.approx(2917 / 3241), 3241)


def test_the_baseline_corrects_nobody(published):
    row = figure(figures(published), "baseline", "correction by it of the baseline's errors")
    assert math.isnan(row["mean"])
    assert row.order == "-"


def test_what_a_training_took_stands_beside_it(published):
    row = figure(figures(published), "winn", "adversarial error")
    assert (row.seeds, row.epochs, row.hours, row.cpu_hours) == (1, 20, 2, 1)
    row = figure(figures(published), "baseline", "adversarial error")
    assert (row.epochs, row.hours) == (20, 0.5)


def test_test_errors_are_those_without_attack(published):
    table = figures(published, CLEAN)
    assert figure(table, "baseline", "test error")["mean"] == 0.0089
    assert figure(table, "winn", "test error")["mean"] == 0.0067
    # 89 against 67: the 22 errors more are all the difference that McNemar's test sees
    assert figure(table, "winn", "test error").order == "as in the paper"
    assert set(table.epsilon) == {0}


def test_a_reversed_order_is_named():
    swap = {"baseline": "winn", "winn": "baseline"}
    made = {swap[a]: {swap[b]: wrong for b, wrong in PAPER[a].items()} for a in PAPER}
    table = figures(results_of(paper_outcomes(made=made)))
    assert figure(table, "winn", "adversarial error").order == "reversed"
    assert figure(table, "winn", "correction by it of the baseline's errors").order == "reversed"


def test_a_difference_within_noise_is_no_order():
    made = {
        "baseline": {"baseline": range(400), "winn": range(300)},
        "winn": {"baseline": range(300), "winn": range(399)},
    }
    table = figures(results_of(paper_outcomes(made=made)))
    assert figure(table, "winn", "adversarial error").order == "within noise"


@pytest.mark.parametrize(
    ("by_method", "by_baseline", "order"),
    [(300, 250, "as in the paper"), (210, 200, "within noise"), (200, 200, "within noise"),
     (250, 300, "reversed")],
)  # fmt: skip
def test_corrections_of_both_directions_are_compared(by_method, by_baseline, order):
    """Of 400 errors each, on other images."""
    made = {
        "baseline": {"baseline": range(400), "winn": range(400 - by_method)},
        "winn": {"baseline": range(1000, 1400 - by_baseline), "winn": range(1000, 1400)},
    }
    table = figures(results_of(paper_outcomes(made=made)))
    row = figure(table, "winn", "correction by it of the baseline's errors")
    assert (row["mean"], row.order) == (by_method / 400, order)


def test_that_both_directions_come_from_the_same_images_decides():
    """Each model errs on the other's errors where the other does: Fisher's test, for independent
    samples, has p = 0.054; that both are of the same images makes it certain."""
    made = {
        "baseline": {"baseline": range(2000), "winn": range(60, 2000)},
        "winn": {"baseline": range(40, 2000), "winn": range(2000)},
    }
    table = figures(results_of(paper_outcomes(made=made, n=4000)))
    row = figure(table, "winn", "correction by it of the baseline's errors")
    assert row.order == "as in the paper"


def test_each_other_method_is_named_where_they_differ():
    """ICN errs less than WINN here, the other pairs are as in the paper."""
    own = {"baseline": 3000, "icn": 500, "winn": 1000}
    made = {a: {b: range(own[a] if a == b else 300) for b in own} for a in own}
    group = VANILLA._replace(methods=tuple(own), epsilons=(0.125,))
    table = figures(results_of(paper_outcomes(made=made)), group=group)
    orders = {name: figure(table, name, "adversarial error").order for name in own}
    assert orders == {
        "baseline": "as in the paper",
        "icn": "as in the paper: baseline; reversed: winn",
        "winn": "as in the paper: baseline; reversed: icn",
    }


def of_seeds(own, corrected):
    """Networks "b0" and so on -> errors, and how many the other method of the seed corrects."""
    methods = {"b": "baseline", "w": "winn"}
    made = {
        a: {b: range(corrected.get((a, b), 0) if a != b else 0, own[a]) for b in own} for a in own
    }
    models = [
        describe_model(name, method=methods[name[0]], group=name, seed=int(name[1])) for name in own
    ]
    frame = paper_outcomes(made=made, clean={name: range(9) for name in own})
    return results_of(frame, models)


def test_seeds_are_averaged_and_only_those_of_one_seed_correct_each_other():
    own = {"b0": 3000, "b1": 3200, "w0": 800, "w1": 1000}
    corrected = {("b0", "w0"): 2700, ("b1", "w1"): 2560, ("w0", "b0"): 400, ("w1", "b1"): 400}
    table = figures(of_seeds(own, corrected))
    row = figure(table, "winn", "adversarial error")
    assert (row["mean"], row.seeds, row.n) == (pytest.approx(0.09), 2, 10_000)
    assert row.sd == pytest.approx(0.02 / math.sqrt(2))
    ends = [(rate(800, 10_000)[end] + rate(1000, 10_000)[end]) / 2 for end in (1, 2)]
    assert (row.low, row.high) == pytest.approx(ends)
    row = figure(table, "winn", "correction by it of the baseline's errors")
    assert (row["mean"], row.n) == (pytest.approx((0.9 + 0.8) / 2), 3100)
    assert row.low < row["mean"] < row.high
    row = figure(table, "winn", "correction by the baseline of its errors")
    assert row["mean"] == pytest.approx((0.5 + 0.4) / 2)


@pytest.mark.parametrize(("of_second", "order"), [(2900, "as in the paper"), (300, "within noise")])
def test_of_several_seeds_the_directions_are_compared_by_welchs_test(of_second, order):
    """Every seed by itself is certain; one that is unlike the others makes methods uncertain."""
    own = {f"{method}{seed}": 3000 + seed for seed in range(3) for method in "bw"}
    corrected = {(f"b{seed}", f"w{seed}"): 2700 for seed in range(3)}
    corrected |= {(f"w{seed}", f"b{seed}"): 1200 for seed in range(3)}
    corrected["b2", "w2"] = of_second
    row = figure(
        figures(of_seeds(own, corrected)), "winn", "correction by it of the baseline's errors"
    )
    assert row.order == order


def test_the_table_has_the_papers_layout(published):
    (table,) = reproduction_tables(ATTACKED, figures(published))
    assert table.title == "Table 3, epsilon 0.125"
    assert table.header[:7] == [
        "data", "network", "method", "adversarial error, %", "paper",
        "adversarial error, stable loss, %", "correction by it of the baseline's errors, %",
    ]  # fmt: skip
    assert table.rows[0] == [
        "mnist", "vanilla", "baseline", "32.41 [31.50, 33.33]", "32.41", "-", "-", "-", "-", "-",
        "as in the paper", "-", "1", "20", "0.50", "0.25",
    ]  # fmt: skip
    assert table.rows[1][3:5] == ["7.99 [7.47, 8.54]", "7.99"]
    assert table.rows[1][10:] == ["as in the paper", "as in the paper", "1", "20", "2.00", "1.00"]
    assert "the authors' code" in table.note
    assert table.note.startswith("Budget 'quick': minutes on two CPU cores")


@pytest.mark.parametrize(
    ("given", "note"),
    [({("winn", 0)}, "Given, trained with their own settings: mnist-vanilla-winn."),
     ({("winn", 0), ("baseline", 0)}, "All networks were given, each trained with its own")],
)  # fmt: skip
def test_given_networks_are_named(published, given, note):
    (table,) = reproduction_tables(ATTACKED, figures(published, given=given))
    assert note in table.note
    assert ("Budget" in table.note) == (len(given) == 1)


def test_the_spread_of_seeds_stands_in_the_table():
    results = of_seeds({"b0": 3000, "b1": 3200}, {})
    group = VANILLA._replace(methods=("baseline",), epsilons=(0.125,))
    (table,) = reproduction_tables(ATTACKED, figures(results, group=group))
    assert table.rows[0][3] == "31.00 [30.10, 31.91] ± 1.41"


def test_other_data_than_the_papers_are_named():
    (table,) = reproduction_tables(
        ATTACKED, figures(results_of(paper_outcomes(), dataset="mnist5k"))
    )
    assert table.rows[1][0] == "mnist5k"
    assert "Ours are for mnist5k (10000 test images), the paper's for mnist" in table.note
    assert "Fisher" not in table.note


def test_without_data_the_papers_figures_stand_alone():
    svhn = TARGETS["table4"].groups[0]
    table = figures_of(TARGETS["table4"], "cpu", [Reproduced(svhn, None, {}, set())])
    first, second = reproduction_tables(TARGETS["table4"], table)
    assert (first.title[-13:], second.title[-14:]) == ("epsilon 0.005", "epsilon 0.0025")
    assert first.rows[1][2:9] == [
        "winn", "not run: no data", "19.53", "not run: no data", "not run: no data", "74.39",
        "not run: no data",
    ]  # fmt: skip
    assert first.rows[1][-3:] == ["-", "-", "-"]


def test_both_forms_of_the_loss_stand_side_by_side():
    """The paper's attack first, with the paper's figure; the other one has none there."""
    cases = {
        ("fgsm(loss='ce')", "linf", 0.125): {"baseline": 300, "winn": 80},
        ("fgsm(loss='ce-stable')", "linf", 0.125): {"baseline": 400, "winn": 90},
    }
    results = results_of(attacked(cases, {"baseline": 9, "winn": 7}))
    table = figures(results)
    for quantity, errors in (
        ("adversarial error", (0.3, 0.08)), ("adversarial error, stable loss", (0.4, 0.09))
    ):  # fmt: skip
        found = [figure(table, name, quantity)["mean"] for name in ("baseline", "winn")]
        assert found == pytest.approx(errors)
    assert figure(table, "winn", "correction by it of the baseline's errors").n == 300
    (shown,) = reproduction_tables(ATTACKED, table)
    assert shown.header[3:6] == [
        "adversarial error, %", "paper", "adversarial error, stable loss, %"
    ]  # fmt: skip
    assert [text.split()[0] for text in shown.rows[1][3:6]] == ["8.0", "7.99", "9.0"]
    assert "stable" in shown.note


@pytest.mark.parametrize(
    ("other", "unlike"),
    [(run_of(20, 1, batch_size=100), "-"),  # the default
     (run_of(10, 1), "epochs"),
     (run_of(20, 1, recipe="fast", optimization={"average_decay": 0.999, "batch_size": 50}),
      "recipe, batch_size, average_decay"),
     (run_of(20, 1, data={"hold_out": 5000}, model={"initialization": "dcgan"}),
      "initialization, hold_out"),
     (run_of(20, 1, optimization={"margin_radius": 0.125}), "margin_radius"),
     (run_of(20, 1, best={"epoch": 1, "valid_error": 0, "valid_attacked_error": 0}), "selection"),
     (run_of(20, 1, method="winn", seed=0, negatives={"share": 0.4}, alpha=0.03), "-")],
)  # fmt: skip
def test_orders_of_networks_that_were_trained_otherwise_are_marked(published, other, unlike):
    """The method's own settings are part of the method."""
    table = figures(published, runs={("baseline", 0): run_of(20, 1), ("winn", 0): other})
    assert figure(table, "winn", "adversarial error").unlike == unlike
    mark = "" if unlike == "-" else f", not matched ({unlike})"
    for quantity in ("adversarial error", "correction by it of the baseline's errors"):
        assert figure(table, "winn", quantity).order == "as in the paper" + mark
    (shown,) = reproduction_tables(ATTACKED, table)
    assert ("Not matched:" in shown.note) == (unlike != "-")


def test_targets_have_every_row_of_the_papers_tables():
    rows = {
        data: [row for of_arch in paper.PAPER[data].values() for row in of_arch.values()]
        for data in ("mnist", "svhn")
    }
    wanted = {
        "table2": [row["test_error"] for data in rows for row in rows[data]],
        "table3": [row["adversarial_error"] for row in rows["mnist"] if "adversarial_error" in row],
        "table4": [row["adversarial_error"] for row in rows["svhn"]],
    }
    assert list(map(len, wanted.values())) == [9, 5, 2]
    for name, percents in wanted.items():
        target = TARGETS[name]
        nothing = [Reproduced(group, None, {}, set()) for group in target.groups]
        table = figures_of(target, "cpu", nothing)
        errors = table[table.quantity.isin(["test error", "adversarial error"])]
        for _, part in errors.groupby("epsilon"):
            assert sorted(100 * part.paper) == pytest.approx(sorted(percents))


def test_budgets_have_epochs_for_every_network_that_a_target_needs():
    for budget in BUDGETS.values():
        assert {group.arch for target in TARGETS.values() for group in target.groups} <= set(
            budget.epochs
        )

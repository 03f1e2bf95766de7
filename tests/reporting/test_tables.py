import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from winnrobust.evaluation.metrics import aim_table, cost_table
from winnrobust.reporting.matrices import (
    CORRECTION_COLOUR,
    ERROR_COLOUR,
    correction_matrix,
    error_matrix,
    heat,
)

from tests.reporting.conftest import (
    describe_model,
    diagnosis_of,
    make_attacked,
    make_evaluation,
    make_results,
)
from winnrobust.reporting import load_results, tables
from winnrobust.reporting.results import Case
from winnrobust.reporting.table import percent, to_latex, to_markdown
from winnrobust.reporting.tables import adversarial_table, test_error_table

test_error_table.__test__ = False  # a function of ours, not a test

FGSM = Case("fgsm", "Linf", 0.125)


def test_table_3_has_the_papers_layout_and_figures_beside_ours(results):
    table = adversarial_table(load_results(results), FGSM)
    assert table.header == [
        "model",
        "adversarial error",
        "paper",
        "correction by model, of baseline's errors",
        "paper",
        "correction by baseline, of model's errors",
        "paper",
    ]
    baseline, winn = table.rows
    assert baseline[0] == "baseline"
    assert baseline[1] == "32.41 [31.50, 33.33] 3241/10000"
    assert baseline[2:] == ["32.41", "-", "-", "-", "-"]
    assert winn[1].startswith("7.99 [7.47, 8.54]")
    assert winn[2] == "7.99"
    assert winn[3].startswith("90.00 [")
    assert winn[3].endswith("2917/3241")
    assert winn[4] == "90.00"
    assert winn[5].startswith("46.93 [")
    assert winn[5].endswith("375/799")
    assert winn[6] == "46.93"
    assert "authors' code" in table.note


def test_table_2_shows_test_errors_beside_the_papers(results):
    table = test_error_table(load_results(results))
    assert [row[-1] for row in table.rows] == ["0.89", "0.67"]
    assert table.rows[0][2].startswith("0.89 [")
    assert table.rows[1][3] == "67 of 10000"


def test_the_literal_reading_of_epsilon_is_labelled(tmp_path):
    folder = make_results(tmp_path / "half", make_evaluation(epsilon=0.0625))
    table = adversarial_table(load_results(folder), FGSM._replace(epsilon=0.0625))
    assert table.rows[1][2] == "7.99"
    assert "as its text has it, on [-1, 1]" in table.note


@pytest.mark.parametrize(
    ("dataset", "epsilon", "limit", "arch"),
    [
        ("mnist5k", 0.125, None, "vanilla"),
        ("mnist", 0.1, None, "vanilla"),
        ("mnist", 0.125, 10_000, "vanilla"),
        ("mnist", 0.125, None, "other"),
    ],
)
def test_no_paper_figure_where_nothing_compares(tmp_path, dataset, epsilon, limit, arch):
    models = [describe_model(name, arch=arch) for name in ("baseline", "winn")]
    evaluation = make_evaluation(epsilon=epsilon)
    folder = make_results(tmp_path / "results", evaluation, dataset, limit, models)
    table = adversarial_table(load_results(folder), FGSM._replace(epsilon=epsilon))
    assert "paper" not in table.header
    assert ("--limit" in table.note) == (limit is not None)


def test_undefined_rates_are_empty_everywhere(tmp_path):
    counts = {
        ("baseline", "baseline"): (0, 0, 0),
        ("baseline", "winn"): (0, 3, 0),
        ("winn", "baseline"): (5, 0, 0),
        ("winn", "winn"): (5, 5, 5),
    }
    evaluation = make_evaluation(counts, {"baseline": 0, "winn": 1}, n=50)
    folder = make_results(tmp_path / "results", evaluation, "mnist5k")
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["correction_rate"] for row in rows] == ["", "", "1.0", "0.0"]
    assert [row["adversarial_error"] for row in rows] == ["0.0", "0.0", "0.1", "0.1"]
    assert '"correction_rate": null' in (folder / "results.json").read_text()
    assert "NaN" not in (folder / "results.json").read_text()
    loaded = load_results(folder)
    assert loaded.table.correction_rate.isna().tolist() == [True, True, False, False]
    assert adversarial_table(loaded, FGSM).rows[1][2] == " 0/0"
    for name in ("table.md", "table.tex", "table.csv"):
        assert "nan" not in (folder / name).read_text()


def test_flat_csv_has_shares_and_the_papers(results):
    baseline, winn = csv.DictReader(io.StringIO((results / "table.csv").read_text()))
    assert (winn["adversarial_error"], winn["adversarial_error_paper"]) == ("0.0799", "0.0799")
    assert float(winn["correction_rate_by_model"]) == pytest.approx(2917 / 3241)
    assert float(winn["correction_rate_by_reference"]) == pytest.approx(375 / 799)
    assert (winn["correction_rate_by_model_paper"], baseline["test_error"]) == ("0.9", "0.0089")
    assert baseline["correction_rate_by_model"] == ""


def test_the_baseline_comes_first_whatever_the_order(tmp_path):
    counts = {
        ("winn", "winn"): (2, 2, 2),
        ("winn", "baseline"): (2, 1, 1),
        ("baseline", "winn"): (4, 1, 1),
        ("baseline", "baseline"): (4, 4, 4),
    }
    folder = make_results(tmp_path / "results", make_evaluation(counts, n=20))
    table = adversarial_table(load_results(folder), FGSM)
    assert [row[0] for row in table.rows] == ["baseline", "winn"]


def test_one_model_alone_has_no_correction_columns(tmp_path):
    evaluation = make_evaluation({("winn", "winn"): (799, 799, 799)})
    folder = make_results(tmp_path / "results", evaluation)
    assert adversarial_table(load_results(folder), FGSM).header == [
        "model",
        "adversarial error",
        "paper",
    ]


def test_percentages_have_the_digits_the_counts_carry():
    assert percent(0.07994, 10_000) == "7.99"
    assert percent(0.0794, 1000) == "7.9"
    assert percent(None, 1000) == percent(float("nan"), 1000) == ""


def test_markdown_and_latex_are_tables(results):
    markdown = (results / "table.md").read_text()
    assert "| winn" in markdown
    assert "|:--" in markdown
    latex = (results / "table.tex").read_text()
    count = len(tables.comparison_tables(load_results(results)))
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == count
    assert "\\toprule" in latex
    assert "[31.50, 33.33] 3241/10000" in latex


def test_names_are_escaped_in_markdown_and_latex(tmp_path):
    name = r"a_b|<i>&%$#{\x}"
    counts = {(name, name): (2, 2, 2)}
    models = [describe_model(name)]
    folder = make_results(tmp_path / "r", make_evaluation(counts, n=20), "mnist", None, models)
    markdown = (folder / "table.md").read_text()
    assert "a\\_b\\|&lt;i&gt;" in markdown
    latex = to_latex([test_error_table(load_results(folder))])
    assert "a\\_b|" in latex
    for special in ("&", "%", "$", "#", "{"):
        assert f"\\{special}" in latex


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """Two attacks at two epsilons and one in L2, on three models, of 1,000 images."""
    cases = {
        ("fgsm", "Linf", 0.1): {"a": 300, "b": 100, "c": 40},
        ("pgd", "Linf", 0.1): {"a": 500, "b": 200, "c": 40},
        ("fgsm", "Linf", 0.2): {"a": 400, "b": 150, "c": 60},
        ("pgd", "Linf", 0.2): {"a": 900, "b": 400, "c": 60},
        ("ddn", "L2", 1.5): {"a": 1000, "b": 300, "c": 0},
    }
    evaluation = make_attacked(cases, {"a": 20, "b": 20, "c": 10}, worst={("Linf", 0.1, "a"): 600})
    distances = {
        ("ddn", "a"): np.linspace(0, 1, 1000, dtype=np.float32),
        ("ddn", "b"): np.array([0.5] * 499 + [np.inf] * 501, np.float32),
    }
    evaluation = replace(
        evaluation,
        distances=distances,
        aimed=aim_table(1000, {("pgd", "Linf", 0.2, "a"): 250}),
        costs=cost_table({("pgd", "a"): (12.5, 0), ("pgd", "b"): (2.0, 7)}),
    )
    models = [describe_model(name, method=None, group=name) for name in "abc"]
    diagnosis = diagnosis_of({"a": {"gradients": "ok", "noise": "broken"}, "b": {"noise": "ok"}})
    folder = tmp_path_factory.mktemp("attacked") / "results"
    return load_results(make_results(folder, evaluation, models=models, diagnosis=diagnosis))


def test_worst_cases_by_norm_and_epsilon(attacked):
    table = tables.worst_table(attacked)
    assert table.header == ["attacks", "a", "b", "c"]
    assert [row[0] for row in table.rows] == [
        "no attack", "epsilon 0.1", "epsilon 0.2", "L2 epsilon 1.5"
    ]  # fmt: skip
    assert table.rows[1][1:] == ["60.0 [56.9, 63.0]", "20.0 [17.6, 22.6]", "4.0 [3.0, 5.4]"]
    assert table.rows[3][3] == "0.0 [0.0, 0.4]"


def test_errors_of_every_attack(attacked):
    table = tables.attack_table(attacked)
    assert [row[0] for row in table.rows] == [
        "no attack", "fgsm 0.1", "pgd 0.1", "fgsm 0.2", "pgd 0.2", "ddn 1.5"
    ]  # fmt: skip
    assert table.rows[4][1] == "90.0 [88.0, 91.7]"


def test_matrices_have_the_source_down_and_the_judge_across(attacked):
    case = Case("pgd", "Linf", 0.1)
    errors = error_matrix(attacked, case)
    assert errors.header == ["made against", "a", "b", "c"]
    assert errors.rows == [
        ["a", "50.0", "25.0", "25.0"], ["b", "10.0", "20.0", "10.0"], ["c", "2.0", "2.0", "4.0"]
    ]  # fmt: skip
    correction = correction_matrix(attacked, case)
    assert correction.rows == [
        ["a", "-", "75.0", "75.0"], ["b", "75.0", "-", "75.0"], ["c", "75.0", "75.0", "-"]
    ]  # fmt: skip
    assert set(correction.styles) == {(i, j + 1) for i in range(3) for j in range(3) if i != j}


def test_a_correction_of_no_errors_is_empty_and_has_no_colour(attacked):
    matrix = correction_matrix(attacked, Case("ddn", "L2", 1.5))
    assert matrix.rows[2] == ["c", "", "", "-"]
    assert not [key for key in matrix.styles if key[0] == 2]


@given(st.floats(0, 1))
def test_letters_can_be_read_on_every_shade(value):
    for colour in (ERROR_COLOUR, CORRECTION_COLOUR):
        found = re.fullmatch(r"background:rgb\((.*),(.*),(.*)\);color:(#...)", heat(value, colour))
        # gamma 2.2 is within a percent of the standard's curve
        ground = sum(
            weight * (int(part) / 255) ** 2.2
            for weight, part in zip((0.2126, 0.7152, 0.0722), found.groups()[:3], strict=True)
        )
        ink = {"#000": 0.0, "#fff": 1.0}[found[4]]
        # the contrast of the Web Content Accessibility Guidelines, which want 4.5
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 4.4


def test_shades_go_from_white_to_the_full_colour():
    assert heat(0, (10, 20, 30)) == "background:rgb(255,255,255);color:#000"
    assert heat(1, (10, 20, 30)) == "background:rgb(10,20,30);color:#fff"


def test_paired_tests_show_the_counts_and_who_errs_less(attacked):
    sums, attacks = tables.paired_tables(attacked)
    assert sums.rows[0] == ["no attack", "a", "b", "0", "0", "1.000", "within noise"]
    assert ["worst case, Linf 0.1", "a", "b", "400", "0", "< 0.001", "b"] in sums.rows
    assert ["no attack", "a", "c", "10", "0", "0.002", "c"] in sums.rows
    assert ["ddn 1.5", "b", "c", "300", "0", "< 0.001", "c"] in attacks.rows
    assert len(sums.rows) + len(attacks.rows) == len(attacked.paired)


def test_distances_as_quartiles_and_how_many_had_none(attacked):
    table = tables.distance_table(attacked)
    assert table.rows == [
        ["ddn", "L2", "a", "0.2492", "0.4995", "0.7497", "0 of 1000"],
        ["ddn", "L2", "b", "0.5", "none found", "none found", "501 of 1000"],
    ]


def test_aims_and_costs(attacked):
    assert tables.aim_table(attacked).rows == [["pgd 0.2", "a", "25.0 [22.4, 27.8]", "250 of 1000"]]
    assert tables.cost_table(attacked).rows == [
        ["pgd", "a", "12.5", "12.50", "0"], ["pgd", "b", "2.0", "2.00", "7 of 1000"]
    ]  # fmt: skip


def test_the_diagnosis_is_shown_in_words_with_its_evidence(attacked):
    overview = tables.diagnosis_overview(attacked)
    assert overview.header == ["indicator", "a", "b"]
    assert overview.rows == [
        ["gradients", "ok", ""], ["noise", "broken", "ok"], ["overall", "broken", "ok"]
    ]  # fmt: skip
    assert "#7f1d1d" in overview.styles[1, 1]
    table = tables.diagnosis_table(attacked)
    assert table.rows[1] == ["a", "noise", "broken", "noise measured on a."]
    assert set(table.styles) == {(0, 2), (1, 2), (2, 2)}


def test_gradients_tell_zero_tiny_and_no_numbers(attacked):
    assert tables.gradient_table(attacked).rows[0] == [
        "fgsm", "a", "25.0000", "7 of 1000", "9", "2"
    ]  # fmt: skip


def test_seeds_have_mean_and_spread(tmp_path):
    own = {"x-0": 100, "x-1": 200, "x-2": 300, "y": 700}
    models = [describe_model(name, group=name[0]) for name in own]
    evaluation = make_attacked({("pgd", "Linf", 0.1): own}, dict.fromkeys(own, 20))
    results = load_results(make_results(tmp_path / "r", evaluation, models=models))
    assert ["pgd 0.1", "x", "3", "20.0", "10.0", "10.0", "30.0"] in tables.seeds_table(results).rows
    assert ["pgd 0.1", "y", "1", "70.0", "", "70.0", "70.0"] in tables.seeds_table(results).rows
    row = next(row for row in tables.differences_table(results).rows if row[0] == "pgd 0.1")
    assert row == ["pgd 0.1", "x", "y", "-50.00", "McNemar p < 0.001", "beyond noise"]


def test_one_seed_each_needs_no_table_of_seeds(results):
    titles = [table.title for table in tables.comparison_tables(load_results(results))]
    assert not [title for title in titles if "seeds" in title]


def test_a_picture_or_link_in_a_name_stays_text():
    table = tables.Table("![x](http://a.b/c.png)", ["[a](b)"], [["two\nlines"]])
    markdown = to_markdown([table])
    assert "](" not in markdown
    assert "two lines" in markdown

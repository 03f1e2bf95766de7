import csv
import io

import pytest

from tests.reporting.conftest import describe_model, make_evaluation, make_results
from winnrobust.reporting import load_results, terminal_tables
from winnrobust.reporting.findings import SINGLE_STEP_CAUTION, findings
from winnrobust.reporting.tables import adversarial_table, percent, test_error_table, to_latex

test_error_table.__test__ = False  # a function of ours, not a test


def test_table_3_has_the_papers_layout_and_figures_beside_ours(results):
    table = adversarial_table(load_results(results), "fgsm", 0.125)
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
    table = adversarial_table(load_results(folder), "fgsm", 0.0625)
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
    table = adversarial_table(load_results(folder), "fgsm", epsilon)
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
    assert adversarial_table(loaded, "fgsm", 0.125).rows[1][2] == " 0/0"
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
    table = adversarial_table(load_results(folder), "fgsm", 0.125)
    assert [row[0] for row in table.rows] == ["baseline", "winn"]


def test_one_model_alone_has_no_correction_columns(tmp_path):
    evaluation = make_evaluation({("winn", "winn"): (799, 799, 799)})
    folder = make_results(tmp_path / "results", evaluation)
    assert adversarial_table(load_results(folder), "fgsm", 0.125).header == [
        "model",
        "adversarial error",
        "paper",
    ]


def test_terminal_tables_show_errors_rates_and_counts(results):
    text = terminal_tables(results)
    for part in ("32.41 [31.50, 33.33]", "3241 of 10000", "90.00", "2917/3241", "375/799", "7.99"):
        assert part in text


def test_percentages_have_the_digits_the_counts_carry():
    assert percent(0.07994, 10_000) == "7.99"
    assert percent(0.0794, 1000) == "7.9"
    assert percent(None, 1000) == percent(float("nan"), 1000) == ""


def test_markdown_and_latex_are_tables(results):
    markdown = (results / "table.md").read_text()
    assert "| winn" in markdown
    assert "|:--" in markdown
    latex = (results / "table.tex").read_text()
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == 4
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


def test_findings_give_the_ratio_and_the_caution(results):
    sentences = findings(load_results(results))
    assert sentences[0] == (
        "Under fgsm at epsilon 0.125, winn errs on 7.99 [7.47, 8.54] % of the images and baseline"
        " on 32.41 [31.50, 33.33] %: 0.25 times as many."
    )
    assert sentences[1].endswith("no difference beyond noise.")
    assert sentences[-1] == SINGLE_STEP_CAUTION


def test_findings_call_overlapping_intervals_noise(tmp_path):
    counts = {
        ("baseline", "baseline"): (40, 40, 40),
        ("baseline", "winn"): (40, 9, 8),
        ("winn", "baseline"): (38, 9, 8),
        ("winn", "winn"): (38, 38, 38),
    }
    folder = make_results(tmp_path / "results", make_evaluation(counts, n=100))
    assert "no difference beyond noise" in findings(load_results(folder))[0]

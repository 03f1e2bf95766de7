"""Tables: a view of the numbers each, and safe to show whoever named the models."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reporting.conftest import (
    PAPER_CLEAN,
    attacked,
    describe_model,
    diagnosis_of,
    make_results,
    outcomes,
    paper_outcomes,
    results_of,
)
from winnrobust.evaluation.outcomes import Case
from winnrobust.reporting import load_results, tables
from winnrobust.reporting.table import (
    Table,
    one_line,
    percent,
    plain,
    to_csv,
    to_latex,
    to_markdown,
    to_text,
)
from winnrobust.reporting.tables import CORRECTION_COLOR, ERROR_COLOR, heat
from winnrobust.reporting.verdict import Verdict

PACKAGE = Path(tables.__file__).parents[1]


def titled(found: list[Table], start: str) -> Table:
    (table,) = (table for table in found if table.title.startswith(start))
    return table


# --- accuracy and errors --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    """Two attacks at two epsilons and one in L2, on three models, of 1,000 images."""
    cases = {
        ("fgsm", "linf", 0.2): {"a": 400, "b": 150, "c": 60},
        ("pgd", "linf", 0.2): {"a": 900, "b": 400, "c": 60},
        ("fgsm", "linf", 0.1): {"a": 300, "b": 100, "c": 40},
        ("pgd", "linf", 0.1): {"a": 500, "b": 200, "c": 40},
        ("ddn", "l2", 1.5): {"a": 1000, "b": 300, "c": 0},
    }
    models = [describe_model(name, method=None) for name in "abc"]
    diagnosis = diagnosis_of({"a": {"gradients": "ok", "noise": "broken"}, "b": {"noise": "ok"}})
    frame = attacked(cases, {"a": 20, "b": 20, "c": 10})
    return results_of(frame, models, diagnosis=diagnosis)


def test_robust_accuracy_stands_first_the_most_robust_model_on_top(many):
    table = tables.headline_table(many)
    assert table.header == [
        "model", "clean accuracy", "robust, Linf 0.1", "robust, Linf 0.2", "robust, L2 1.5", "trust"
    ]  # fmt: skip
    assert [row[0] for row in table.rows] == ["c", "b", "a"]
    assert table.rows[1] == [
        "b", "98.0 [96.9, 98.7]", "80.0 [77.4, 82.4]", "60.0 [56.9, 63.0]", "70.0 [67.1, 72.8]",
        "ok",
    ]  # fmt: skip
    assert table.rows[0][-2:] == ["99.0 [98.2, 99.5]", "not tested"]  # clean errors count
    assert table.rows[2][-1] == "broken"
    assert "7f1d1d" in table.styles[2, 5]
    assert "fgsm, pgd at Linf 0.1; fgsm, pgd at Linf 0.2; ddn at L2 1.5." in table.note


def test_of_many_epsilons_some_stand_in_the_first_table():
    cases = {("pgd", "linf", e): {"a": round(1000 * e)} for e in np.linspace(0.1, 1, 10)}
    results = results_of(attacked(cases, {"a": 10}))
    header = tables.headline_table(results).header
    assert header[2:-1] == [f"robust, Linf {e}" for e in (0.1, 0.4, 0.7, 1)]
    (table,) = tables.error_tables(results)
    assert len(table.rows) == 1 + 10 + 10


def test_adversarial_errors_beside_it_and_the_worst_case_below(many):
    (table,) = tables.error_tables(many)
    assert [row[0] for row in table.rows] == [
        "no attack", "fgsm, Linf 0.2", "pgd, Linf 0.2", "fgsm, Linf 0.1", "pgd, Linf 0.1",
        "ddn, L2 1.5", "worst case, Linf 0.1", "worst case, Linf 0.2", "worst case, L2 1.5",
    ]  # fmt: skip
    assert table.rows[2][1] == "90.0 [88.0, 91.7]"
    assert table.rows[-1][1:] == ["100.0 [99.6, 100.0]", "30.0 [27.2, 32.9]", "1.0 [0.5, 1.8]"]


def test_many_models_stand_below_each_other(many):
    names = [f"m{index}" for index in range(20)]
    frame = attacked(
        {("pgd", "linf", 0.1): dict.fromkeys(names, 50)}, dict.fromkeys(names, 2), n=100
    )
    (table,) = tables.error_tables(results_of(frame))
    assert table.header == ["attack", "no attack", "pgd 0.1", "worst case, Linf 0.1"]
    assert [row[0] for row in table.rows] == names


def test_images_that_were_not_attacked_stand_beside_every_rate():
    status = {("pgd", 0.1, "a"): ["attacked"] * 90 + ["out of time"] * 7 + ["error"] * 3}
    frame = outcomes(
        100, {"a": range(5)}, {("pgd", "linf", 0.1, "a"): {"a": range(40)}}, status=status
    )
    results = results_of(frame)
    assert tables.headline_table(results).rows[0][2].endswith("], 10 not attacked")
    (table,) = tables.error_tables(results)
    assert [row[1][-16:] for row in table.rows[1:]] == [", 10 not attacked"[-16:]] * 2
    costs = titled(tables.detail_tables(results), "What the attacks cost")
    assert costs.rows == [["pgd", "Linf", "a", "-", "1.0", "0.0", "7", "3"]]
    assert ", 10 not attacked" in Verdict(results).line
    whys = [caution.why for caution in Verdict(results).cautions]
    assert "pgd failed on 3 of 100 images, whose clean result counts: " in whys[0]


def test_tables_without_a_place_for_them_name_the_images_that_were_not_attacked():
    made = {("pgd", "linf", 0.1, name): {"a": range(40), "b": range(30)} for name in "ab"}
    status = {("pgd", 0.1, "a"): ["attacked"] * 90 + ["out of time"] * 10}
    frame = outcomes(100, {"a": range(5), "b": range(5)}, made, status=status)
    results = results_of(frame)
    (case,) = results.cases
    for table in (*tables.both_matrices(results, case), *tables.paper_tables(results)):
        assert "Not attacked, and counted as unattacked, of 100 images: a 10." in table.note
    assert tables.comparison_frame(results).not_attacked.tolist() == [10, 0]
    assert results.summary.transfer.not_attacked.tolist() == [10, 10, 0, 0]


def test_a_targeted_attack_is_not_called_untargeted(many):
    results = replace(many, settings=many.settings | {"targeted": "random"})
    attacks = titled(tables.threat_tables(results), "Attacks")
    assert attacks.note.startswith("Here every attack was targeted (random)")
    assert titled(tables.threat_tables(many), "Attacks").note == ""


def test_the_worst_cases_success_rate_is_of_the_images_right_without_an_attack(many):
    frame = tables.comparison_frame(many).set_index(["attack", "epsilon", "model"])
    assert frame.worst_case_success_rate["pgd", 0.2, "b"] == pytest.approx((400 - 20) / 980)
    assert frame.robust_accuracy["fgsm", 0.2, "b"] == 0.6


# --- matrices -------------------------------------------------------------------------------------


def test_matrices_have_the_source_down_and_the_model_that_looks_across(many):
    errors, correction = tables.both_matrices(many, Case("pgd", "linf", 0.1))
    assert errors.header == ["made against", "a", "b", "c"]
    assert errors.rows == [
        ["a", "50.0", "25.0", "25.0"], ["b", "10.0", "20.0", "10.0"], ["c", "2.0", "2.0", "4.0"]
    ]  # fmt: skip
    assert correction.rows == [
        ["a", "-", "50.0", "50.0"], ["b", "50.0", "-", "50.0"], ["c", "50.0", "50.0", "-"]
    ]  # fmt: skip
    assert set(correction.styles) == {(i, j + 1) for i in range(3) for j in range(3) if i != j}


def test_a_correction_of_no_errors_is_empty_and_has_no_color(many):
    _, matrix = tables.both_matrices(many, Case("ddn", "l2", 1.5))
    assert matrix.rows[2] == ["c", "", "", "-"]
    assert not [key for key in matrix.styles if key[0] == 2]


def test_models_that_did_not_look_at_others_examples_have_no_matrices():
    made = {("pgd", "linf", 0.1, name): {name: range(50)} for name in "ab"}
    results = results_of(outcomes(100, {"a": [], "b": []}, made))
    assert tables.strongest_matrices(results) == tables.other_matrices(results) == []
    assert titled(tables.paper_tables(results), "pgd").header == ["model", "adversarial error"]
    assert tables.comparison_tables(results)


@given(st.floats(0, 1))
def test_letters_can_be_read_on_every_shade(value):
    for color in (ERROR_COLOR, CORRECTION_COLOR):
        found = re.fullmatch(r"background:rgb\((.*),(.*),(.*)\);color:(#...)", heat(value, color))
        # gamma 2.2 is within a percent of the standard's curve
        ground = sum(
            weight * (int(part) / 255) ** 2.2
            for weight, part in zip((0.2126, 0.7152, 0.0722), found.groups()[:3], strict=True)
        )
        ink = {"#000": 0.0, "#fff": 1.0}[found[4]]
        # the contrast of the Web Content Accessibility Guidelines, which want 4.5
        assert (max(ground, ink) + 0.05) / (min(ground, ink) + 0.05) > 4.4


def test_shades_go_from_white_to_the_full_color():
    assert heat(0, (10, 20, 30)) == "background:rgb(255,255,255);color:#000"
    assert heat(1, (10, 20, 30)) == "background:rgb(10,20,30);color:#fff"


# --- the paper's layout -------------------------------------------------------------------------


def test_table_3_has_the_papers_layout_and_figures_beside_ours(results):
    (clean,), (table,) = (
        show(load_results(results)) for show in (tables.clean_tables, tables.paper_tables)
    )
    assert table.header == [
        "model", "adversarial error", "paper", "correction by model, of the reference's errors",
        "paper", "correction by the reference, of model's errors", "paper",
    ]  # fmt: skip
    baseline, winn = table.rows
    assert baseline[:3] == ["baseline", "32.41 [31.50, 33.33] 3241/10000", "32.41"]
    assert baseline[3:] == ["-", "-", "-", "-"]
    assert winn[:3] == ["winn", "7.99 [7.47, 8.54] 799/10000", "7.99"]
    assert re.fullmatch(r"90\.00 \[88\.9\d, 91\.0\d\] 2917/3241", winn[3])
    assert winn[4] == "90.00"
    assert re.fullmatch(r"46\.93 \[43\..., 50\...\] 375/799", winn[5])
    assert winn[6] == "46.93"
    assert "authors' code" in table.note
    assert [row[2:] for row in clean.rows] == [
        ["0.89 [0.72, 1.09]", "0.89"], ["0.67 [0.53, 0.85]", "0.67"]
    ]  # fmt: skip


def test_the_literal_reading_of_epsilon_is_labeled():
    table = titled(tables.paper_tables(results_of(paper_outcomes(epsilon=0.0625))), "fgsm")
    assert table.rows[1][2] == "7.99"
    assert "as its text reads, on [-1, 1]" in table.note
    assert "the paper's figures are of the usual one, fgsm(loss='ce')" in table.note


def test_of_the_papers_own_loss_nothing_is_said():
    cases = {("fgsm(loss='ce')", "linf", 0.125): {"baseline": 3241, "winn": 799}}
    results = results_of(attacked(cases, {"baseline": 89, "winn": 67}))
    assert "stable" not in titled(tables.paper_tables(results), "fgsm").note


@pytest.mark.parametrize(
    ("dataset", "epsilon", "limit", "arch"),
    [
        ("mnist5k", 0.125, None, "vanilla"),
        ("mnist", 0.1, None, "vanilla"),
        ("mnist", 0.125, 10_000, "vanilla"),
        ("mnist", 0.125, None, "other"),
    ],
)
def test_no_paper_figure_where_nothing_compares(dataset, epsilon, limit, arch):
    models = [describe_model(name, arch=arch) for name in ("baseline", "winn")]
    results = results_of(paper_outcomes(epsilon), models, dataset=dataset, limit=limit)
    assert "paper" not in titled(tables.paper_tables(results), "fgsm").header


def test_undefined_rates_are_empty_everywhere(tmp_path):
    made = {
        "baseline": {"baseline": [], "winn": range(3)},
        "winn": {"baseline": [], "winn": range(5)},
    }
    frame = paper_outcomes(made=made, n=50, clean={"baseline": [], "winn": [0]})
    folder = make_results(tmp_path / "results", frame, "mnist5k")
    rows = list(csv.DictReader((folder / "results.csv").open()))
    assert [row["correction_rate"] for row in rows] == ["", "", "1.0", "0.0"]
    assert [row["adversarial_error"] for row in rows] == ["0.0", "0.0", "0.1", "0.1"]
    table = titled(tables.paper_tables(load_results(folder)), "fgsm")
    assert table.rows[1][2] == "0/0"
    for name in ("table.md", "table.tex", "table.csv"):
        assert "nan" not in (folder / name).read_text()


def test_flat_csv_has_shares_and_the_papers(results):
    baseline, winn = csv.DictReader(io.StringIO((results / "table.csv").read_text()))
    assert (winn["adversarial_error"], winn["adversarial_error_paper"]) == ("0.0799", "0.0799")
    assert winn["robust_accuracy"] == "0.9201"
    assert float(winn["correction_rate_by_method"]) == pytest.approx(2917 / 3241)
    assert float(winn["correction_rate_by_baseline"]) == pytest.approx(375 / 799)
    assert (winn["correction_rate_by_method_paper"], baseline["test_error"]) == ("0.9", "0.0089")
    assert baseline["correction_rate_by_method"] == ""


def test_one_model_alone_has_no_correction_columns():
    frame = paper_outcomes(made={"winn": {"winn": range(799)}}, clean={"winn": PAPER_CLEAN["winn"]})
    table = titled(tables.paper_tables(results_of(frame)), "fgsm")
    assert table.header == ["model", "adversarial error", "paper"]


# --- tests and what stands behind -----------------------------------------------------------------


def test_paired_tests_show_the_counts_and_who_errs_less(many):
    table = titled(tables.test_tables(many), "Paired tests")
    assert table.rows[0] == ["no attack", "a", "b", "0", "0", "1.000", "within noise"]
    assert ["worst case, Linf 0.1", "a", "b", "300", "0", "< 0.001", "b"] in table.rows
    assert ["no attack", "a", "c", "10", "0", "0.002", "c"] in table.rows
    assert len(table.rows) == 3 * 4


def test_the_directions_of_correction_are_compared_under_the_strongest_attacks(results):
    table = titled(tables.test_tables(load_results(results)), "Who corrects more")
    ((attack, first, second, by_second, by_first, difference, p),) = table.rows
    assert (attack, first, second) == ("fgsm 0.125", "baseline", "winn")
    assert (by_second, by_first, p) == ("90.00", "46.93", "< 0.001")
    low, high = (float(x) for x in re.fullmatch(r"\+43\.1 \[\+(.*), \+(.*)\]", difference).groups())
    assert 39 < low < 43.1 < high < 47


def test_distances_as_quartiles_and_how_many_had_none():
    far = {"a": np.linspace(0, 1, 1000), "b": np.array([0.5] * 499 + [np.inf] * 501)}
    made = {("ddn", "l2", e, name): {name: range(900)} for e in (1.5, np.inf) for name in far}
    distance = {("ddn", np.inf, name): values for name, values in far.items()}
    frame = outcomes(1000, {"a": [], "b": []}, made, distance=distance)
    table = titled(tables.detail_tables(results_of(frame)), "Smallest")
    assert table.rows == [
        ["ddn", "L2", "a", "0.2492", "0.4995", "0.7497", "0"],
        ["ddn", "L2", "b", "0.5", "none found", "none found", "501"],
    ]


def test_targeted_attacks_are_counted_by_the_class_reached():
    frame = attacked({("pgd", "linf", 0.2): {"a": 250}}, {"a": 20})
    frame.loc[frame.attack.notna(), "target"] = 0  # what the model sees where it errs
    table = titled(tables.detail_tables(results_of(frame)), "Targeted")
    assert table.rows == [["pgd 0.2", "a", "25.0 [22.4, 27.8]", "250 of 1000"]]


def test_the_diagnosis_is_shown_in_words_with_its_evidence(many):
    overview, evidence = tables.diagnosis_tables(many)
    assert overview.header == ["indicator", "a", "b"]
    assert overview.rows == [
        ["gradients", "ok", ""], ["noise", "broken", "ok"], ["overall", "broken", "ok"]
    ]  # fmt: skip
    assert "#7f1d1d" in overview.styles[1, 1]
    assert evidence.rows[1] == ["a", "noise", "broken", "noise measured on a."]
    assert set(evidence.styles) == {(0, 2), (1, 2), (2, 2)}


def test_gradients_and_costs_come_from_the_parts(results):
    found = load_results(results)
    table = titled(tables.diagnosis_tables(found), "Input gradients")
    assert table.rows[0] == ["fgsm", "Linf", "baseline", "25.0000", "7 of 1000", "9", "2"]
    costs = titled(tables.detail_tables(found), "What the attacks cost")
    assert costs.rows[0] == ["fgsm", "Linf", "baseline", "12.5", "1.0", "0.0", "0", "0"]


def test_seeds_have_mean_and_spread():
    own = {"x-0": 100, "x-1": 200, "x-2": 300, "y": 700}
    models = [describe_model(name, group=name[0]) for name in own]
    frame = attacked({("pgd", "linf", 0.1): own}, dict.fromkeys(own, 20))
    found = tables.test_tables(results_of(frame, models))
    spread = titled(found, "Several seeds").rows
    assert ["pgd 0.1", "x", "3", "20.0", "10.0", "10.0", "30.0"] in spread
    assert ["pgd 0.1", "y", "1", "70.0", "-", "70.0", "70.0"] in spread
    row = next(row for row in titled(found, "Differences").rows if row[0] == "pgd 0.1")
    assert row == ["pgd 0.1", "x", "y", "-0.5000", "McNemar", "< 0.001", "beyond noise"]


def test_the_threat_model_tells_bounds_settings_access_and_source():
    frame = attacked(
        {("pgd", "linf", 0.125): {"a": 8}, ("own-attack", "l2", 1.5): {"a": 9}}, {"a": 1}
    )
    settings = {"steps": 40, "seconds": None, "targeted": "random", "epsilons": {}, "seed": 0}
    bounds, given, attacks = tables.threat_tables(results_of(frame, settings=settings))
    assert bounds.rows == [["Linf 0.125", "0.25", "31.9"], ["L2 1.5", "-", "-"]]
    assert given.rows == [["steps", "40"], ["targeted", "random"], ["seed", "0"]]
    assert attacks.rows[0][1:3] == ["Linf", "the model with its gradients (white box)"]
    assert attacks.rows[1][:3] == ["own-attack", "L2", "unknown: not one of our attacks"]


# --- text that is safe wherever it is shown -------------------------------------------------------


def test_percentages_have_the_digits_the_counts_carry():
    assert percent(0.07994, 10_000) == "7.99"
    assert percent(0.0794, 1000) == "7.9"
    assert percent(None, 1000) == percent(float("nan"), 1000) == ""


def test_markdown_and_latex_are_tables(results):
    markdown, latex = ((results / f"table.{kind}").read_text() for kind in ("md", "tex"))
    assert "| winn" in markdown
    assert "|:--" in markdown
    count = len(tables.comparison_tables(load_results(results)))
    assert latex.count("\\begin{tabular}") == latex.count("\\end{tabular}") == count
    assert "\\toprule" in latex
    assert "[31.50, 33.33] 3241/10000" in latex


def test_names_are_escaped_in_markdown_and_latex():
    name = r"a_b|<i>&%$#{\x}"
    table = Table("t", ["model"], [[name]])
    assert "a\\_b\\|&lt;i&gt;" in to_markdown([table])
    latex = to_latex([table])
    assert "a\\_b|" in latex
    for special in ("&", "%", "$", "#", "{"):
        assert f"\\{special}" in latex


def test_a_picture_or_link_in_a_name_stays_text():
    markdown = to_markdown([Table("![x](http://a.b/c.png)", ["[a](b)"], [["two\nlines"]])])
    assert "](" not in markdown
    assert "two lines" in markdown


EVIL = "x\x1b[2J\x9b1m\u202e\ud800\r\x07"


@pytest.mark.parametrize("render", [to_markdown, to_latex, to_text])
def test_control_characters_are_spelt_out(render):
    text = render([Table(EVIL, [EVIL], [[EVIL]], EVIL)])
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", text)
    assert text.encode()
    assert text.count("x1b") == 4


@given(st.text())
def test_plain_text_controls_nothing_and_good_text_is_not_changed(text):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", plain(text))
    assert "\n" not in one_line(text)
    if text.isprintable():
        assert plain(text) == text


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_name_is_not_a_formula_in_csv(start):
    frame = pd.DataFrame({"model": [f"{start}1+1", "winn"], f"{start}2": [-0.5, 1e-3]})
    for kind in ("object", "category", "string"):
        header, evil, good = csv.reader(io.StringIO(to_csv(frame.astype({"model": kind}))))
        safe = "\\" if start == "\r" else "'"  # which is spelt out, as "\r"
        assert [header[1][:1], evil[0][:1]] == [safe, safe]
        assert evil[1] == "-0.5"
        assert good == ["winn", "0.001"]


def test_dashes_and_gaps_stay_in_csv():
    frame = pd.DataFrame({"order": ["-", None], "model": ["a\x1bb", "c"]})
    assert to_csv(frame) == "order,model\n-,a\\x1bb\n,c\n"


def test_every_csv_of_reporting_is_written_by_the_one_function():
    for path in (PACKAGE / "reporting").glob("*.py"):
        text = path.read_text()
        assert text.count(".to_csv(") == (path.name == "table.py"), path


def test_a_model_named_like_a_formula_reaches_no_csv_file(tmp_path):
    name = '=HYPERLINK("http://a.b","x")'
    frame = attacked({("pgd", "linf", 0.1): {name: 5}}, {name: 1}, n=20)
    folder = make_results(tmp_path / "r", frame)
    for file in ("table.csv", "results.csv"):
        cells = [cell for row in csv.reader((folder / file).open()) for cell in row]
        assert f"'{name}" in cells
        assert not any(cell.startswith("=") for cell in cells)

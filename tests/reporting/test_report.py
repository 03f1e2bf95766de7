import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from winnrobust.reporting.schema import check

from tests.reporting.conftest import (
    describe_model,
    diagnosis_of,
    make_attacked,
    make_evaluation,
    make_results,
    make_run,
)
from winnrobust.reporting import (
    FORMATS,
    load_results,
    load_run,
    terminal_tables,
    training_figure,
    write_report,
)
from winnrobust.reporting.figures import training_curves
from winnrobust.reporting.report import read_report
from winnrobust.runtime.errors import InputError

REPORTS = Path(__file__).parents[2] / "reports"


def build(paths, out, formats=("html",)):
    out.mkdir()
    write_report(paths, out, formats)
    return (out / "index.html").read_text()


def text_of(page) -> str:
    """What a reader sees: no tags, no figures, entities resolved."""
    return " ".join(
        html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split()
    )


@pytest.fixture
def with_runs(tmp_path):
    """Results whose manifest holds the runs, and the run folders beside them."""
    runs = {name: make_run(tmp_path / "runs" / name, name) for name in ("baseline", "winn")}
    models = [describe_model(name, str(path)) for name, path in runs.items()]
    folder = make_results(tmp_path / "results", models=models)
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, path in runs.items():
        run = load_run(path)
        told = {"config": run.config, "manifest": run.manifest, "metrics": run.metrics}
        manifest["models"][name] = told
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_page_has_every_part(with_runs, tmp_path):
    page = build([with_runs], tmp_path / "report")
    for part in (
        "32.41 [31.50, 33.33] 3241/10000", "90.00", "2917/3241", "46.93",
        "winn is more robust than baseline", "single-step attack", "25.0000", "7 of 10000",
        "Threat model", "0.25 on [-1, 1]", "31.9 of 255 grey levels", "white box",
        "N(A and B) / N(A)", "Wilson", "Training curves", "Pseudo-negatives of winn",
        "winnrobust train --method winn", "winnrobust attack",
    ):  # fmt: skip
        assert part in page, part
    assert page.count("data:image/png;base64,") == 3 + 3  # figures and pseudo-negatives


def test_page_loads_nothing_from_outside(with_runs, tmp_path):
    page = build([with_runs], tmp_path / "report")
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    for outside in ("<script", "<link", "@import", "url(", "href="):
        assert outside not in page


def test_results_alone_still_have_curves_but_no_pictures(with_runs, tmp_path):
    shutil.rmtree(tmp_path / "runs")
    page = build([with_runs], tmp_path / "report")
    assert "Training curves" in page
    assert "Pseudo-negatives of winn" not in page


def test_pictures_of_another_run_in_the_same_place_are_not_shown(with_runs, tmp_path):
    shutil.rmtree(tmp_path / "runs" / "winn")
    make_run(tmp_path / "runs" / "winn", complete=False)
    assert "Pseudo-negatives of winn" not in build([with_runs], tmp_path / "report")


def test_all_files_are_there_and_figures_are_pictures(with_runs, tmp_path):
    out = tmp_path / "report"
    build([with_runs], out, FORMATS)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "index.html", "report.md", "table.md", "table.tex", "table.csv", "results.csv",
        "report.json", "manifest.json", "figures",
    }  # fmt: skip
    for name in ("errors", "examples", "training"):
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    linked = re.findall(r"\((figures/[^)]*)\)", (out / "report.md").read_text())
    assert linked
    assert all((out / name).exists() for name in linked)
    inputs = json.loads((out / "manifest.json").read_text())["inputs"]
    assert len(inputs[str(with_runs)]) == 64


def test_the_same_inputs_give_the_same_page(with_runs, tmp_path):
    assert build([with_runs], tmp_path / "one") == build([with_runs], tmp_path / "two")


def test_runs_alone_show_training_and_say_that_no_attack_was_made(tmp_path):
    runs = [make_run(tmp_path / name, name) for name in ("baseline", "winn")]
    page = build(runs, tmp_path / "report", FORMATS)
    assert "nothing was attacked yet" in page
    assert "0.67 [" in page
    assert "1.10 (epoch 2)" in page
    assert "0.67" in (tmp_path / "report" / "table.csv").read_text()


def test_an_unfinished_run_is_shown_as_such(tmp_path):
    page = build([make_run(tmp_path / "run", complete=False)], tmp_path / "report")
    assert "not finished" in page
    fresh = make_run(tmp_path / "fresh", epochs=0, complete=False)
    assert "not finished" in build([fresh], tmp_path / "report2")


def test_several_results_get_a_section_each(tmp_path):
    first = make_results(tmp_path / "a")
    second = make_results(tmp_path / "b", make_evaluation(n=10_000), "fashion-mnist")
    page = build([first, second], tmp_path / "report", FORMATS)
    assert "Evaluation 1: mnist" in page
    assert "Evaluation 2: fashion-mnist" in page
    assert (tmp_path / "report" / "results-2.csv").exists()
    lines = (tmp_path / "report" / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 2


EVIL = '"><script>alert(1)</script>'


def test_a_diagnosis_counts_for_the_same_models_in_other_evaluations(tmp_path):
    verdicts = {"baseline": {"gradients": "ok"}, "winn": {"gradients": "broken"}}
    plain = make_results(tmp_path / "plain")
    diagnosed = make_results(tmp_path / "diagnosed", diagnosis=diagnosis_of(verdicts))
    others = [describe_model(name, weights_sha256="1" * 64) for name in verdicts]
    foreign = [describe_model(name, weights_sha256=None) for name in verdicts]
    strangers = make_results(tmp_path / "strangers", models=others)
    unknown = make_results(tmp_path / "unknown", models=foreign)
    paths = [plain, diagnosed, strangers, unknown]
    first, second, third, fourth = read_report(paths).results
    assert first.diagnosis.equals(second.diagnosis)
    assert (first.diagnosis_is_shared, second.diagnosis_is_shared) == (True, False)
    assert third.diagnosis is None
    assert fourth.diagnosis is None
    page = text_of(build(paths[:2], tmp_path / "report"))
    assert page.count("Do not trust the robustness of winn") == 2
    assert page.count("The diagnosis was made with another evaluation of the same models") == 1
    assert page.count("Evidence of the diagnosis") == 1


def test_html_escapes_whatever_was_given(tmp_path):
    names = [EVIL, f"b{EVIL}"]
    evaluation = make_attacked(
        {(attack, "Linf", 0.1): dict.fromkeys(names, 500) for attack in (EVIL, "pgd")},
        dict.fromkeys(names, 5),
    )
    models = [describe_model(name, path=EVIL, arch=EVIL, method=EVIL) for name in names]
    diagnosis = diagnosis_of({EVIL: {EVIL: "broken"}})
    folder = make_results(tmp_path / "r", evaluation, EVIL, models=models, diagnosis=diagnosis)
    manifest = {"command": f"attack {EVIL}", "commit": EVIL, "machine": {"processor": EVIL}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    page = build([folder], tmp_path / "report", FORMATS)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
    markdown = (tmp_path / "report" / "report.md").read_text().splitlines()
    assert [line for line in markdown if "<script" in line] == [f"    attack {EVIL}"]  # code


def test_what_is_neither_results_nor_run_is_named(tmp_path, results):
    with pytest.raises(InputError, match="neither a results folder"):
        write_report([results, tmp_path], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("manifest.json", '{"test": 3}'),
        ("manifest.json", '{"best": {"epoch": 2}}'),
        ("metrics.jsonl", "5\n"),
        ("metrics.jsonl", '{"epoch": 1, "valid_error": "low"}\n'),
    ],
)
def test_a_run_edited_by_hand_is_named(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(InputError, match=f"{name} is damaged"):
        write_report([run], tmp_path / "out")


def test_foreign_pictures_among_the_samples_are_passed_over(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "samples" / "epoch-best.png").write_bytes(b"")
    assert sorted(load_run(run).samples) == [1, 2, 3]


@pytest.mark.parametrize("name", ["$x_$", "a$b", "runs/模型", "<b>&", "\\frac"])
def test_names_with_meaning_elsewhere_do_no_harm(tmp_path, name, recwarn):
    evaluation = make_evaluation({(name, name): (2, 2, 2)}, n=20)
    folder = make_results(tmp_path / "r", evaluation, models=[describe_model(name)])
    build([folder], tmp_path / "report", FORMATS)
    assert "<b>" not in (tmp_path / "report" / "report.md").read_text()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_damaged_run_is_named(tmp_path, name):
    run = make_run(tmp_path / "run")
    path = run / name
    path.write_text(path.read_text()[:-10])
    with pytest.raises(InputError, match=name):
        write_report([run], tmp_path / "out")


def test_curves_show_what_any_of_the_runs_measured(tmp_path):
    plain = load_run(make_run(tmp_path / "baseline", "baseline"))
    hardened = load_run(make_run(tmp_path / "trades", "trades"))
    for row in hardened.metrics:
        row["adversarial_train_error"] = 0.2 / row["epoch"]
    panels = {axes.get_title(): axes for axes in training_curves([plain, hardened]).axes}
    assert list(panels) == [
        "validation error", "adversarial train error", "cross-entropy (training)",
    ]  # fmt: skip
    assert [line.get_label() for line in panels["adversarial train error"].lines] == ["trades"]
    percent = panels["adversarial train error"].yaxis.get_major_formatter()
    assert percent(0.05) == "5 %"


def test_training_figure_is_written_for_one_run(tmp_path):
    training_figure([load_run(make_run(tmp_path / "run"))], tmp_path / "training.png")
    assert (tmp_path / "training.png").read_bytes().startswith(b"\x89PNG")


# --- the page of a larger evaluation ------------------------------------------------------------

NAMES = ("baseline", "winn", "pgd-at", "trades")
ATTACKS = ("fgsm", "pgd", "apgd-ce", "square", "autoattack")
EPSILONS = (0.03, 0.06, 0.125)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four models, five attacks at three epsilons and one in L2 with distances, diagnosed."""
    cases = {
        (attack, "Linf", epsilon): {
            name: min(1000, round(30 + 4000 * epsilon * (place + 1) / (2 + 2 * index)))
            for index, name in enumerate(NAMES)
        }
        for place, attack in enumerate(ATTACKS)
        for epsilon in EPSILONS
    }
    cases["ddn", "L2", 1.5] = {name: 700 - 100 * index for index, name in enumerate(NAMES)}
    evaluation = make_attacked(cases, {name: 20 + index for index, name in enumerate(NAMES)})
    distances = {
        ("ddn", name): np.r_[np.linspace(0, 3 + index, 990), [np.inf] * 10].astype(np.float32)
        for index, name in enumerate(NAMES)
    }
    diagnosis = diagnosis_of(
        {name: {"gradients": "ok", "black-box": "ok"} for name in NAMES}
        | {"winn": {"gradients": "suspicious", "black-box": "broken"}}
    )
    return make_results(
        tmp_path_factory.mktemp("large") / "results",
        replace(evaluation, distances=distances),
        diagnosis=diagnosis,
        settings={"budget": {"steps": 40, "restarts": 5}, "seconds": 90, "aim": "random"},
    )


@pytest.fixture(scope="module")
def large_report(large, tmp_path_factory):
    out = tmp_path_factory.mktemp("large") / "report"
    build([large], out, FORMATS)
    return out


def test_the_verdict_comes_first_and_a_warning_before_it(large_report):
    text = text_of((large_report / "index.html").read_text())
    places = [
        text.index(part)
        for part in (
            "Warning: Do not trust the robustness of winn",
            "Of 4 models trades errs least",
            "winn only seems more robust than baseline",
            "Worst case over all attacks",
            "Who falls to whose examples",
            "Diagnosis of false robustness",
            "Smallest perturbations",
            "Paired tests",
            "Threat model",
        )
    ]
    assert places == sorted(places)


def test_strongest_attacks_are_shown_and_others_wait_behind_a_click(large_report):
    page = (large_report / "index.html").read_text()
    shown = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert "Error by autoattack 0.125, %" in shown
    assert "Correction under autoattack 0.03, %" in shown
    assert "Error by ddn 1.5, %" in shown
    for folded in (
        "Error by fgsm 0.125, %",
        "Correction under square 0.06, %",
        "pgd at epsilon 0.06",
    ):
        assert folded not in shown
        assert folded in page


def test_the_threat_model_tells_access_budget_aim_and_norms(large_report):
    text = text_of((large_report / "index.html").read_text())
    for part in (
        "gradients included (white box): fgsm, pgd",
        "black box): square",
        "Every pixel may change by at most epsilon = 0.125",
        "Euclidean (L2) length of the change of a whole image is at most epsilon = 1.5",
        "40 steps, 5 random starts or draws and 90 seconds per attack and model",
        "attacks that can aim want a wrong class drawn at random for each image (targeted)",
    ):
        assert part in text, part


def test_all_figures_of_a_large_evaluation_are_drawn(large_report):
    figures = {path.name for path in (large_report / "figures").iterdir()}
    assert figures == {"errors.png", "curves.png", "distances.png", "examples.png"}


def test_report_json_fits_its_schema_and_agrees_with_the_results(large, large_report):
    stored = json.loads((large_report / "report.json").read_text())
    check(stored, "report", large_report / "report.json")
    (evaluation,) = stored["evaluations"]
    assert evaluation["overall"]["winn"] == "broken"
    assert evaluation["distances"][0] == {
        "attack": "ddn", "model": "baseline", "median": pytest.approx(1.5, abs=0.02),
        "none_found": 10,
    }  # fmt: skip
    worst = next(
        row for row in evaluation["errors"]
        if (row["attack"], row["epsilon"], row["model"]) == ("worst case", 0.125, "trades")
    )  # fmt: skip
    assert worst["error"] == pytest.approx(round(30 + 4000 * 0.125 * 5 / 8) / 1000)
    assert len(evaluation["transfer"]) == len(load_results(large).table)


@pytest.mark.parametrize(
    ("formats", "files"),
    [
        (["csv"], {"table.csv", "results.csv"}),
        (["json"], {"report.json"}),
        (["tex"], {"table.tex", "figures"}),
        (["md"], {"table.md", "report.md", "figures"}),
        (["html"], {"index.html"}),
    ],
)
def test_only_the_formats_asked_for_are_written(results, tmp_path, formats, files):
    out = tmp_path / "report"
    out.mkdir()
    write_report([results], out, formats)
    assert {path.name for path in out.iterdir()} == files | {"manifest.json"}


def test_the_terminal_gets_it_in_a_hundred_columns(large):
    text = terminal_tables(large)
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "WARNING: Do not trust the robustness of winn",
        "Error under each attack on mnist, %",
        "Worst case over all attacks on mnist, error in %",
        "Error by autoattack 0.125, %",
        "Correction under autoattack 0.125, %",
        "Diagnosis of false robustness",
    ):
        assert part in text
    assert "Error by fgsm" not in text


def test_wide_tables_go_on_below_in_a_terminal(tmp_path):
    names = [f"a-model-with-a-rather-long-name-of-its-own-{index}" for index in range(7)]
    evaluation = make_attacked(
        {("pgd", "Linf", 0.1): dict.fromkeys(names, 500)}, dict.fromkeys(names, 20)
    )
    text = terminal_tables(make_results(tmp_path / "r", evaluation))
    assert max(map(len, text.splitlines())) <= 100
    assert "Error by pgd 0.1, % (continued)" in text
    assert text.count("50.0 [46.9, 53.1]") == 7


def test_the_terminal_shows_two_models_with_their_rates(results):
    text = terminal_tables(results)
    for part in ("32.41 [31.50, 33.33]", "7.99 [7.47, 8.54]", "90.00", "46.93"):
        assert part in text


@pytest.mark.parametrize("name", ["mnist-vanilla", "quickstart/seed-0"])
def test_results_of_version_1_still_get_a_report(name, tmp_path):
    page = build([REPORTS / name / "results"], tmp_path / "report", FORMATS)
    text = text_of(page)
    assert "winn is more robust than baseline under fgsm, the only attack tried" in text
    assert "False robustness was not looked for" in text
    check(json.loads((tmp_path / "report/report.json").read_text()), "report", tmp_path)


def test_images_with_any_number_of_channels_have_a_figure(tmp_path):
    evaluation = make_evaluation()
    examples = {
        name: np.repeat(array, 4, axis=-3) if name in ("images", "adversarials") else array
        for name, array in vars(evaluation.examples).items()
    }
    evaluation = replace(evaluation, examples=type(evaluation.examples)(**examples))
    page = build([make_results(tmp_path / "r", evaluation)], tmp_path / "report")
    assert "Clean images, perturbations" in page


def test_results_without_any_example_have_no_such_figure(tmp_path):
    evaluation = make_evaluation()
    examples = evaluation.examples
    none = replace(
        examples, images=examples.images[:0], labels=examples.labels[:0],
        clean_predictions=examples.clean_predictions[:, :0],
        adversarials=examples.adversarials[:, :0], predictions=examples.predictions[:, :, :0],
    )  # fmt: skip
    folder = make_results(tmp_path / "r", replace(evaluation, examples=none))
    assert "Clean images, perturbations" not in build([folder], tmp_path / "report")


def test_commands_are_shown_as_a_shell_takes_them(results, tmp_path):
    manifest = json.loads((results / "manifest.json").read_text())
    manifest["command"] = "winnrobust attack 'runs/my model' --eps 0.1"
    (results / "manifest.json").write_text(json.dumps(manifest))
    assert "winnrobust attack 'runs/my model' --eps 0.1" in text_of(
        build([results], tmp_path / "report")
    )

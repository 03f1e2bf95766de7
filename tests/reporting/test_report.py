"""The page and the other files of a report."""

import html
import json
import re
import shutil

import numpy as np
import pytest

from tests.reporting.conftest import (
    attacked,
    describe_model,
    diagnosis_of,
    examples_of,
    make_results,
    make_run,
    paper_outcomes,
    results_of,
)
from winnrobust.reporting import (
    FORMATS,
    load_results,
    load_run,
    terminal_summary,
    training_figure,
    write_report,
)
from winnrobust.reporting.figures import (
    accuracy_figure,
    curve_figure,
    distance_figure,
    figures_of,
    training_curves,
)
from winnrobust.reporting.page import term_of
from winnrobust.reporting.report import read_report
from winnrobust.reporting.runs import RunRecord
from winnrobust.reporting.words import WORDS
from winnrobust.runtime.errors import InputError

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


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
        known = {"config": run.config, "manifest": run.manifest, "metrics": run.metrics}
        manifest["models"][name] = known
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_page_has_every_part(with_runs, tmp_path):
    page = build([with_runs], tmp_path / "report")
    text = text_of(page)
    for part in (
        "winn is more robust than baseline at Linf 0.125", "robust, Linf 0.125",
        "92.01 [91.46, 92.53]", "32.41 [31.50, 33.33] 3241/10000", "2917/3241", "46.93",
        "single-step attack", "25.0000", "7 of 1000", "Threat model", "31.9", "white box",
        "N(A and B) / N(A)", "Training curves", "Pseudo-negatives of winn",
        "winnrobust train --method winn", "winnrobust attack",
    ):  # fmt: skip
        assert part in text, part
    assert page.count("data:image/png;base64,") == 3 + 3  # figures and pseudo-negatives


def test_page_loads_nothing_from_outside(with_runs, tmp_path):
    page = build([with_runs], tmp_path / "report")
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    for outside in ("<script", "<link", "@import", "url("):
        assert outside not in page
    links = re.findall(r'href="([^"]*)"', page)
    assert links
    assert all(link.startswith("#") for link in links)


def test_the_fields_words_lead_to_what_they_mean(with_runs, tmp_path):
    page = build([with_runs], tmp_path / "report")
    linked = re.findall(r'<a class="term" href="#([^"]*)" title="[^"]*">([^<]*)</a>', page)
    explained = re.findall(r'<dt id="([^"]*)">', page)
    assert ("clean-accuracy", "clean accuracy") in linked
    assert {text.split(",")[0] for term, text in linked if term == "robust-accuracy"} == {"robust"}
    assert set(explained) == {term for term, _ in linked}
    assert len(explained) == len(set(explained))
    (tmp_path / "text").mkdir()
    write_report([with_runs], tmp_path / "text", ["md"])
    report = (tmp_path / "text" / "report.md").read_text()
    assert all(f"- **{term.replace('-', ' ')}**: " in report for term in explained)


def test_every_word_of_the_glossary_is_found_by_all_its_spellings():
    for term, entry in WORDS["glossary"].items():
        for spelling in (term, *entry.get("also", ())):
            assert term_of(f"{spelling.capitalize()} of it") == term
            assert term_of(f"the {spelling}") is None
            assert term_of(f"x{spelling}") is None


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
    for name in ("accuracy", "examples", "training"):
        assert (out / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    linked = re.findall(r"\((figures/[^)]*)\)", (out / "report.md").read_text())
    assert linked
    assert all((out / name).exists() for name in linked)
    inputs = json.loads((out / "manifest.json").read_text())["inputs"]
    assert len(inputs[str(with_runs)]) == 64


def test_the_same_inputs_give_the_same_page(with_runs, tmp_path):
    assert build([with_runs], tmp_path / "one") == build([with_runs], tmp_path / "two")


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


# --- runs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grouped", [False, True])
def test_runs_alone_show_training_and_say_that_no_attack_was_made(tmp_path, grouped):
    runs = [make_run(tmp_path / name, name, grouped=grouped) for name in ("baseline", "winn")]
    page = build(runs, tmp_path / "report", FORMATS)
    assert "nothing was attacked yet" in page
    for part in ("0.67 [", "1.10 (epoch 2)", "Training: baseline, winn", ">vanilla<", ">mnist<"):
        assert part in page, part
    assert "0.67" in (tmp_path / "report" / "table.csv").read_text()


def test_settings_are_found_in_groups_and_without():
    grouped = {"negatives": {"per_class": 3}, "data": {"folder": None}, "method": "winn"}
    for config in (grouped, {"negatives_per_class": 3, "data": None, "method": "winn"}):
        run = RunRecord("winn", config, {}, [])
        found = [run.setting(name) for name in ("negatives_per_class", "method", "data", "other")]
        assert found == [3, "winn", None, None]


def test_an_unfinished_run_is_shown_as_such(tmp_path):
    page = build([make_run(tmp_path / "run", complete=False)], tmp_path / "report")
    assert "not finished" in page
    fresh = make_run(tmp_path / "fresh", epochs=0, complete=False)
    assert "not finished" in build([fresh], tmp_path / "report2")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("manifest.json", '{"test": 3}'),
        ("manifest.json", '{"best": {"epoch": 2}}'),
        ("metrics.jsonl", "5\n"),
        ("metrics.jsonl", '{"epoch": 1, "valid_error": "low"}\n'),
        ("metrics.jsonl", '{"epoch": 1'),
        ("metrics.jsonl", '{"epoch": ' + "1" * 5000 + "}\n"),
    ],
)
def test_a_run_edited_by_hand_is_named(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(InputError, match=f"{name} is (damaged|not valid)"):
        write_report([run], tmp_path / "out")


def test_pictures_of_ours_only_are_among_the_samples(tmp_path):
    run = make_run(tmp_path / "run")
    (run / "samples" / "epoch-best.png").write_bytes(b"")
    assert sorted(load_run(run).samples) == [1, 2, 3]


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


# --- several evaluations --------------------------------------------------------------------------


def test_several_results_get_a_section_each(tmp_path):
    frame = attacked({("pgd", "linf", 0.1): {"a": 8, "b": 9}}, {"a": 2, "b": 1}, n=20)
    first = make_results(tmp_path / "a", frame)
    second = make_results(tmp_path / "b", frame, dataset="fashion-mnist")
    page = build([first, second], tmp_path / "report", ["html", "csv"])
    assert "Evaluation 1: mnist" in page
    assert "Evaluation 2: fashion-mnist" in page
    assert (tmp_path / "report" / "results-2.csv").exists()
    lines = (tmp_path / "report" / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 2


def test_a_diagnosis_counts_for_the_same_models_in_other_evaluations(tmp_path):
    verdicts = {"baseline": {"gradients": "ok"}, "winn": {"gradients": "broken"}}
    frame = attacked(
        {("pgd", "linf", 0.1): {"baseline": 80, "winn": 9}}, dict.fromkeys(verdicts, 2), 100
    )
    plain = make_results(tmp_path / "plain", frame)
    diagnosed = make_results(tmp_path / "diagnosed", frame, diagnosis=diagnosis_of(verdicts))
    others = [describe_model(name, weights_sha256="1" * 64) for name in verdicts]
    external = [describe_model(name, weights_sha256=None) for name in verdicts]
    strangers = make_results(tmp_path / "strangers", frame, models=others)
    unknown = make_results(tmp_path / "unknown", frame, models=external)
    paths = [plain, diagnosed, strangers, unknown]
    first, second, third, fourth = read_report(paths).results
    assert first.diagnosis.equals(second.diagnosis)
    assert (first.diagnosis_is_shared, second.diagnosis_is_shared) == (True, False)
    assert third.diagnosis is None
    assert fourth.diagnosis is None
    page = text_of(build(paths[:2], tmp_path / "report"))
    assert page.count("winn only seems more robust") == 2
    assert page.count("The diagnosis was made with another evaluation of the same models") == 1
    assert page.count("Evidence of the diagnosis") == 1


def test_what_is_neither_results_nor_run_is_named(tmp_path, results):
    with pytest.raises(InputError, match="neither a results folder"):
        write_report([results, tmp_path], tmp_path / "out")


# --- whatever was given ---------------------------------------------------------------------------

EVIL = '"><script>alert(1)</script>'


def evil_results(folder, name):
    names = [name, f"b{name}"]
    frame = attacked(
        {(attack, "linf", 0.1): dict.fromkeys(names, 50) for attack in (name, "pgd")},
        dict.fromkeys(names, 5),
        n=100,
    )
    models = [describe_model(each, path=name, arch=name, method=name) for each in names]
    diagnosis = diagnosis_of({name: {name: "broken"}})
    make_results(folder, frame, name, models=models, diagnosis=diagnosis)
    manifest = {"command": f"attack {name}", "commit": name, "machine": {"processor": name}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_html_escapes_whatever_was_given(tmp_path):
    folder = evil_results(tmp_path / "r", EVIL)
    page = build([folder], tmp_path / "report", FORMATS)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10
    markdown = (tmp_path / "report" / "report.md").read_text().splitlines()
    assert [line for line in markdown if "<script" in line] == [f"    attack {EVIL}"]  # code


def test_escape_characters_reach_no_file_and_no_terminal(tmp_path):
    folder = evil_results(tmp_path / "r", "a\x1b[31mb\x9b2J\x07\r\u202ec")
    build([folder], tmp_path / "report", FORMATS)
    files = [*(tmp_path / "report").glob("*.*"), *folder.glob("table.*"), folder / "results.csv"]
    assert len(files) > 10
    for file in files:
        text = file.read_bytes().decode()
        assert not CONTROLS.search(text), file
        assert "x1b[31mb" in text or "u001b[31mb" in text or "x1b\\[31mb" in text, file
    assert not CONTROLS.search(terminal_summary(folder))


@pytest.mark.parametrize("name", ["$x_$", "a$b", "runs/模型", "<b>&", "\\frac", "a{b}%"])
def test_names_with_meaning_elsewhere_do_no_harm(tmp_path, name, recwarn):
    frame = attacked({("pgd", "linf", 0.1): {name: 2}}, {name: 1}, n=20)
    build([make_results(tmp_path / "r", frame)], tmp_path / "report", FORMATS)
    assert "<b>" not in (tmp_path / "report" / "report.md").read_text()
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_with_any_number_of_channels_have_a_figure(tmp_path, channels):
    frame = paper_outcomes(made={"m": {"m": range(5)}}, n=20)
    folder = make_results(tmp_path / "r", frame, examples=examples_of(frame, channels=channels))
    assert "not hand-picked" in build([folder], tmp_path / "report")


def test_results_without_any_example_have_no_such_figure(tmp_path):
    frame = paper_outcomes(made={"m": {"m": range(5)}}, n=20)
    folder = make_results(tmp_path / "r", frame)
    shutil.rmtree(folder / "examples")
    assert "not hand-picked" not in build([folder], tmp_path / "report")


# --- figures --------------------------------------------------------------------------------------


def test_curves_over_epsilon_never_fall():
    """FGSM breaks 100 % at 0.05 and 0 % at 0.1; clean errors are errors at every epsilon."""
    errors = {0.02: 30, 0.05: 100, 0.1: 0}
    cases = {("fgsm", "linf", epsilon): {"a": count} for epsilon, count in errors.items()}
    figure = curve_figure(results_of(attacked(cases, {"a": 40}, n=100)))
    line, _ = figure.axes[0].lines
    assert line.get_xdata().tolist() == [0, 0.02, 0.05, 0.1]
    assert line.get_ydata().tolist() == pytest.approx([40, 40, 100, 100])


def test_figures_are_of_what_there_is():
    one = attacked({("pgd", "linf", 0.1): {"a": 30}}, {"a": 4}, n=100)
    assert set(figures_of(results_of(one))) == {"accuracy"}
    axes = accuracy_figure(results_of(one)).axes[0]
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() in "os"] == [96, 70]
    three = attacked(
        {("pgd", "linf", 0.1): {"a": 30, "b": 10, "c": 20}}, dict.fromkeys("abc", 4), n=100
    )
    axes = accuracy_figure(results_of(three)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "c", "a"]
    control = attacked({("noise-uniform", "linf", 0.1): {"a": 30}}, {"a": 4}, n=100)
    assert figures_of(results_of(control)) == {}


def test_distances_are_drawn_cumulatively_with_the_median():
    frame = attacked({("ddn", "l2", e): {"a": 50} for e in (1.5, np.inf)}, {"a": 0}, n=100)
    frame["distance"] = np.where(np.isinf(frame.epsilon), frame.image / 50, frame.distance)
    steps, median = distance_figure(results_of(frame)).axes[0].lines
    assert steps.get_ydata()[-1] == 100
    assert median.get_xdata()[0] == pytest.approx(49 / 50)


# --- a larger evaluation --------------------------------------------------------------------------

NAMES = ("baseline", "winn", "pgd-at", "trades")
ATTACKS = ("fgsm", "pgd", "apgd-ce")
EPSILONS = (0.03, 0.06, 0.125)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four models, three attacks at three epsilons, diagnosed."""
    cases = {
        (attack, "linf", epsilon): {
            name: min(200, round(6 + 800 * epsilon * (place + 1) / (2 + 2 * index)))
            for index, name in enumerate(NAMES)
        }
        for place, attack in enumerate(ATTACKS)
        for epsilon in EPSILONS
    }
    frame = attacked(cases, {name: 4 + index for index, name in enumerate(NAMES)}, n=200)
    diagnosis = diagnosis_of(
        {name: {"gradients": "ok", "black-box": "ok"} for name in NAMES}
        | {"winn": {"gradients": "suspicious", "black-box": "broken"}}
    )
    settings = {"steps": 40, "restarts": 5, "seconds": 90}
    folder = tmp_path_factory.mktemp("large") / "results"
    return make_results(folder, frame, diagnosis=diagnosis, settings=settings)


@pytest.fixture(scope="module")
def large_report(large, tmp_path_factory):
    out = tmp_path_factory.mktemp("large") / "report"
    build([large], out, FORMATS)
    return out


def test_the_headline_comes_first_and_what_is_doubtful_right_after_it(large_report):
    text = text_of((large_report / "index.html").read_text())
    places = [
        text.index(part)
        for part in (
            "Of 4 models trades is the most robust",
            "Clean and robust accuracy, %",
            "Be careful",
            "black-box measured on winn",
            "Each method was trained once",
            "Adversarial error on mnist",
            "Whose examples fool whom",
            "Diagnosis of false robustness",
            "Paired tests",
            "In the layout of the WINN paper's tables",
            "Details",
            "Threat model",
            "Where this comes from",
        )
    ]
    assert places == sorted(places)


def test_strongest_attacks_are_shown_and_others_wait_behind_a_click(large_report):
    page = (large_report / "index.html").read_text()
    shown = re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)
    assert "Error by apgd-ce 0.125, %" in shown
    assert "Correction under apgd-ce 0.03, %" in shown
    for folded in ("Error by fgsm 0.125, %", "Correction under pgd 0.06, %", "pgd, Linf 0.06, on"):
        assert folded not in shown
        assert folded in page


def test_report_json_has_every_number(large, large_report):
    stored = json.loads((large_report / "report.json").read_text())
    (evaluation,) = stored["evaluations"]
    assert evaluation["overall"]["winn"] == evaluation["trust"]["winn"] == "broken"
    assert evaluation["headline"].startswith("Of 4 models trades")
    summary = load_results(large).summary
    for name in ("clean", "errors", "transfer", "corrections", "robust", "paired", "costs"):
        rows, frame = evaluation[name], getattr(summary, name)
        assert len(rows) == len(frame) > 0
        assert rows[0].keys() == set(frame.columns)
    assert "NaN" not in (large_report / "report.json").read_text()


def test_the_terminal_gets_it_in_a_hundred_columns(large):
    text = terminal_summary(large)
    assert max(map(len, text.splitlines())) <= 100
    for part in (
        "Of 4 models trades is the most robust",
        "WARNING: winn, broken: black-box: black-box measured on winn.",
        "Clean and robust accuracy, %",
        "Adversarial error on mnist, %",
        "Error by apgd-ce 0.125, %",
        "Correction under apgd-ce 0.125, %",
        "Diagnosis of false robustness",
    ):
        assert part in text
    assert "Error by fgsm" not in text


def test_wide_tables_go_on_below_in_a_terminal(tmp_path):
    names = [f"a-model-with-a-rather-long-name-of-its-own-{index}" for index in range(7)]
    frame = attacked(
        {("pgd", "linf", 0.1): dict.fromkeys(names, 50)}, dict.fromkeys(names, 2), n=100
    )
    text = terminal_summary(make_results(tmp_path / "r", frame))
    assert max(map(len, text.splitlines())) <= 100
    assert "Error by pgd 0.1, % (continued)" in text
    assert text.count("50.0 [40.4, 59.6]") == 7 * 3

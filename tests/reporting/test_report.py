import json
import re
import shutil

import pytest

from tests.reporting.conftest import describe_model, make_evaluation, make_results, make_run
from winnrobust.errors import InputError
from winnrobust.reporting import load_run, training_figure, write_report
from winnrobust.reporting.figures import training_curves


def build(paths, out):
    out.mkdir()
    write_report(paths, out)
    return (out / "index.html").read_text()


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
        "0.25 times as many", "single-step attack", "25.0000", "7 of 10000",
        "Threat model", "0.25 on [-1, 1]", "31.9 of 255 grey levels", "white box",
        "N(A and B) / N(A)", "Wilson", "Training curves", "Pseudo-negatives of winn",
        "winnrobust train --method winn", "winnrobust attack",
    ):  # fmt: skip
        assert part in page, part
    assert page.count("data:image/png;base64,") == 3 + 3  # figures and pseudo-negatives


def test_page_loads_nothing_from_outside(with_runs, tmp_path):
    page = build([with_runs], tmp_path / "report")
    assert all(source.startswith("data:") for source in re.findall(r'src="([^"]*)"', page))
    for outside in ("<script", "<link", "@import", "url(", 'href="http'):
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
    build([with_runs], out)
    names = {path.name for path in out.iterdir()}
    assert names == {
        "index.html", "report.md", "table.md", "table.tex", "table.csv", "results.csv",
        "manifest.json", "figures",
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
    page = build(runs, tmp_path / "report")
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
    page = build([first, second], tmp_path / "report")
    assert "Evaluation 1: mnist" in page
    assert "Evaluation 2: fashion-mnist" in page
    assert (tmp_path / "report" / "results-2.csv").exists()
    lines = (tmp_path / "report" / "table.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 2


def test_html_escapes_what_users_name(tmp_path):
    name = "<script>alert(1)</script>"
    evaluation = make_evaluation({(name, name): (2, 2, 2)}, n=20)
    folder = make_results(tmp_path / "r", evaluation, models=[describe_model(name)])
    page = build([folder], tmp_path / "report")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


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
    build([folder], tmp_path / "report")
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

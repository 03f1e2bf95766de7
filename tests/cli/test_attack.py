"""`winnrobust attack`, `report` and `compare` as a user types them."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

import winnrobust as package
from tests.cli.conftest import SMALL, TINY, assert_one_line, winnrobust
from winnrobust.data.datasets import load_dataset, to_unit
from winnrobust.evaluation import harness
from winnrobust.models.checkpoint import load_model

COLUMNS = (
    "attack,norm,epsilon,source,target,n,clean_errors_source,clean_errors_target,source_errors,"
    "target_errors,both_errors,adversarial_error,adversarial_error_low,adversarial_error_high,"
    "correction_rate,correction_rate_low,correction_rate_high"
)
FILES = {
    "results.csv", "results.json", "table.md", "table.tex", "table.csv", "examples.png",
    "manifest.json",
}  # fmt: skip


def attack(*arguments):
    """As typed, but for the diagnosis, which takes longer than all else here."""
    return winnrobust("attack", "--no-diagnose", *arguments)


@pytest.fixture(scope="module")
def results(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("attack") / "results"
    result = attack("--runs", runs, "--eps", "0.0625,0.125", "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_results_folder_is_complete_and_tidy(results):
    assert {path.name for path in results.iterdir()} >= FILES
    assert (results / "results.csv").read_text().splitlines()[0] == COLUMNS
    table = pd.read_csv(results / "results.csv")
    assert len(table) == 2 * 2 * 2
    assert set(table.n) == {1000}
    assert ((table.both_errors <= table.source_errors) & (table.both_errors <= table.n)).all()
    expected = 1 - table.both_errors / table.source_errors
    assert np.allclose(table.correction_rate, expected)


def test_results_are_those_of_the_python_call(results, runs):
    test = load_dataset("mnist5k").test
    models = {
        name: load_model(runs / name / "model.safetensors")[0] for name in ("baseline", "winn")
    }
    table = package.evaluate(models, to_unit(test.images), test.labels, epsilons=[0.0625, 0.125])
    stored = pd.read_csv(results / "results.csv")
    pd.testing.assert_frame_equal(stored, table, check_dtype=False)


def test_manifest_accounts_for_models_and_data(results, runs):
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["data"]["n"] == 1000
    assert manifest["models"]["winn"]["config"]["gp_weight"] == 10
    assert manifest["models"]["baseline"]["manifest"]["status"] == "complete"
    rows = json.loads((results / "results.json").read_text())["models"]
    assert [row["name"] for row in rows] == ["baseline", "winn"]
    assert all(len(row["weights_sha256"]) == 64 for row in rows)


def test_prints_errors_rates_and_where_the_results_are(runs, tmp_path):
    result = attack("--runs", runs, "--limit", 50, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for part in ("baseline", "winn", "0.125", "50", str(tmp_path / "out")):
        assert part in result.output


def test_named_checkpoints_may_be_run_folders_or_files(runs, tmp_path):
    result = attack(runs / "winn", runs / "baseline" / "model.safetensors", "--limit", 20,
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table.source) == {"baseline", "winn"}
    assert set(table.n) == {20}


def test_the_newest_run_of_each_method_is_taken(runs, tmp_path):
    more = tmp_path / "runs"
    shutil.copytree(runs, more)
    result = winnrobust(*TINY, "--method", "baseline", "--seed", 7, "--out", more / "newer")
    assert result.exit_code == 0, result.output
    attack("--runs", more, "--limit", 10, "--out", tmp_path / "out")
    models = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    assert {model["name"]: model["seed"] for model in models} == {"baseline": 7, "winn": 0}


def test_one_model_alone_gets_its_error(runs, tmp_path):
    result = attack(runs / "winn", "--limit", 20, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 1


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        ("-0.1", "epsilon must be from 0 to 1"),
        ("nan", "epsilon must be from 0 to 1"),
        ("32", "epsilon must be from 0 to 1"),
        ("0.1,big", "'big' is not a number"),
        ("8/0", "'8/0' is not a number"),
        ("300/255", "from 0 to 1"),
        ("", "'' is not a number"),
    ],
)
def test_a_bad_epsilon_ends_in_one_line(runs, tmp_path, eps, message):
    result = attack("--runs", runs, f"--eps={eps}", "--out", tmp_path / "out")
    assert_one_line(result, message)
    assert not (tmp_path / "out").exists()


def test_unknown_attacks_models_and_folders_end_in_one_line(runs, tmp_path):
    out = tmp_path / "out"
    where = ["--runs", runs, "--out", out]
    assert_one_line(attack(*where, "--attacks", "fgsn"), "fgsn", "fgsm")
    assert not out.exists()
    assert_one_line(attack("nowhere", *where), "nowhere", "does not exist")
    assert_one_line(attack(tmp_path, *where), "no model.safetensors")
    assert_one_line(attack(runs / "winn", runs / "winn", *where), "named twice")
    assert_one_line(attack(*where, "--limit", 0), "--limit")
    empty = attack("--runs", tmp_path / "none", "--out", out)
    assert_one_line(empty, "no trained run", "winnrobust train")
    wanted = attack(*where, "--dataset", "mnist")
    assert_one_line(wanted, "no trained run of mnist")


def test_damaged_models_end_in_one_line(runs, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes((runs / "winn" / "model.safetensors").read_bytes()[:-7])
    result = attack(model, "--out", tmp_path / "out")
    assert_one_line(result, "may be truncated or corrupt")


def test_foreign_folders_among_the_runs_are_passed_over(runs, tmp_path):
    more = tmp_path / "runs"
    shutil.copytree(runs, more)
    for name, text in (("a", "[]"), ("b", "{}"), ("c", "{"), ("d", '{"dataset": 7}')):
        (more / name).mkdir()
        (more / name / "config.json").write_text(text)
        (more / name / "manifest.json").write_text("{}")
        (more / name / "model.safetensors").write_text("")
    result = attack("--runs", more, "--limit", 10, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_what_could_not_be_written_is_not_attacked_again(runs, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("winnrobust.workflows.attacking.write_results", full)
    result = attack("--runs", runs, "--limit", 10, "--out", tmp_path / "out")
    assert_one_line(result, "No space left on device", "what was written before is intact")
    assert [path.name for path in tmp_path.iterdir()] == [".out.unfinished"]
    assert "10 images are done: the same command with --out" in result.stdout


def test_an_interrupted_attack_goes_on_with_the_same_command(results, runs, tmp_path, monkeypatch):
    out = tmp_path / "results"
    arguments = ("--runs", runs, "--eps", "0.0625,0.125", "--batch-size", 400, "--out", out)
    batches = []

    def interrupted(*batch):
        if len(batches) == 2:
            raise KeyboardInterrupt
        batches.append(batch)
        return judge(*batch)

    judge = harness._judge_batch
    with monkeypatch.context() as patched:
        patched.setattr(harness, "_judge_batch", interrupted)
        result = attack(*arguments)
    assert result.exit_code == 130
    assert f"800 images are done: the same command with --out {out} goes on" in result.stdout
    assert not out.exists()

    other = attack(*arguments, "--seed", 1)
    assert_one_line(other, "an interrupted evaluation with other settings", "remove the folder")
    result = attack(*arguments)
    assert result.exit_code == 0, result.output
    assert "going on after 800 of them" in result.output
    assert (out / "results.csv").read_bytes() == (results / "results.csv").read_bytes()
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(manifest["resumed"]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_an_attack_interrupted_at_once_leaves_nothing_behind(runs, tmp_path, monkeypatch):
    def failing(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(harness, "_judge_batch", failing)
    result = attack("--runs", runs, "--limit", 10, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "stopped; nothing was written to" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_pgd_errs_no_less_than_fgsm(runs, tmp_path):
    result = attack(
        "--runs", runs, "--attacks", "fgsm,pgd", "--limit", 100, "--out", tmp_path / "out"
    )
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    own = table[table.source == table.target].pivot(
        index="source", columns="attack", values="source_errors"
    )
    assert (own.pgd >= own.fgsm).all()


def test_earlier_results_are_left_alone(results, runs):
    before = {path.name: path.read_bytes() for path in results.iterdir()}
    result = attack("--runs", runs, "--limit", 10, "--out", results)
    assert_one_line(result, "already exists and is left untouched")
    assert {path.name: path.read_bytes() for path in results.iterdir()} == before


def test_models_of_different_data_need_a_word(runs, tmp_path, digits):
    network, info = load_model(runs / "winn" / "model.safetensors")
    from dataclasses import replace

    from winnrobust.models.checkpoint import save_model

    other = tmp_path / "mnist.safetensors"
    save_model(other, network, replace(info, dataset="mnist", method="baseline"))
    result = attack(runs / "winn", other, "--out", tmp_path / "out")
    assert_one_line(result, "trained on mnist and mnist5k; say with --dataset")
    result = attack(runs / "winn", other, "--dataset", "mnist5k", "--limit", 9, "--out",
        tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output


def test_report_is_one_page_that_needs_no_network_and_no_model(results, runs, tmp_path):
    moved = tmp_path / "results"
    shutil.copytree(results, moved)
    report = tmp_path / "report"
    result = winnrobust("report", moved, "--out", report)
    assert result.exit_code == 0, result.output
    page = (report / "index.html").read_text()
    assert str(report / "index.html") in result.output
    assert "data:image/png;base64," in page
    for outside in ('src="http', 'href="http', "<script", "@import"):
        assert outside not in page
    for name in ("report.md", "table.md", "table.tex", "table.csv"):
        assert (report / name).stat().st_size > 0


def test_report_of_runs_alone_shows_the_training(runs, tmp_path):
    result = winnrobust("report", runs / "winn", runs / "baseline", "--out", tmp_path / "report")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "report" / "index.html").exists()


def test_report_refuses_what_is_neither_and_what_exists(results, tmp_path):
    assert_one_line(winnrobust("report", tmp_path, "--out", tmp_path / "r"), str(tmp_path))
    assert_one_line(winnrobust("report", results, "--out", results), "already exists")
    assert_one_line(winnrobust("report"), "Missing argument")
    damaged = tmp_path / "damaged"
    shutil.copytree(results, damaged)
    text = (damaged / "results.json").read_text()
    (damaged / "results.json").write_text(text[: len(text) // 2])
    assert_one_line(winnrobust("report", damaged, "--out", tmp_path / "r2"), "results.json")


def test_compare_trains_attacks_reports_and_goes_on_where_it_was(tmp_path):
    options = [*SMALL[1:], "--no-diagnose", "--runs", tmp_path / "runs"]
    first = winnrobust("compare", *options, "--out", tmp_path / "first")
    assert first.exit_code == 0, first.output
    weights = tmp_path / "runs" / "mnist5k-vanilla-winn-seed0" / "model.safetensors"
    before = weights.read_bytes()
    again = winnrobust("compare", *options, "--out", tmp_path / "second")
    assert again.exit_code == 0, again.output
    assert again.output.count("is complete") == 2
    assert weights.read_bytes() == before
    first_table, second_table = (
        (tmp_path / name / "results" / "results.csv").read_bytes() for name in ("first", "second")
    )
    assert first_table == second_table
    taken = winnrobust("compare", *options, "--out", tmp_path / "first")
    assert_one_line(taken, "already exists")
    unknown = winnrobust("compare", *options, "--attacks", "nonsense", "--out", tmp_path / "third")
    assert_one_line(unknown, "unknown attack 'nonsense'")


def test_python_evaluate_takes_anybodys_module(digits):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    images = to_unit(digits.test.images[:20])
    table = package.evaluate({"theirs": model}, images, digits.test.labels[:20])
    assert ",".join(table.columns) == COLUMNS
    assert table.loc[0, "attack"] == "fgsm"

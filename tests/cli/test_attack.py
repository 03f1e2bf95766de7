"""`winnrobust attack`, `report` and `compare` as a user types them."""

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch

import winnrobust as package
from tests.cli.conftest import SMALL, TINY, assert_one_line, winnrobust
from winnrobust.data.datasets import to_unit
from winnrobust.evaluation import EvaluationSettings
from winnrobust.models.checkpoint import load_model, save_model

COLUMNS = (
    "attack,norm,epsilon,source,target,n,clean_errors_source,clean_errors_target,source_errors,"
    "target_errors,both_errors,adversarial_error,adversarial_error_low,adversarial_error_high,"
    "correction_rate,correction_rate_low,correction_rate_high,not_attacked"
)
FILES = {
    "results.json", "outcomes", "examples", "manifest.json", "results.csv", "table.md",
    "table.tex", "table.csv", "examples.png",
}  # fmt: skip
N = 120


def attack(*arguments):
    """As typed, but for the diagnosis and the attack to trust, which take longer than all else."""
    return winnrobust("attack", "--no-diagnose", "--attacks", "fgsm", *arguments)


@pytest.fixture(scope="module")
def results(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("attack") / "results"
    typed = ("--runs", runs, "--eps", "0.0625,0.125", "--limit", N, "--batch-size", 50)
    result = attack(*typed, "--out", out)
    assert result.exit_code == 0, result.output
    return out


def test_the_folder_is_complete_and_tidy(results):
    """A part for each batch, the first images, no file half written, no lock."""
    assert {path.name for path in results.iterdir()} == FILES
    assert list(results.parent.iterdir()) == [results]
    assert [path.name for path in sorted((results / "outcomes").iterdir())] == [
        "0000000-0000050-r0.parquet", "0000050-0000100-r0.parquet", "0000100-0000120-r0.parquet",
    ]  # fmt: skip
    assert [path.name for path in (results / "examples").iterdir()] == ["0000000-0000050-r0.npz"]


def test_metadata_say_what_was_done(results):
    stored = json.loads((results / "results.json").read_text())
    assert (stored["schema"], stored["status"]) == (3, "complete")
    assert (stored["dataset"], stored["split"], stored["n"]) == ("mnist5k", "test", N)
    assert stored["limit"] == N
    settings = EvaluationSettings(attacks=["fgsm"], epsilons={"linf": (0.0625, 0.125)})
    assert stored["settings"] == settings.decisive()
    assert [model["name"] for model in stored["models"]] == ["baseline", "winn"]
    assert all(len(model["weights_sha256"]) == 64 for model in stored["models"])
    assert len(stored["sessions"]) == 1


def test_the_manifest_accounts_for_models_and_data(results, digits):
    manifest = json.loads((results / "manifest.json").read_text())
    assert manifest["data"]["n"] == N
    assert manifest["data"]["sha256"] == digits.test.first(N).sha256()
    assert manifest["models"]["winn"]["config"]["optimization"]["gp_weight"] == 10
    assert manifest["models"]["baseline"]["manifest"]["status"] == "complete"
    assert manifest["resumed"] == []


def test_tables_count_what_the_outcomes_say(results):
    table = pd.read_csv(results / "results.csv")
    assert ",".join(table.columns) == COLUMNS
    assert len(table) == 2 * 2 * 2
    outcomes = package.read_outcomes(results)
    assert len(outcomes) == N * (2 + 2 * 2 * 2)
    wrong = outcomes[~outcomes.correct]
    clean = wrong[wrong.source.isna()].evaluated.value_counts()
    for row in table.itertuples():
        case = wrong[(wrong.source == row.source) & (wrong.epsilon == row.epsilon)]
        by_source, by_target = (
            set(case[case.evaluated == name].image) for name in (row.source, row.target)
        )
        assert row.n == N
        assert row.clean_errors_source == clean[row.source]
        assert row.clean_errors_target == clean[row.target]
        assert row.source_errors == len(by_source)
        assert row.target_errors == len(by_target)
        assert row.both_errors == len(by_source & by_target)
        assert row.adversarial_error == pytest.approx(len(by_source) / N)
        assert row.correction_rate == pytest.approx(1 - row.both_errors / row.source_errors)


def test_results_are_those_of_the_python_call(results, runs, digits):
    test = digits.test.first(N)
    models = {
        name: load_model(runs / name / "model.safetensors")[0] for name in ("baseline", "winn")
    }
    table = package.evaluate(
        models, to_unit(test.images), test.labels, ["fgsm"], [0.0625, 0.125], batch_size=50
    ).transfer
    stored = pd.read_csv(results / "results.csv")
    pd.testing.assert_frame_equal(stored, table, check_dtype=False)


def test_without_limits_the_whole_split_is_attacked_and_it_says_where(runs, tmp_path):
    result = attack(runs / "winn", runs / "baseline" / "model.safetensors", "--out", tmp_path / "o")
    assert result.exit_code == 0, result.output
    for part in ("baseline", "winn", "0.125", "1000 test images", str(tmp_path / "o")):
        assert part in result.output
    table = pd.read_csv(tmp_path / "o" / "results.csv")
    assert set(table.source) == {"baseline", "winn"}
    assert set(table.n) == {1000}
    assert json.loads((tmp_path / "o" / "results.json").read_text())["limit"] is None


def test_the_newest_run_of_each_method_is_taken(runs, tmp_path):
    more = tmp_path / "runs"
    shutil.copytree(runs, more)
    result = winnrobust(*TINY, "--method", "baseline", "--seed", 7, "--out", more / "newer")
    assert result.exit_code == 0, result.output
    attack("--runs", more, "--limit", 10, "--out", tmp_path / "out")
    models = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    assert {model["name"]: model["seed"] for model in models} == {"baseline": 7, "winn": 0}


def test_one_model_alone_gets_its_error(runs, tmp_path):
    result = attack(runs / "winn", "--eps", "0.125", "--limit", 20, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 1
    assert "winn has a robust accuracy of" in " ".join(result.output.split())


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


def test_runs_that_cannot_be_read_are_passed_over_with_a_word(runs, tmp_path):
    more = tmp_path / "runs"
    shutil.copytree(runs, more)
    unreadable = (("a", "[]"), ("b", "{}"), ("c", "{"), ("d", '{"dataset": 7}'))
    for name, text in unreadable:
        (more / name).mkdir()
        (more / name / "config.json").write_text(text)
        (more / name / "manifest.json").write_text("[]")
        (more / name / "model.safetensors").write_text("")
    shutil.copytree(runs / "winn", more / "e")  # the newest, whose weights were cut off
    weights = more / "e" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    result = attack("--runs", more, "--limit", 10, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for name in "abcde":
        said = f"note: {more / name} is passed over, because it cannot be read: "
        assert result.output.count(said) == 1


def test_a_part_that_was_lost_is_attacked_again(runs, tmp_path):
    arguments = ("--runs", runs, "--limit", 20, "--batch-size", 10, "--out", tmp_path / "out")
    assert attack(*arguments).exit_code == 0
    table = (tmp_path / "out" / "results.csv").read_text()
    part = next((tmp_path / "out" / "outcomes").iterdir())
    part.write_bytes(b"damaged")
    assert_one_line(winnrobust("report", tmp_path / "out"), "remove it, and its images")
    part.unlink()
    result = attack(*arguments)
    assert result.exit_code == 0, result.output
    assert "going on after 10 of them" in result.output
    assert (tmp_path / "out" / "results.csv").read_text() == table


def test_pgd_errs_no_less_than_fgsm(runs, tmp_path):
    typed = ("--attacks", "fgsm,pgd", "--eps", "0.125", "--limit", 100)
    result = attack("--runs", runs, *typed, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    own = table[table.source == table.target].pivot(
        index="source", columns="attack", values="source_errors"
    )
    assert (own.pgd >= own.fgsm).all()


def test_earlier_results_are_left_alone(results, runs):
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    for typed in (("--limit", 10), ("--eps", "0.0625,0.125", "--limit", N)):
        result = attack("--runs", runs, *typed, "--out", results)
        assert_one_line(result, "already exists and is left untouched")
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}


def test_results_of_an_older_version_are_left_alone(runs, tmp_path):
    (tmp_path / "results.json").write_text('{"schema": 2}')
    result = attack("--runs", runs, "--limit", 10, "--out", tmp_path)
    assert_one_line(result, "already exists and is left untouched")
    assert (tmp_path / "results.json").read_text() == '{"schema": 2}'


def test_models_of_different_data_need_a_word(runs, tmp_path):
    network, info = load_model(runs / "winn" / "model.safetensors")
    other, out = tmp_path / "mnist.safetensors", tmp_path / "out"
    save_model(other, network, replace(info, dataset="mnist", method="baseline"))
    result = attack(runs / "winn", other, "--out", out)
    assert_one_line(result, "trained on mnist and mnist5k; say with --dataset")
    assert not out.exists()
    result = attack(runs / "winn", other, "--dataset", "mnist5k", "--limit", 9, "--out", out)
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
    assert result.output.splitlines()[-1] == f"open {report / 'index.html'}"


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


@pytest.mark.slow
def test_compare_trains_attacks_reports_and_goes_on_where_it_was(tmp_path):
    options = [*SMALL[1:], "--attacks", "fgsm", "--no-diagnose", "--runs", tmp_path / "runs"]
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


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("nonsense", "unknown attack 'nonsense'"),
        ("transfer:typo", "'transfer:typo' transfers from a model that is not there"),
        ("fgsm,transfer:icn", "the models are baseline, winn"),
    ],
)
def test_compare_knows_its_attacks_before_it_trains(tmp_path, attacks, message):
    typed = [*SMALL[1:], "--runs", tmp_path / "runs", "--out", tmp_path / "out"]
    assert_one_line(winnrobust("compare", *typed, "--attacks", attacks), message)
    assert list(tmp_path.iterdir()) == []


def test_python_evaluate_takes_anybodys_module(digits):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    images = to_unit(digits.test.images[:20])
    table = package.evaluate({"theirs": model}, images, digits.test.labels[:20]).transfer
    assert ",".join(table.columns) == COLUMNS
    assert table.attack.unique().tolist() == ["fgsm", "aa-fast"]

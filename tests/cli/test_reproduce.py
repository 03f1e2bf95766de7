"""`winnrobust reproduce` as a user types it, with networks small enough for a test."""

import json
import shutil
import urllib.error
import urllib.request
from dataclasses import replace

import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from tests.cli.conftest import assert_one_line, stopped_once, winnrobust
from winnrobust.reporting.reproduction import BUDGETS, TARGETS
from winnrobust.workflows import reproducing


@pytest.fixture(scope="module")
def patches():
    """An epoch of 60 images, and two of the digits' vanilla networks in each table."""
    settings = BUDGETS["quick"].settings | {
        "limit_train": 60, "negatives_per_class": 2, "synthesis_max_steps": 2,
    }  # fmt: skip
    budget = replace(BUDGETS["quick"], epochs={"vanilla": 1}, settings=settings)
    group = TARGETS["table3"].groups[0]._replace(methods=("baseline", "winn"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(reproducing.BUDGETS, "quick", budget)
        patch.setitem(reproducing.TARGETS, "table3", replace(TARGETS["table3"], groups=(group,)))
        patch.setitem(
            reproducing.TARGETS,
            "table2",
            replace(TARGETS["table2"], groups=(group, TARGETS["table4"].groups[0])),
        )
        yield


@pytest.fixture(scope="module")
def made(patches, tmp_path_factory):
    """The folder of a reproduced Table 3, and what was said."""
    out = tmp_path_factory.mktemp("reproduce") / "out"
    result = reproduce("table3", "--out", out)
    assert result.exit_code == 0, result.output
    return out, result.output


@pytest.fixture
def no_report(monkeypatch):
    """Leaves out the pages and pictures, which take longer than all else here."""
    monkeypatch.setattr(reproducing, "write_report", lambda *_, **__: None)


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)


def reproduce(*arguments):
    return winnrobust("reproduce", *arguments, "--device", "cpu")


def test_a_table_is_trained_attacked_and_written(made):
    out, said = made
    for epsilon in ("0.125", "0.0625"):
        assert f"Table 3: FGSM on MNIST, epsilon {epsilon}" in said
    folder = out / "table3"
    assert json.loads((folder / "manifest.json").read_text())["results"][0]["data"]["n"] == 1000
    for name in ("index.html", "report.md", "table.md", "table.tex"):
        assert "FGSM" in (folder / name).read_text()
    assert '<td data-heading="paper">7.99</td>' in (folder / "index.html").read_text()
    assert "Table 3: FGSM on MNIST, epsilon 0.0625" in (folder / "table.tex").read_text()
    table = pd.read_csv(folder / "reproduction.csv")
    assert list(table.method.unique()) == ["baseline", "winn"]
    assert set(table.epsilon) == {0.125, 0.0625}
    assert set(table.dataset) == {"mnist5k"}
    assert set(table.epochs) == {1}
    assert table[table.quantity == "adversarial error"]["mean"].notna().all()


def test_again_it_trains_and_attacks_nothing(made, no_report):
    out, _ = made
    table = out / "table3" / "reproduction.csv"
    before = table.read_bytes()
    result = reproduce("table3", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.output.count("is complete") == 2
    assert "attacking" not in result.output
    assert table.read_bytes() == before


def test_a_given_run_takes_its_place(made, no_report, tmp_path):
    """The other one is trained; what the budget has is shared between tables of one folder only."""
    out = tmp_path / "out"
    given = made[0] / "runs" / "mnist5k-vanilla-winn-seed0"
    result = reproduce("table3", "--run", given, "--out", out)
    assert result.exit_code == 0, result.output
    assert [path.name for path in (out / "runs").iterdir()] == ["mnist5k-vanilla-baseline-seed0"]
    assert "Given, trained with their own settings: mnist5k-vanilla-winn." in result.output
    columns = ["method", "epsilon", "quantity", "mean", "n"]
    table, first = (pd.read_csv(folder / "table3" / "reproduction.csv")[columns]
                    for folder in (out, made[0]))  # fmt: skip
    pd.testing.assert_frame_equal(table, first)


def test_a_run_without_a_place_in_the_table_is_refused(made, tmp_path):
    out = tmp_path / "out"
    run = made[0] / "runs" / "mnist5k-vanilla-winn-seed0"
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    manifest = json.loads((run / "manifest.json").read_text())
    (unfinished / "manifest.json").write_text(json.dumps(manifest | {"status": "training"}))
    longer = shutil.copytree(run, tmp_path / "longer")
    config = json.loads((run / "config.json").read_text())
    (longer / "config.json").write_text(json.dumps(config | {"limit_train": 3000}))
    margins = shutil.copytree(run, tmp_path / "margins")
    (margins / "config.json").write_text(json.dumps(config | {"margin_radius": 0.125}))
    cut = shutil.copytree(run, tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:5000])
    for arguments, message in (
        (["--run", "zoo:mnist-vanilla-winn"], "zoo:mnist-vanilla-winn is mnist-vanilla-winn-seed0"),
        (["--run", run, "--seeds", "1"], "it has mnist5k-vanilla-baseline-seed1,"),
        (["--run", run, "--run", run], "name one of them"),
        (["--run", unfinished], "is not complete"),
        (["--run", longer], "was trained on 3000 images, this budget trains on 60"),
        (["--run", margins], "was trained with --margin-radius, which is no method of the paper"),
        (["--run", tmp_path], "is not a training run"),
        (["--run", cut], "cut/model.safetensors"),
    ):
        assert_one_line(reproduce("table3", *arguments, "--out", out), message)
        assert not out.exists()


@pytest.mark.slow
def test_interrupted_it_goes_on(patches, no_report, tmp_path):
    """In the second training, so that the first is not repeated; then between two batches."""
    out = tmp_path / "out"
    with stopped_once(out, "runs/mnist5k-vanilla-winn-seed0/config.json"):
        result = reproduce("table3", "--out", out)
    assert result.exit_code == 130
    assert "with the same command again" in result.output
    with stopped_once(out, "results/*/outcomes/*.parquet"):
        result = reproduce("table3", "--out", out)
    assert result.exit_code == 130
    assert result.output.count("is complete") == 1
    assert "resuming winn" in result.output
    assert "images are done: the same command goes on from there" in result.output
    assert not list((out / "table3").iterdir())
    result = reproduce("table3", "--out", out)
    assert result.exit_code == 0, result.output
    assert result.output.count("is complete") == 2
    assert "going on after" in result.output
    assert (out / "table3" / "reproduction.csv").exists()


def test_other_weights_are_attacked_anew(made, no_report, tmp_path):
    """What was attacked is known by its hash, not by its path."""
    out = shutil.copytree(made[0], tmp_path / "out")
    model = out / "runs" / "mnist5k-vanilla-winn-seed0" / "model.safetensors"
    with safe_open(model, "pt") as file:
        about = file.metadata()
        doubled = {name: 2 * file.get_tensor(name) for name in file.offset_keys()}
    save_file(doubled, model, about)
    (old,) = (out / "results").iterdir()
    result = reproduce("table3", "--out", out)
    assert result.exit_code == 0, result.output
    assert "attacking" in result.output
    assert len([path for path in (out / "results").iterdir() if path != old]) == 1


def test_every_seed_is_trained(patches, no_report, tmp_path, monkeypatch):
    """In the default folder, which is named after the budget."""
    monkeypatch.chdir(tmp_path)
    result = reproduce("table2", "--seeds", "1,2")
    assert result.exit_code == 0, result.output
    out = tmp_path / "reproduction" / "quick"
    assert {path.name for path in (out / "runs").iterdir()} == {
        f"mnist5k-vanilla-{method}-seed{seed}" for method in ("baseline", "winn") for seed in (1, 2)
    }
    table = pd.read_csv(out / "table2" / "reproduction.csv")
    assert set(table[table.dataset == "mnist5k"].seeds) == {2}
    (results,) = (out / "results").iterdir()
    assert set(pd.read_csv(results / "results.csv").epsilon) == {0.125}


def test_a_file_in_its_way_is_named_before_anything_is_trained(patches, tmp_path):
    (tmp_path / "results").write_text("")
    assert_one_line(reproduce("table3", "--out", tmp_path), "results")
    assert not (tmp_path / "runs").exists()


def test_without_data_it_says_what_to_do(no_network, tmp_path):
    result = reproduce("table4", "--data-root", tmp_path / "none", "--out", tmp_path / "out")
    assert_one_line(result, "table4: not run: no data", "train_32x32.mat", "--data-root")
    assert not (tmp_path / "out").exists()


def test_a_part_without_data_is_left_out_and_named(made, no_report, no_network, tmp_path):
    """The other part comes from the runs of the other table."""
    out = shutil.copytree(made[0], tmp_path / "out")
    result = reproduce("table2", "--data-root", tmp_path / "none", "--out", out)
    assert result.exit_code == 0, result.output
    assert "resnet32 on svhn: not run: no data: data set 'svhn' was not found" in result.output
    table = pd.read_csv(out / "table2" / "reproduction.csv")
    svhn = table[table.dataset == "svhn"]
    assert list(svhn.paper) == [0.0464, 0.045]
    assert svhn["mean"].isna().all()
    assert table[table.dataset == "mnist5k"]["mean"].notna().all()
    assert result.output.count("is complete") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table5"], "'table5' is not one of 'table2'"),
        (["table3", "--seeds", "one"], "'one' are no seeds; write --seeds 0"),
        (["table3", "--seeds", "0,"], "are no seeds"),
        (["table3", "--budget", "huge"], "'huge' is not one of 'quick', 'cpu', 'paper'"),
        ([], "Missing argument"),
    ],
)
def test_bad_input_ends_in_one_line(arguments, message):
    assert_one_line(reproduce(*arguments), message)

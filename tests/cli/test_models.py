"""The models that come along: whole, accounted for, and as good as they say."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tests.cli.conftest import assert_one_line, winnrobust
from winnrobust import zoo
from winnrobust.models.checkpoint import load_model, save_model
from winnrobust.reporting import load_run
from winnrobust.runtime.errors import InputError
from winnrobust.training.validation import count_errors
from winnrobust.zoo.__main__ import main
from winnrobust.zoo.adding import add

MODELS = zoo.models()


@pytest.fixture
def own_zoo(tmp_path, monkeypatch) -> Path:
    """A copy that a test may damage or add to."""
    folder = shutil.copytree(zoo.FOLDER, tmp_path / "zoo")
    monkeypatch.setattr(zoo, "FOLDER", folder)
    return folder


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_is_whole_and_errs_as_often_as_it_says(model, digits):
    assert model.is_whole()
    folder = zoo.locate(Path(f"zoo:{model.name}"))
    network, info = load_model(folder / "model.safetensors")
    assert (info.dataset, info.arch, info.method, info.seed, info.epoch) == (
        model.dataset, model.arch, model.method, model.seed, model.epoch,
    )  # fmt: skip
    assert sum(parameter.numel() for parameter in network.parameters()) == model.parameters
    if model.embedded_errors is not None:
        errors = count_errors(network, digits.test, torch.device("cpu"))
        assert errors == model.embedded_errors


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_each_has_the_manifest_of_its_run(model):
    run = load_run(model.folder)
    assert run.manifest["status"] == "complete"
    assert len(run.manifest["commit"]) == 40
    assert run.manifest["seed"] == model.seed
    assert len(run.manifest["data"]["train"]["sha256"]) == 64
    assert run.manifest["test"]["errors"] == model.test_errors
    assert (run.setting("method"), run.setting("arch")) == (model.method, model.arch)
    assert len(run.metrics) == model.epochs


def test_there_is_nothing_that_the_list_does_not_have():
    assert {folder.name for folder in (zoo.FOLDER / "models").iterdir()} == {
        model.name for model in MODELS
    }


def test_models_lists_them(own_zoo):
    result = winnrobust("models")
    assert result.exit_code == 0, result.output
    for model in MODELS:
        assert f"zoo:{model.name}" in result.output
        assert model.sha256[:12] in result.output
    assert "DAMAGED" not in result.output
    file = own_zoo / "models" / MODELS[0].name / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    assert damaged() == [MODELS[0].name]


@pytest.mark.parametrize("name", ["config.json", "manifest.json", "metrics.jsonl"])
def test_a_model_that_lacks_a_file_is_damaged(own_zoo, tmp_path, name):
    (own_zoo / "models" / "mnist-vanilla-winn" / name).unlink()
    assert damaged() == ["mnist-vanilla-winn"]
    result = winnrobust("attack", "zoo:mnist-vanilla-winn", "--out", tmp_path / "out")
    assert_one_line(result, "zoo:mnist-vanilla-winn are missing or damaged", "install winnrobust")


@pytest.fixture
def without_weights(own_zoo, tmp_path, monkeypatch) -> Path:
    """What the wheel is like: the weights of a model are elsewhere, in the folder returned."""
    monkeypatch.setattr(zoo, "cache", lambda: tmp_path / "cache")
    monkeypatch.delenv(zoo.SOURCE, raising=False)
    elsewhere = tmp_path / "elsewhere" / "mnist-vanilla-winn"
    elsewhere.mkdir(parents=True)
    weights = own_zoo / "models" / "mnist-vanilla-winn" / "model.safetensors"
    shutil.move(weights, elsewhere / "model.safetensors")
    return elsewhere.parent


def test_weights_that_do_not_come_along_are_fetched_once(without_weights, monkeypatch):
    listed = winnrobust("models")
    assert listed.exit_code == 0, listed.output
    assert "to be fetched" in listed.output
    monkeypatch.setenv(zoo.SOURCE, str(without_weights))
    folder = zoo.locate(Path("zoo:mnist-vanilla-winn"))
    shutil.rmtree(without_weights)
    assert zoo.locate(Path("zoo:mnist-vanilla-winn")) == folder
    assert load_run(folder).manifest["status"] == "complete"
    assert "to be fetched" not in winnrobust("models").output


def test_other_weights_than_those_that_were_measured_are_not_taken(without_weights, monkeypatch):
    with pytest.raises(InputError, match=r"do not come in the wheel; set WINNROBUST_ZOO"):
        zoo.locate(Path("zoo:mnist-vanilla-winn"))
    monkeypatch.setenv(zoo.SOURCE, str(without_weights / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere/mnist-vanilla-winn/model.safetensors cannot be"):
        zoo.locate(Path("zoo:mnist-vanilla-winn"))
    file = without_weights / "mnist-vanilla-winn" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    monkeypatch.setenv(zoo.SOURCE, str(without_weights))
    with pytest.raises(InputError, match=r"is not zoo:mnist-vanilla-winn: its hash differs"):
        zoo.locate(Path("zoo:mnist-vanilla-winn"))
    assert not list(zoo.cache().iterdir())


def damaged() -> list[str]:
    """The models of which the list says so."""
    result = winnrobust("models")
    assert result.exit_code == 1
    assert result.stderr == ""
    assert "reinstall winnrobust" in result.output
    rows = [line.split() for line in result.output.splitlines()]
    return [row[0].removeprefix("zoo:") for row in rows if row and row[-1] == "DAMAGED"]


@pytest.mark.parametrize("content", [None, "[{", "{}", "null", '["mnist"]', '[{"name": "mnist"}]'])
def test_a_list_that_is_missing_or_damaged_ends_in_one_line(own_zoo, tmp_path, content):
    if content is None:
        (own_zoo / "models.json").unlink()
    else:
        (own_zoo / "models.json").write_text(content)
    for typed in (["models"], ["attack", "zoo:mnist-vanilla-winn", "--out", tmp_path / "out"]):
        assert_one_line(
            winnrobust(*typed), "models.json is missing or damaged; reinstall winnrobust"
        )


def test_damaged_weights_are_refused(own_zoo, tmp_path):
    file = own_zoo / "models" / "mnist-vanilla-winn" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])
    out = tmp_path / "out"
    result = winnrobust("attack", "zoo:mnist-vanilla-winn", "--dataset", "mnist5k", "--out", out)
    assert_one_line(result, "zoo:mnist-vanilla-winn are missing or damaged", "install winnrobust")
    assert not out.exists()


def test_unknown_models_are_answered_with_the_known_ones(tmp_path):
    result = winnrobust("attack", "zoo:minst", "--out", tmp_path / "out")
    assert_one_line(result, "no model 'minst' comes with winnrobust", "mnist-vanilla-winn")


def test_attack_without_any_run_takes_them_and_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = winnrobust(
        "attack", "--eps", "0.125", "--dataset", "mnist5k", "--limit", 20, "--no-diagnose",
        "--attacks", "fgsm", "--out", "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "no trained run under runs: attacking models that come with winnrobust" in result.output
    assert "mnist5k's images are among the training images of mnist" in result.output
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    assert rows[0]["path"] == "zoo:mnist-vanilla-baseline"
    assert {row["path"] for row in rows} == {
        "zoo:mnist-vanilla-baseline",
        "zoo:mnist-vanilla-winn",
    }
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["models"]["winn"]["manifest"]["status"] == "complete"


def test_attack_takes_them_beside_runs(runs, tmp_path):
    result = winnrobust(
        "attack", runs / "winn", "zoo:mnist-vanilla-winn", "--dataset", "mnist5k", "--limit", 20,
        "--attacks", "fgsm", "--no-diagnose", "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["models"]
    assert [row["path"] for row in rows] == [str(runs / "winn"), "zoo:mnist-vanilla-winn"]


def test_there_are_none_of_everything():
    with pytest.raises(InputError, match="no model of svhn and vanilla comes with winnrobust"):
        zoo.trained_on("svhn", None)


def test_samples_are_drawn_from_them(tmp_path):
    result = winnrobust(
        "synthesize", "zoo:mnist-vanilla-winn", "--n", 2, "--max-steps", 2, "--out",
        tmp_path / "samples.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert (tmp_path / "samples.png").exists()


def test_adding_a_run_makes_it_one_of_them(own_zoo, runs, digits):
    before = contents(own_zoo)
    model = add(runs / "baseline")
    assert model.name == "mnist5k-vanilla-baseline"
    assert model in zoo.models()
    assert [known.name for known in zoo.models()] == sorted(known.name for known in zoo.models())
    assert zoo.locate(Path("zoo:mnist5k-vanilla-baseline")) == model.folder
    assert {path.name for path in model.folder.iterdir()} == {
        "config.json", "manifest.json", "metrics.jsonl", "model.safetensors",
    }  # fmt: skip
    network, _ = load_model(model.folder / "model.safetensors")
    images = digits.test.images.float() / 255
    wrong = network(images).logits.argmax(1) != digits.test.labels
    assert model.embedded_errors == model.test_errors == wrong.sum()
    changed = {path for path, content in before.items() if path.read_bytes() != content}
    assert changed == {own_zoo / "models.json"}
    assert add(runs / "baseline") == model, "again replaces it"


def test_thresholds_of_other_weights_are_measured_anew(own_zoo, runs, tmp_path):
    """Older versions stored those of the latest synthesis; this one measures the stored network."""
    run = shutil.copytree(runs / "winn", tmp_path / "run")
    network, info = load_model(run / "model.safetensors")
    save_model(run / "model.safetensors", network, replace(info, thresholds=((-99.0, 99.0),)))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    old = [{k: v for k, v in row.items() if not k.startswith("stored")} for row in rows]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    model = add(run)
    (found,) = load_model(model.folder / "model.safetensors")[1].thresholds
    assert found == pytest.approx(info.thresholds[0], abs=1e-5)
    said = json.loads((model.folder / "manifest.json").read_text())["thresholds"]
    assert said["stored_before"] == [[-99, 99]]
    assert said["of_the_stored_weights"] == [list(found)]
    assert model.is_whole()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(file: Path, **values: object) -> None:
    """Set entries of a JSON file; None takes one out."""
    changed = json.loads(file.read_text()) | values
    file.write_text(json.dumps({key: item for key, item in changed.items() if item is not None}))


def test_runs_that_are_no_models_are_refused(own_zoo, runs, tmp_path):
    before = contents(own_zoo)

    def refusal(file: str, **values: object) -> str:
        run = tmp_path / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(runs / "baseline", run)
        change(run / file, **values)
        with pytest.raises(InputError) as error:
            add(run)
        return str(error.value)

    assert "is not complete" in refusal("manifest.json", status="training")
    assert "manifest.json has no test error" in refusal("manifest.json", test=None)
    for name, value, own in [
        ("dataset", "mnist", "mnist5k"), ("arch", "resnet32", "vanilla"),
        ("method", "winn", "baseline"), ("seed", 3, 0),
    ]:  # fmt: skip
        told = refusal("config.json", **{name: value})
        assert f"model.safetensors is of {name} {own}, but" in told
        assert f"config.json says {value}" in told
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match=r"lacks metrics\.jsonl"):
        add(tmp_path / "run")
    assert contents(own_zoo) == before


def test_a_run_without_labels_is_refused(own_zoo, tmp_path):
    result = winnrobust(
        "train", "--unsupervised", "--dataset", "mnist5k", "--limit-train", 20, "--epochs", 1,
        "--start-images", 2, "--iteration-images", 20, "--iteration-passes", 1,
        "--negatives-per-class", 2, "--synthesis-max-steps", 1, "--device", "cpu",
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with pytest.raises(InputError, match="without labels; only classifiers can be added"):
        add(tmp_path / "run")


def test_a_failed_copy_leaves_the_model_that_was_there(own_zoo, runs, monkeypatch):
    add(runs / "baseline")
    before = contents(own_zoo)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OSError, match="No space left"):
        add(runs / "baseline")
    assert contents(own_zoo) == before


def test_the_command_that_adds_tells_a_new_name_from_a_taken_one(own_zoo, runs):
    result = CliRunner().invoke(main, [str(runs / "baseline"), str(runs / "winn")])
    assert result.exit_code == 0, result.output
    assert result.output == "added mnist5k-vanilla-baseline\nadded mnist5k-vanilla-winn\n"
    result = CliRunner().invoke(main, [str(runs / "baseline")])
    assert result.output == "replaced mnist5k-vanilla-baseline\n"


def test_the_command_that_adds_says_what_is_wrong(tmp_path):
    command = [sys.executable, "-m", "winnrobust.zoo", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        f"Error: {tmp_path} is not a training run (no config.json and manifest.json in it)\n"
    )
    nothing = CliRunner().invoke(main, [])
    assert nothing.exit_code == 2
    assert "Missing argument 'RUN...'" in nothing.stderr
    told = CliRunner().invoke(main, ["--help"])
    assert told.exit_code == 0
    assert "RUN..." in told.output

import json
import math
from dataclasses import replace
from importlib import metadata

import pytest
import torch
from PIL import Image

from tests.training.conftest import SIZE
from winnrobust.data.datasets import ImageSplit
from winnrobust.models import IntrospectiveNetwork
from winnrobust.models.checkpoint import load_model, read_tensors, write_tensors
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream
from winnrobust.runtime.readers import read_json
from winnrobust.training.config import TrainConfig
from winnrobust.training.loop import train
from winnrobust.training.manifest import of_ascents, reopen_run, start_run
from winnrobust.training.methods import METHODS
from winnrobust.training.run_folder import RunFolder
from winnrobust.training.validation import count_attacked_errors, count_errors

CPU = torch.device("cpu")
TIMES = ("seconds", "cpu_seconds", "elapsed")
QUICK = TrainConfig(
    dataset="mnist5k", epochs=3, batch_size=20, negatives_per_class=4, synthesis_max_steps=3,
    initial="gaussian",
)  # fmt: skip


def run(path, data, config=QUICK) -> RunFolder:
    folder = start_run(path, config, data, CPU)
    train(folder, config, data, CPU)
    return folder


def rows(folder: RunFolder) -> list[dict]:
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, few_digits):
    return run(tmp_path_factory.mktemp("training") / "run", few_digits)


def test_same_seed_gives_the_same_bits_other_seed_others(finished, tmp_path, few_digits):
    again = run(tmp_path / "again", few_digits)
    other = run(tmp_path / "other", few_digits, QUICK.replace(seed=1))
    assert again.model.read_bytes() == finished.model.read_bytes()
    assert other.model.read_bytes() != finished.model.read_bytes()


def test_one_row_per_epoch_with_everything_a_user_watches(finished):
    assert [row["epoch"] for row in rows(finished)] == [1, 2, 3]
    for row in rows(finished):
        for name in ("loss", "cross_entropy", "wasserstein", "gradient_penalty", "gradient_norm"):
            assert math.isfinite(row[name])
        assert 0 <= row["valid_error"] <= 1
        assert row["valid_errors"] == row["valid_error"] * row["valid_n"]
        assert 1 <= row["synthesis_steps"] <= 3
        assert row["pool_size"] == 40 * (row["epoch"] + 1)
    assert rows(finished)[-1]["loss"] < rows(finished)[0]["loss"]


def test_a_picture_shows_ten_classes_of_every_epochs_negatives(finished):
    for epoch in (1, 2, 3):
        with Image.open(finished.samples(epoch)) as picture:
            assert picture.size == (4 * (SIZE + 2) + 2, 10 * (SIZE + 2) + 2)


def test_manifest_says_where_the_figures_come_from(finished, few_digits):
    manifest = read_json(finished.manifest)
    assert manifest["status"] == "complete"
    assert manifest["data"]["test"] == {"n": 50, "sha256": few_digits.test.sha256()}
    assert manifest["versions"]["torch"] == metadata.version("torch")
    network, _ = load_model(finished.model)
    assert manifest["parameters"] == sum(weights.numel() for weights in network.parameters())
    assert manifest["test"]["errors"] == manifest["test"]["error"] * 50
    assert manifest["test"]["error_low"] <= manifest["test"]["error"]
    assert read_json(finished.config)["optimization"]["gp_weight"] == 10
    shares = {str(row["epoch"]): row["synthesis_reached"] for row in rows(finished)}
    assert manifest["ascents_stopped_early"] == shares


@pytest.mark.parametrize(("last", "noted"), [(0.049, True), (0.05, False), (1.0, False)])
def test_manifest_says_if_nearly_no_ascent_came_to_its_threshold(last, noted):
    history = [{"epoch": 1, "synthesis_reached": 0.01}, {"epoch": 2, "synthesis_reached": last}]
    said = of_ascents(history)
    assert said["ascents_stopped_early"] == {"1": 0.01, "2": last}
    assert ("no effect" in said.get("note", "")) == noted
    assert of_ascents([{"epoch": 1, "loss": 0.5}]) == {}


def test_every_nth_epoch_is_kept_on_request(tmp_path, few_digits):
    config = QUICK.replace(method="baseline", keep_every=2)
    folder = run(tmp_path / "run", few_digits, config)
    kept = sorted(folder.epoch_model(0).parent.iterdir())
    assert kept == [folder.epoch_model(2)]
    network, info = load_model(kept[0])
    assert info.epoch == 2
    assert count_errors(network, few_digits.valid, CPU) == rows(folder)[1]["valid_errors"]


def test_kept_model_has_the_best_validation_error_and_ties_go_to_the_later(finished, few_digits):
    errors = [row["valid_error"] for row in rows(finished)]
    best = max(index for index, error in enumerate(errors) if error == min(errors)) + 1
    network, info = load_model(finished.model)
    assert info.epoch == best == read_json(finished.manifest)["best"]["epoch"]
    assert count_errors(network, few_digits.valid, CPU) / 50 == info.valid_error == min(errors)


@pytest.mark.parametrize(("valid", "best"), [([5, 3, 4], 2), ([5, 3, 3], 3), ([2, 3, 4], 1)])
def test_selection_never_sees_the_test_images(tmp_path, few_digits, monkeypatch, valid, best):
    """Validation errors are scripted; the test images are counted once, after the last epoch."""
    calls = []

    def scripted(network, split, device):
        calls.append("test" if split is few_digits.test else "valid")
        return valid[len(calls) - 1] if calls[-1] == "valid" else 0

    for module in ("validation", "manifest"):
        monkeypatch.setattr(f"winnrobust.training.{module}.count_errors", scripted)
    folder = run(tmp_path / "run", few_digits, QUICK.replace(method="baseline"))
    assert calls == ["valid", "valid", "valid", "test"]
    assert load_model(folder.model)[1].epoch == best


def test_averaged_weights_are_kept_and_validated(tmp_path, few_digits):
    config = QUICK.replace(method="baseline", epochs=1)
    plain = run(tmp_path / "plain", few_digits, config)
    averaged = run(tmp_path / "averaged", few_digits, config.replace(average_decay=0.9))
    networks = [load_model(folder.model)[0] for folder in (plain, averaged)]
    assert not torch.equal(networks[0].classifier.weight, networks[1].classifier.weight)
    errors = count_errors(networks[1], few_digits.valid, CPU)
    assert errors == rows(averaged)[0]["valid_errors"]
    # Both trained the same weights: the average only watches.
    states = [read_tensors(folder.state, "training state")[0] for folder in (plain, averaged)]
    name = "network.classifier.weight"
    assert torch.equal(states[0][name], states[1][name])


@pytest.mark.parametrize("method", ["winn", "icn"])
def test_stored_thresholds_are_those_of_the_stored_network(tmp_path, few_digits, method):
    """Also where weights are averaged; the last 10 of 60 images, no whole batch, have no part."""
    config = QUICK.replace(method=method, average_decay=0.9, batch_size=25, keep_every=1)
    folder = run(tmp_path / "run", few_digits, config)
    for epoch in (1, 2, 3):
        network, info = load_model(folder.epoch_model(epoch))
        order = torch.randperm(60, generator=stream(0, "batches", epoch))
        means = []
        for chosen in order[:50].split(25):
            images, labels = few_digits.train.images[chosen], few_digits.train.labels[chosen]
            with torch.no_grad():
                output = network(images.float() / 255)
            own = output.logits.gather(1, labels[:, None])
            means.append((output.critic if method == "winn" else own).mean().item())
        assert info.thresholds == (pytest.approx((min(means), max(means)), abs=1e-5),)


def test_networks_that_draw_nothing_store_no_thresholds(tmp_path, few_digits):
    for method in ("baseline", "gdl"):
        folder = run(tmp_path / method, few_digits, QUICK.replace(method=method, epochs=1))
        assert load_model(folder.model)[1].thresholds == ()


@pytest.mark.parametrize("method", ["pgd-at", "trades"])
def test_adversarial_training_is_selected_by_validation_images_under_attack(
    tmp_path, few_digits, monkeypatch, method
):
    """The second epoch errs least under attack, the first without."""
    calls = []

    def scripted(network, split, epsilon, device):
        calls.append((len(split), epsilon))
        return [9, 7, 8][len(calls) - 1]

    clean = iter([1, 3, 2, 0])
    monkeypatch.setattr("winnrobust.training.validation.count_attacked_errors", scripted)
    for module in ("validation", "manifest"):
        name = f"winnrobust.training.{module}.count_errors"
        monkeypatch.setattr(name, lambda *_: next(clean))
    config = QUICK.replace(method=method, at_steps=1, at_epsilon=0.2)
    folder = run(tmp_path / "run", few_digits, config)
    assert calls == [(50, 0.2)] * 3
    assert [row["valid_attacked_error"] for row in rows(folder)] == [0.18, 0.14, 0.16]
    assert load_model(folder.model)[1].epoch == 2
    best = read_json(folder.manifest)["best"]
    assert best == {"epoch": 2, "valid_error": 0.06, "valid_attacked_error": 0.14}


def test_errors_under_attack_of_a_linear_model_are_those_that_can_be_had():
    """Of two pixels the label's must stay the larger: it does where it leads by more than twice
    epsilon."""
    network = IntrospectiveNetwork(torch.nn.Flatten(), 2, 2)
    torch.nn.init.eye_(network.classifier.weight)
    torch.nn.init.zeros_(network.classifier.bias)
    leads = torch.tensor([0, 20, 40, 60, 80, 100], dtype=torch.uint8)
    images = torch.stack([100 + leads, torch.full_like(leads, 100)], dim=1).reshape(6, 1, 1, 2)
    split = ImageSplit(images, torch.zeros(6, dtype=torch.int64))
    found = [count_attacked_errors(network, split, e / 255, CPU) for e in (0.4, 15.5, 35.5, 60.5)]
    assert found == [1, 2, 4, 6]


def test_baseline_rows_have_no_critic_figures(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits, QUICK.replace(method="baseline", epochs=1))
    assert "wasserstein" not in rows(folder)[0]
    assert not folder.samples(1).exists()


@pytest.mark.parametrize("method", list(METHODS))
def test_more_epochs_continue_as_if_never_stopped(tmp_path, few_digits, method):
    config = QUICK.replace(
        method=method, synthesis_carry_adam=True, average_decay=0.9, synthesis_every=2, at_steps=2,
        epochs=2,
    )  # fmt: skip
    whole = run(tmp_path / "whole", few_digits, config)
    parts = run(tmp_path / "parts", few_digits, config.replace(epochs=1))
    train(parts, config, few_digits, CPU)
    assert parts.model.read_bytes() == whole.model.read_bytes()
    without_times = [
        [{k: v for k, v in row.items() if k not in TIMES} for row in rows(folder)]
        for folder in (whole, parts)
    ]
    assert without_times[0] == without_times[1]


def test_a_diverged_loss_ends_in_one_line_and_keeps_the_last_good_epoch(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits, QUICK.replace(epochs=1))
    before = {path: path.read_bytes() for path in (folder.model, folder.state, folder.metrics)}
    with pytest.raises(
        InputError, match=r"(loss became|logits are no longer).*diverged; lower --lr"
    ):
        train(folder, QUICK.replace(lr=1e30), few_digits, CPU)
    assert {path: path.read_bytes() for path in before} == before


def test_a_full_disk_keeps_the_last_good_epoch(tmp_path, few_digits, monkeypatch):
    whole = run(tmp_path / "whole", few_digits)
    folder = run(tmp_path / "run", few_digits, QUICK.replace(epochs=1))
    before = folder.state.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("winnrobust.training.state.write_text", full)
        with pytest.raises(OSError, match="No space left"):
            train(folder, QUICK, few_digits, CPU)
    assert folder.state.read_bytes() == before
    train(folder, QUICK, few_digits, CPU)
    assert folder.model.read_bytes() == whole.model.read_bytes()


def test_an_existing_run_is_not_overwritten(finished, few_digits):
    before = finished.manifest.read_bytes()
    with pytest.raises(InputError, match="already exists and is left untouched"):
        start_run(finished.path, QUICK, few_digits, CPU)
    assert finished.manifest.read_bytes() == before


def test_a_run_is_not_continued_on_other_data(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits, QUICK.replace(epochs=1))
    other = replace(few_digits, valid=few_digits.test)
    with pytest.raises(InputError, match="was trained on other data"):
        train(folder, QUICK, other, CPU)


def test_a_damaged_state_is_named(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits, QUICK.replace(epochs=1))
    folder.state.write_bytes(folder.state.read_bytes()[:1000])
    with pytest.raises(InputError, match="may be truncated or corrupt"):
        train(folder, QUICK, few_digits, CPU)


def test_a_state_of_another_version_is_named(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits, QUICK.replace(epochs=1))
    write_tensors(folder.state, {"x": torch.zeros(1)}, {"kind": "training state", "history": []})
    with pytest.raises(InputError, match="another version of winnrobust"):
        train(folder, QUICK, few_digits, CPU)


def test_moments_and_negatives_of_another_shape_are_named(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits)
    longer = QUICK.replace(epochs=4)
    for path, name in ((folder.state, "optimizer.0.exp_avg"), (folder.negatives(2), "images")):
        content = path.read_bytes()
        kind = "training state" if path == folder.state else "pseudo-negatives"
        tensors, header = read_tensors(path, kind)
        write_tensors(path, tensors | {name: tensors[name][:1]}, header)
        with pytest.raises(InputError, match="does not fit the run's configuration"):
            train(folder, longer, few_digits, CPU)
        path.write_bytes(content)


def test_a_lost_negatives_file_is_named(tmp_path, few_digits):
    folder = run(tmp_path / "run", few_digits, QUICK.replace(epochs=1))
    folder.negatives(1).unlink()
    with pytest.raises(InputError, match=r"negatives-0001\.safetensors does not exist"):
        train(folder, QUICK, few_digits, CPU)


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="is not a training run"):
        reopen_run(tmp_path)


@pytest.mark.parametrize(("name", "kind"), [("arch", "architecture"), ("method", "method")])
def test_unknown_names_are_answered_with_the_known_ones(tmp_path, few_digits, name, kind):
    config = QUICK.replace(**{name: "magic"})
    with pytest.raises(InputError, match=f"unknown {kind} 'magic'; known are"):
        start_run(tmp_path / "run", config, few_digits, CPU)
    assert not (tmp_path / "run").exists()


def test_a_setting_that_is_gone_and_was_not_set_does_no_harm(tmp_path):
    stored = TrainConfig(dataset="mnist5k").flat()
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "config.json").write_text(json.dumps(stored | {"gone": None}))
    assert reopen_run(tmp_path)[1] == TrainConfig(dataset="mnist5k")
    (tmp_path / "config.json").write_text(json.dumps(stored | {"gone": 3}))
    with pytest.raises(InputError, match="unknown setting gone"):
        reopen_run(tmp_path)

"""The training loop without labels: what is kept, cascades, resuming, flips."""

import json

import pytest
import torch

from tests.training.conftest import SIZE
from winnrobust.data.datasets import Dataset, ImageSplit
from winnrobust.models.checkpoint import load_cascades
from winnrobust.training.config import make_config
from winnrobust.training.loop import train
from winnrobust.training.manifest import start_run
from winnrobust.training.methods import METHODS, method_of
from winnrobust.training.methods.baseline import Baseline

CPU = torch.device("cpu")
QUICK = make_config(
    {
        "unsupervised": True,
        "dataset": "mnist5k",
        "initial": "gaussian",
        "epochs": 2,
        "cascades": 2,
        "start_images": 12,
        "iteration_images": 100,
        "iteration_passes": 1,
        "batch_size": 20,
        "negatives_per_class": 6,
        "synthesis_max_steps": 3,
        "lr": 1e-3,
    }
)


@pytest.fixture(scope="module")
def unlabeled(few_digits) -> Dataset:
    return few_digits.without_labels()


def run(path, dataset, config=QUICK):
    folder = start_run(path, config, dataset, CPU)
    train(folder, config, dataset, CPU)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory, unlabeled):
    return run(tmp_path_factory.mktemp("unsupervised") / "run", unlabeled)


def rows(folder):
    return [json.loads(line) for line in folder.metrics.read_text().splitlines()]


def test_stored_thresholds_are_those_of_the_averaged_network(tmp_path, unlabeled):
    config = QUICK.replace(average_decay=0.9, cascades=1)
    folder = run(tmp_path / "run", unlabeled, config)
    (network,), info = load_cascades(folder.model)
    order = method_of(config)(config, 1, SIZE, 1, CPU).order(2, len(unlabeled.train))
    images = unlabeled.train.images[order].float() / 255
    with torch.no_grad():
        means = [network(batch).critic.mean().item() for batch in images.split(20)]
    assert info.thresholds == (pytest.approx((min(means), max(means)), abs=1e-5),)


def test_the_last_networks_of_all_cascades_are_kept(finished):
    networks, info = load_cascades(finished.model)
    assert (info.epoch, info.cascades, info.num_classes, info.valid_error) == (4, 2, 1, None)
    history = rows(finished)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    ends = [history[1], history[3]]
    assert list(info.thresholds) == [(r["threshold_low"], r["threshold_high"]) for r in ends]
    first, last = (network.features[3].weight for network in networks)
    moved = (first - last).abs().max()
    assert 0 < moved < 0.05, "the second goes on from the first's weights"
    manifest = json.loads(finished.manifest.read_text())
    assert manifest["status"] == "complete"
    assert manifest["kept"] == {"epoch": 4, "because": "the last"}
    assert "test" not in manifest


def test_the_log_has_the_critic_of_the_validation_images_in_place_of_an_error(finished, unlabeled):
    network = load_cascades(finished.model)[0][-1]
    with torch.no_grad():
        expected = network(unlabeled.valid.images / 255).critic.mean().item()
    last = rows(finished)[-1]
    assert last["valid_critic"] == pytest.approx(expected, abs=1e-4)
    assert "valid_error" not in last


@pytest.mark.parametrize(
    ("method", "stop"), [("winn", 1), ("winn", 2), ("winn", 3), ("inn", 2), ("wgan-gp", 2)]
)
def test_stopped_anywhere_it_ends_with_the_same_bits(tmp_path, unlabeled, finished, method, stop):
    config = QUICK.replace(method=method)
    if method == "wgan-gp":  # which has no cascades
        config = config.replace(epochs=4, cascades=1)
    whole = finished if method == "winn" else run(tmp_path / "whole", unlabeled, config)

    class StoppedError(Exception):
        pass

    folder = start_run(tmp_path / "parts", config, unlabeled, CPU)
    with pytest.MonkeyPatch.context() as patch:

        def stopping(row, total):
            if row["epoch"] == stop:
                raise StoppedError
            return ""

        patch.setattr("winnrobust.training.loop.epoch_line", stopping)
        with pytest.raises(StoppedError):
            train(folder, config, unlabeled, CPU)
    assert load_cascades(folder.model)[1].epoch == stop
    train(folder, config, unlabeled, CPU)
    assert folder.model.read_bytes() == whole.model.read_bytes()
    for epoch in range(1, 5):
        assert folder.negatives(epoch).read_bytes() == whole.negatives(epoch).read_bytes()


def test_a_single_network_can_be_trained_longer(tmp_path, unlabeled):
    single = QUICK.replace(cascades=1, epochs=3)
    whole = run(tmp_path / "whole", unlabeled, single)
    parts = run(tmp_path / "parts", unlabeled, single.replace(epochs=1))
    train(parts, single, unlabeled, CPU)
    assert parts.model.read_bytes() == whole.model.read_bytes()


def test_half_of_the_images_are_flipped(tmp_path, few_digits, monkeypatch):
    """Images whose left half is black and right half white, and what the loss is given of them."""
    pixels = torch.zeros(200, 1, SIZE, SIZE, dtype=torch.uint8)
    pixels[..., SIZE // 2 :] = 255
    split = ImageSplit(pixels, torch.zeros(200, dtype=torch.int64))
    dataset = Dataset("halves", 10, split, few_digits.valid, few_digits.test)
    seen = []

    class Watching(Baseline):
        def loss(self, network, batch):
            seen.append(batch.images)
            return super().loss(network, batch)

    monkeypatch.setitem(METHODS, "baseline", Watching)
    config = make_config({"method": "baseline", "flip": True, "epochs": 1})
    run(tmp_path / "run", dataset, config)
    shown = torch.cat(seen)
    flipped = shown[..., : SIZE // 2].mean((1, 2, 3))
    assert set(flipped.tolist()) == {0.0, 1.0}
    assert torch.equal(flipped, 1 - shown[..., SIZE // 2 :].mean((1, 2, 3)))
    assert 70 <= flipped.sum() <= 130

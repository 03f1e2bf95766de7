import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from winnrobust.models import build
from winnrobust.models.checkpoint import (
    HEADER,
    ModelInfo,
    load_cascades,
    load_model,
    save_model,
    write_tensors,
)
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.randomness import stream

INFO = ModelInfo("vanilla", 1, 28, 10, "mnist5k", "winn", 0, 3, 0.04)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, build("vanilla", 1, 28, 10, stream(0, "weights")), INFO)
    return path


def refused(path) -> str:
    with pytest.raises(InputError) as error:
        load_model(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


def rewrite(path, tensors=None, **header):
    """Write a model file like ours, with some header fields changed (None removes one)."""
    network = build("vanilla", 1, 28, 10, stream(0, "weights"))
    fields = {"kind": "model", **vars(INFO), **header}
    kept = {name: value for name, value in fields.items() if value is not None}
    write_tensors(path, tensors or network.state_dict(), kept)


def test_a_model_comes_back_bit_for_bit(saved):
    original = build("vanilla", 1, 28, 10, stream(0, "weights"))
    network, info = load_model(saved)
    assert info == INFO
    assert not network.training
    for name, value in original.state_dict().items():
        assert torch.equal(value, network.state_dict()[name])


def test_channels_last_weights_are_stored_like_any_others(saved, tmp_path):
    network = load_model(saved)[0].to(memory_format=torch.channels_last)
    save_model(tmp_path / "again.safetensors", network, INFO)
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_named(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    assert "may be truncated or corrupt" in refused(saved)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert "does not exist" in refused(tmp_path / "none.safetensors")
    assert "not a file" in refused(tmp_path)


def test_a_pickle_is_refused_unread(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(1)}, path)
    assert "not a whole safetensors file" in refused(path)


def test_a_foreign_safetensors_file_is_named(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "not a winnrobust model" in refused(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={HEADER: "[1"})
    refused(path)
    save_file({"weight": torch.zeros(3)}, path, metadata={HEADER: json.dumps([1])})
    assert "not a winnrobust model" in refused(path)


def test_training_state_is_not_a_model(tmp_path):
    path = tmp_path / "last.safetensors"
    write_tensors(path, {"weight": torch.zeros(3)}, {"kind": "training state"})
    assert "not a winnrobust model" in refused(path)


def test_an_unknown_architecture_is_named_with_the_known(saved):
    rewrite(saved, arch="transformer")
    assert "unknown architecture 'transformer'; known are vanilla, resnet32" in refused(saved)


def test_wrong_shapes_are_named(saved):
    rewrite(saved, num_classes=7)
    assert "tensor 'classifier.bias' has shape (10,), vanilla" in refused(saved)
    rewrite(saved, arch="resnet32")
    assert "tensor 'classifier.weight' has shape (10, 256), resnet32" in refused(saved)


@pytest.mark.parametrize(
    "header", [{"image_size": 10**9}, {"num_classes": 0}, {"in_channels": "1"}]
)
def test_impossible_sizes_are_refused_before_anything_is_allocated(saved, header):
    rewrite(saved, **header)
    assert "impossible image or class sizes" in refused(saved)


@pytest.mark.parametrize("header", [{"epoch": None}, {"surprise": 1}])
def test_missing_and_extra_header_fields_are_refused(saved, header):
    rewrite(saved, **header)
    assert "lacks or adds fields" in refused(saved)


@pytest.mark.parametrize(
    "header",
    [
        {"arch": []}, {"arch": {}}, {"dataset": 7}, {"method": []}, {"seed": "0"}, {"seed": 2**64},
        {"epoch": []}, {"epoch": 1.5}, {"epoch": True}, {"valid_error": []}, {"valid_error": "low"},
        {"valid_error": float("nan")}, {"width": []}, {"width": float("inf")}, {"arch": "\ud800"},
        {"cascades": [], "thresholds": {}},
    ],
)  # fmt: skip
def test_fields_of_the_wrong_kind_are_refused(saved, header):
    rewrite(saved, **header)
    refused(saved)


@pytest.mark.parametrize("header", ["[" * 100_000, '{"kind": ' + "9" * 5000 + "}", "{", "NaN"])
def test_a_header_that_nothing_could_use_is_refused(saved, header):
    save_file({"weight": torch.zeros(3)}, saved, metadata={HEADER: header})
    assert "the header of" in refused(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved, value):
    network = build("vanilla", 1, 28, 10, stream(0, "weights"))
    with torch.no_grad():
        network.features[0].weight[0, 0, 0, 0] = value
    save_model(saved, network, INFO)
    assert "'features.0.weight' is not float32 or has NaN or infinite values" in refused(saved)


def test_all_cascades_of_a_file_come_back_in_order(tmp_path):
    path = tmp_path / "model.safetensors"
    networks = [build("vanilla", 1, 28, 10, stream(seed, "weights")) for seed in range(3)]
    info = replace(INFO, cascades=3, thresholds=((0.0, 1.0), (1.0, 2.0), (-3.0, -3.0)))
    save_model(path, networks[2], info, networks[:2])
    loaded, found = load_cascades(path)
    assert found == info
    for network, again in zip(networks, loaded, strict=True):
        assert torch.equal(network.features[3].weight, again.features[3].weight)
    assert torch.equal(load_model(path)[0].critic.weight, networks[2].critic.weight)


@pytest.mark.parametrize(
    "header",
    [
        {"cascades": 0},
        {"cascades": 10**9},
        {"cascades": "2"},
        {"cascades": 2},  # with the tensors of one
        {"thresholds": [[1.0]]},
        {"thresholds": [[2.0, 1.0]]},
        {"thresholds": [[0.0, 1.0], [0.0, 1.0]]},
        {"thresholds": "high"},
        {"thresholds": [[None, 1.0]]},
    ],
)
def test_impossible_cascades_and_thresholds_are_refused(saved, header):
    rewrite(saved, **header)
    refused(saved)

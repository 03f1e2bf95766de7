"""ONNX files, which give answers and no gradients."""

import builtins
import contextlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from winnrobust.attacks import loss_gradient
from winnrobust.external import files_of, load_module
from winnrobust.runtime.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DTYPES = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}


def dense_onnx(path, batch, channels=1, inputs=1, kind=onnx.TensorProto.FLOAT):
    """Write a linear classifier of 2x2 images; returns its weights (channels * 4, 3)."""
    weights = np.random.default_rng(0).normal(size=(channels * 4, 3)).astype(np.float32)
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["images"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "dense",
        [
            helper.make_tensor_value_info("images", kind, [batch, channels, 2, 2]),
            *(
                helper.make_tensor_value_info(f"more{number}", kind, [1])
                for number in range(1, inputs)
            ),
        ],
        [helper.make_tensor_value_info("logits", kind, [batch, 3])],
        [onnx.numpy_helper.from_array(weights.astype(DTYPES[kind]), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return torch.from_numpy(weights)


@pytest.mark.parametrize("batch", ["N", 1, 3, 8])
@pytest.mark.parametrize("kind", [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE])
def test_logits_are_those_of_the_graph(tmp_path, batch, kind):
    weights = dense_onnx(tmp_path / "dense.onnx", batch, kind=kind)
    images = torch.rand(5, 1, 2, 2)
    logits = load_module(str(tmp_path / "dense.onnx"))(images)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, images.flatten(1) @ weights)


def test_an_exporters_file_gives_the_logits_of_the_network(tmp_path, network, images):
    pytest.importorskip("onnxscript")
    torch.onnx.export(
        network, (images[:2],), tmp_path / "net.onnx", dynamo=True, external_data=True,
        verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    module = load_module(str(tmp_path / "net.onnx"))
    torch.testing.assert_close(module(images), network(images), rtol=1e-4, atol=1e-5)
    beside = tmp_path / "net.onnx.data"
    assert files_of(str(tmp_path / "net.onnx")) == [tmp_path / "net.onnx", beside]


def test_there_is_no_gradient(tmp_path):
    dense_onnx(tmp_path / "dense.onnx", "N")
    module = load_module(str(tmp_path / "dense.onnx"))
    with pytest.raises(InputError, match="no gradient"):
        loss_gradient(module, torch.rand(2, 1, 2, 2), torch.tensor([0, 1]))


def test_it_says_which_images_it_takes(tmp_path):
    dense_onnx(tmp_path / "dense.onnx", "N", channels=3)
    with pytest.raises(InputError, match="it takes images of 3x2x2; these are 1x28x28"):
        load_module(str(tmp_path / "dense.onnx"))(torch.zeros(1, 1, 28, 28))


def test_what_is_no_classifier_of_images_is_refused(tmp_path):
    dense_onnx(tmp_path / "two.onnx", "N", inputs=2)
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"images: tensor\(float\) .*must take images .* alone"):
        load_module(str(tmp_path / "two.onnx"))
    with pytest.raises(InputError, match="is not a model that onnxruntime can use"):
        load_module(str(tmp_path / "junk.onnx"))


@given(
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=5)
)
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_file_with_some_bytes_changed_is_loaded_or_refused(tmp_path, capfd, changes):
    dense_onnx(tmp_path / "dense.onnx", "N")
    content = bytearray((tmp_path / "dense.onnx").read_bytes())
    for place, byte in changes:
        content[place % len(content)] = byte
    (tmp_path / "dense.onnx").write_bytes(bytes(content))
    with contextlib.suppress(InputError):
        load_module(str(tmp_path / "dense.onnx"))
    assert capfd.readouterr().out == ""


def test_a_missing_onnxruntime_is_named(tmp_path, monkeypatch):
    dense_onnx(tmp_path / "dense.onnx", "N")
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'winnrobust\[onnx\]'"):
        load_module(str(tmp_path / "dense.onnx"))

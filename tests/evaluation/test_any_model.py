"""Models of every kind that people have: their dtype, what they return, what is inside them."""

import warnings

import pytest
import torch
from torch import nn

from winnrobust import evaluate
from winnrobust.attacks import is_compiled, logits, loss_gradient
from winnrobust.evaluation.state import frozen
from winnrobust.runtime.errors import InputError

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def squares(n=24):
    """Grey squares from dark to bright (n, 1, 4, 4), the bright half of class 1."""
    values = torch.linspace(0.05, 0.95, n)
    return values.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), (values > 0.5).long()


class Bright(nn.Module):
    """Tells dark squares from bright ones; what it returns is up to `shape`."""

    def __init__(self, shape=lambda scores: scores, border=0.5):
        super().__init__()
        self.shape = shape
        self.border = nn.Parameter(torch.tensor(border))

    def forward(self, images):
        score = 20 * (images.mean((1, 2, 3)) - self.border)
        return self.shape(torch.stack([-score, score], 1))


def errors(model, attacks=("fgsm", "pgd", "square"), epsilon=0.1, **settings):
    """How often the model errs on its own examples, by attack."""
    images, labels = squares()
    found = evaluate({"net": model}, images, labels, attacks, [epsilon], queries=20, **settings)
    table = found.transfer
    assert set(table.clean_errors_source) == {0}
    return dict(zip(table.attack, table.source_errors, strict=True))


@pytest.fixture(scope="module")
def usual():
    found = errors(Bright())
    assert 0 < found["fgsm"] < 24
    return found


@pytest.mark.parametrize(
    "shape",
    [
        lambda scores: {"logits": scores, "features": scores * 2},
        lambda scores: (scores,),
        lambda scores: [scores],
        lambda scores: 2 * scores[:, 1],
        lambda scores: 2 * scores[:, 1:],
    ],
    ids=["dict", "tuple", "list", "one logit", "one logit in a row"],
)
def test_logits_are_found_where_it_is_clear_which_they_are(usual, shape):
    assert errors(Bright(shape)) == usual


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (lambda x: {"out": x, "aux": x}, "returns a dict of out, aux; say .* with --output out"),
        (lambda x: (x, x), "returns a tuple of 0, 1; say .* --output 0, or in Python"),
    ],
)
def test_else_one_line_lists_the_parts(shape, message):
    with pytest.raises(InputError, match=message):
        errors(Bright(shape))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_model_is_asked_in_its_own_dtype(usual, dtype):
    seen = set()

    def shape(scores):
        seen.add(scores.dtype)
        return scores

    assert errors(Bright(shape).to(dtype)) == pytest.approx(usual, abs=2)
    assert seen == {dtype}


class Autocast(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(16, 2)
        with torch.no_grad():
            self.dense.weight.copy_(torch.tensor([[-1.25], [1.25]]).expand(2, 16))
            self.dense.bias.copy_(torch.tensor([10.0, -10.0]))
        self.seen = set()

    def forward(self, images):
        with torch.autocast("cpu", torch.bfloat16):
            found = self.dense(images.flatten(1))
        self.seen.add(found.dtype)
        return found


def test_autocast_stays_as_the_model_has_it(usual):
    model = Autocast()
    assert errors(model) == pytest.approx(usual, abs=2)
    assert model.seen == {torch.bfloat16}


def test_a_compiled_model_is_given_few_sizes(usual):
    sizes = []

    def backend(graph, inputs):
        sizes.append(1)
        return graph.forward

    model = torch.compile(Bright(), backend=backend)
    assert is_compiled(model)
    assert not is_compiled(Bright())
    assert errors(model, batch_size=24) == usual
    # With and without a gradient, of one size and then of any.
    assert len(sizes) <= 4


def test_padding_changes_neither_logits_nor_gradients():
    images, labels = squares(5)
    images = images + 0.01 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    plain, compiled = Bright(), torch.compile(Bright(), backend="eager")
    expected, found = (loss_gradient(each, images, labels) for each in (plain, compiled))
    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.gradient, expected.gradient)
    assert logits(compiled, images).shape == (5, 2)


def test_a_model_compiled_in_place_is_one(usual):
    model = Bright()
    model.compile(backend="eager")
    assert is_compiled(nn.Sequential(model))
    assert errors(model) == usual


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.quantization import quantize_dynamic

        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        with torch.no_grad():
            net[1].weight.copy_(torch.tensor([[-1.25], [1.25]]).expand(2, 16))
            net[1].bias.copy_(torch.tensor([10.0, -10.0]))
        return quantize_dynamic(net, {nn.Linear}, torch.qint8)


def test_a_quantized_model_is_attacked_by_its_answers(usual):
    assert errors(quantized(), ["square"])["square"] == pytest.approx(usual["square"], abs=2)
    with pytest.raises(InputError, match="no gradient to follow"):
        errors(quantized(), ["fgsm"])


def test_a_model_spread_over_gpus_is_asked_as_it_is(usual):
    assert errors(nn.DataParallel(Bright())) == usual


class Recurrent(nn.Module):
    """Reads the rows of an image one after the other; in training it would drop most of them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.lstm = nn.LSTM(4, 8, num_layers=2, dropout=0.9, batch_first=True)
        self.dense = nn.Linear(8, 2)

    def forward(self, images):
        return self.dense(self.lstm(images.flatten(1, 2))[0][:, -1])


class Unregistered(nn.Module):
    """Keeps a tensor that `to` does not move."""

    def __init__(self):
        super().__init__()
        self.border = torch.tensor(0.5)
        self.dense = nn.Linear(16, 2)

    def forward(self, images):
        return self.dense((images - self.border).flatten(1))


@CUDA
@pytest.mark.parametrize(
    ("plain", "wrap"),
    [(Recurrent, nn.Identity), (Unregistered, nn.Identity), (Recurrent, nn.DataParallel)],
)
def test_on_a_gpu_it_has_the_gradients_of_the_cpu(plain, wrap):
    net = plain().eval()
    images, labels = squares()
    expected = loss_gradient(net, images, labels).gradient
    model = net if wrap is nn.Identity else wrap(net).eval()  # which puts it on the only GPU
    place = torch.device("cuda", 0)
    with frozen([model], place):
        found = loss_gradient(model, images.to(place), labels.to(place)).gradient.cpu()
    # cuDNN's LSTM multiplies in TF32.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-2 * float(expected.abs().max()))
    assert all(not each.training for each in model.modules())
    assert {getattr(each, "dropout", 0.9) for each in model.modules()} == {0.9}
    evaluate({"net": model}, images, labels, ["pgd"], [0.1], device="cuda")
    again = loss_gradient(net.cpu(), images, labels).gradient
    torch.testing.assert_close(again, expected)


def test_what_is_not_registered_goes_along_and_comes_back():
    model = Unregistered()
    border, weight = model.border, model.dense.weight.data_ptr()
    with frozen([model], torch.device("meta")):  # another device, which every machine has
        assert model.border.is_meta
        assert model.dense.weight.is_meta
    assert model.border is border
    assert model.dense.weight.data_ptr() == weight


def test_recurrent_layers_answer_in_training_mode_as_in_the_other(monkeypatch):
    model = Recurrent().eval()
    images, labels = squares()
    expected = loss_gradient(model, images, labels)
    # As cuDNN needs it.
    monkeypatch.setattr("winnrobust.evaluation.state.device_of", lambda _: torch.device("cuda"))
    with frozen([model], None):
        assert model.lstm.training
        assert not model.training
        found = loss_gradient(model, images, labels)
    torch.testing.assert_close(found.gradient, expected.gradient)
    assert (model.lstm.training, model.lstm.dropout) == (False, 0.9)


@CUDA
def test_data_parallel_on_the_cpu_says_what_to_do():
    images, labels = squares()
    model = nn.DataParallel(Recurrent().cuda())
    with pytest.raises(InputError, match=r"wrapped in DataParallel: give its \.module"):
        evaluate({"net": model}, images, labels, ["fgsm"], [0.1], device="cpu")

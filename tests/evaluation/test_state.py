"""Modules come back exactly as they were lent."""

import pandas as pd
import pytest
import torch
from torch import nn

from tests.evaluation.tiny import evaluation
from winnrobust.evaluation import evaluate
from winnrobust.evaluation.state import channels_last, frozen
from winnrobust.runtime.errors import InputError


class Net(nn.Module):
    """A net whose state is a muddle on purpose: modes, flags, a gradient, a shared weight."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 8)
        self.tail = nn.Linear(8, 8)
        self.tail.weight = self.head.weight
        self.train()
        self.norm.eval()
        self.head.bias.requires_grad_(False)
        self.conv.weight.grad = torch.full_like(self.conv.weight, 7.0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        hidden = self.drop(self.norm(self.conv(images))).flatten(1)
        return self.tail(self.head(hidden))


def state_of(model: nn.Module) -> list[object]:
    """Everything that must come back: objects, their memory, bits, modes, flags and gradients."""
    state: list[object] = []
    for name, module in model.named_modules():
        state.append((name, module.training))
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        gradient = None
        if tensor.grad is not None:
            gradient = (id(tensor.grad), tensor.grad.data_ptr(), tensor.grad.tolist())
        state.append((name, id(tensor), tensor.data_ptr(), tensor.device, tensor.requires_grad))
        state.append((name, tensor.tolist(), tensor.stride(), gradient))
    return state


IMAGES = torch.rand(7, 1, 4, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(7)


def test_evaluation_leaves_the_module_as_it_was():
    model = Net()
    before = state_of(model)
    evaluation({"net": model, "again": model}, IMAGES, LABELS, batch_size=3)
    assert state_of(model) == before


def test_inside_nothing_trains():
    seen = []
    model = Net()
    model.register_forward_hook(
        lambda module, *_: seen.append(
            (
                any(part.training for part in module.modules()),
                any(parameter.requires_grad for parameter in module.parameters()),
            )
        )
    )
    evaluation({"net": model}, IMAGES, LABELS)
    assert set(seen) == {(False, False)}


@pytest.mark.parametrize("fails_at", [0, 3, 9, 10], ids=["probe", "draws", "attack", "judging"])
def test_state_comes_back_after_an_exception(fails_at):
    class Fails(Net):
        calls = 0

        def forward(self, images):
            self.calls += 1
            if self.calls == fails_at + 1:
                raise KeyboardInterrupt
            return super().forward(images)

    healthy, failing = Net(), Fails()
    before = state_of(healthy), state_of(failing)
    with pytest.raises(KeyboardInterrupt):
        evaluation({"healthy": healthy, "failing": failing}, IMAGES, LABELS)
    assert (state_of(healthy), state_of(failing)) == before


def test_state_comes_back_after_an_input_error():
    model = Net()
    before = state_of(model)
    with pytest.raises(InputError):
        evaluation({"net": model}, torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64))
    assert state_of(model) == before


def test_a_failing_progress_callback_does_no_harm():
    def fail(done: int, total: int) -> None:
        raise RuntimeError(f"{done} of {total}")

    model = Net()
    before = state_of(model)
    with pytest.raises(RuntimeError, match="3 of 7"):
        evaluation({"net": model}, IMAGES, LABELS, batch_size=3, progress=fail)
    assert state_of(model) == before


@pytest.mark.parametrize(
    "device",
    [
        "meta",
        pytest.param(
            "cuda",
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ),
    ],
)
def test_modules_come_back_from_another_device(device):
    # "meta" holds no data at all: what comes back can only be the original memory.
    model = Net()
    before = state_of(model)
    with frozen([model, model], torch.device(device)):
        assert {tensor.device.type for tensor in model.state_dict().values()} == {device}
    assert state_of(model) == before


def test_the_callers_tensors_and_random_state_are_untouched():
    model = Net()
    images, labels = IMAGES.clone().requires_grad_(True), LABELS.clone()
    random_state = torch.get_rng_state()
    result = evaluation({"net": model}, images, labels, linf=[0.0, 0.5])
    assert torch.equal(torch.get_rng_state(), random_state)
    result.examples.images[:] = 9
    result.examples.labels[:] = 9
    assert torch.equal(images, IMAGES)
    assert images.grad is None
    assert images.requires_grad
    assert torch.equal(labels, LABELS)


class Counter(nn.Module):
    """Counts its calls in a buffer and works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.head = nn.Linear(16, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.head(images.sub_(0.5).flatten(1))


def test_a_module_that_works_in_place_changes_nothing_of_the_caller():
    model, images = Counter(), IMAGES.clone()
    table = evaluate({"net": model, "again": model}, images, LABELS, ["fgsm", "pgd"])
    assert torch.equal(images, IMAGES)
    assert model.calls == 0
    assert table.clean_errors_source.nunique() == 1


def test_a_frozen_script_module_can_be_evaluated():
    model = Net().eval()
    frozen_model = torch.jit.freeze(torch.jit.script(model))
    found = evaluate({"net": frozen_model}, IMAGES, LABELS)
    pd.testing.assert_frame_equal(found, evaluate({"net": model}, IMAGES, LABELS))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(mode):
    model = Net()
    before = state_of(model)
    expected = evaluate({"net": model}, IMAGES, LABELS)
    with mode():
        found = evaluate({"net": model}, IMAGES * 1, LABELS * 1)
    assert found.equals(expected)
    assert state_of(model) == before


# --- channels last ------------------------------------------------------------------------------

COLORED = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(6) % 4


class Flattening(nn.Module):
    def __init__(self, flatten) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4 * 8 * 8, 4)
        self.flatten = flatten

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.flatten(torch.relu(self.conv(images))))


def is_channels_last(model: Flattening) -> bool:
    return model.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_convolutions_are_turned():
    model = Flattening(lambda x: x.flatten(1)).eval()
    before = model(COLORED)
    with channels_last([model], COLORED, CLASSES):
        assert is_channels_last(model)
        torch.testing.assert_close(model(COLORED), before)
    assert not is_channels_last(model)


@pytest.mark.parametrize(
    "flatten",
    [
        lambda x: x.view(len(x), -1),  # raises where the memory is not in order
        lambda x: torch.as_strided(x, (len(x), 256), (256, 1)),  # reads it in the wrong order
    ],
    ids=["fails", "answers differently"],
)
def test_a_model_that_cannot_take_it_stays_as_it_is(flatten):
    model = Flattening(flatten).eval()
    before = model(COLORED)
    with channels_last([model], COLORED, CLASSES):
        assert not is_channels_last(model)
        assert torch.equal(model(COLORED), before)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)], ids=["first", "last"])
def test_one_that_cannot_take_it_speaks_for_all_that_share_its_convolutions(order):
    model = Flattening(lambda x: x.flatten(1)).eval()
    other = Flattening(lambda x: x.view(len(x), -1)).eval()
    other.conv = model.conv
    with channels_last([model, other][order], COLORED, CLASSES):
        assert not is_channels_last(model)
        other(COLORED)


def test_evaluation_gives_the_layout_back():
    model = Flattening(lambda x: x.flatten(1))
    evaluate({"net": model}, COLORED, CLASSES)
    assert not is_channels_last(model)

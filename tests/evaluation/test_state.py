"""Modules come back exactly as they were lent."""

import pandas as pd
import pytest
import torch
from torch import nn

from winnrobust.evaluation import run
from winnrobust.evaluation.state import frozen
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
    run({"net": model, "again": model}, IMAGES, LABELS, batch_size=3)
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
    run({"net": model}, IMAGES, LABELS)
    assert set(seen) == {(False, False)}


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3], ids=["probe", "clean", "attack", "judging"])
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
        run({"healthy": healthy, "failing": failing}, IMAGES, LABELS)
    assert (state_of(healthy), state_of(failing)) == before


def test_state_comes_back_after_an_input_error():
    model = Net()
    before = state_of(model)
    with pytest.raises(InputError):
        run({"net": model}, torch.rand(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64))
    assert state_of(model) == before


def test_a_failing_progress_callback_does_no_harm():
    def fail(done: int, total: int) -> None:
        raise RuntimeError(f"{done} of {total}")

    model = Net()
    before = state_of(model)
    with pytest.raises(RuntimeError, match="3 of 7"):
        run({"net": model}, IMAGES, LABELS, batch_size=3, progress=fail)
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
    result = run({"net": model}, images, labels, epsilons=[0.0, 0.5])
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
    table = run({"net": model, "again": model}, images, LABELS, ["fgsm", "pgd"]).table
    assert torch.equal(images, IMAGES)
    assert model.calls == 0
    assert table.clean_errors_source.nunique() == 1


def test_a_frozen_script_module_can_be_evaluated():
    model = Net().eval()
    frozen_model = torch.jit.freeze(torch.jit.script(model))
    found = run({"net": frozen_model}, IMAGES, LABELS).table
    pd.testing.assert_frame_equal(found, run({"net": model}, IMAGES, LABELS).table)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_does_not_matter(mode):
    model = Net()
    before = state_of(model)
    expected = run({"net": model}, IMAGES, LABELS).table
    with mode():
        found = run({"net": model}, IMAGES * 1, LABELS * 1).table
    assert found.equals(expected)
    assert state_of(model) == before

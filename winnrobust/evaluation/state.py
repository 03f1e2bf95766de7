"""Borrowing a caller's modules and giving them back as they were."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from winnrobust.attacks import is_compiled, loss_gradient
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.randomness import stream

TOLERANCE = 1e-3
"""How far answers may move, relative to their size; float32 sums in another order."""


@contextmanager
def frozen(models: Iterable[nn.Module], device: torch.device | None) -> Iterator[None]:
    """Hold modules in eval mode, without parameter gradients and on `device`, for a `with` block.

    Afterwards, whatever happened, every submodule has its own mode again, every parameter its
    `requires_grad` and its `grad`, and every tensor its place.

    Args:
        models: any modules; the same one may appear twice.
        device: where to hold them; None leaves each where it is.
    """
    with ExitStack() as stack:
        for model in models:
            # A frozen ScriptModule has no mode any more.
            for module in filter(lambda module: hasattr(module, "training"), model.modules()):
                # The attribute, not train(): that would carry one mode to all children.
                stack.callback(setattr, module, "training", module.training)
            for parameter in model.parameters():
                stack.callback(parameter.requires_grad_, parameter.requires_grad)
            stack.enter_context(_memory(model))
            if device is not None:
                with torch.inference_mode(False):
                    model.to(device)
                    stack.enter_context(_plain_tensors(model, device))
            if hasattr(model, "training"):
                model.eval()
            stack.enter_context(_differentiable_rnns(model))
            # Not Module.requires_grad_, which a ScriptModule refuses.
            for parameter in model.parameters():
                parameter.requires_grad_(False)
        yield


@contextmanager
def _plain_tensors(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Hold on `device` what modules keep as attributes without registering it: `to` leaves it."""
    moved = [
        (module, name, value)
        for module in model.modules()
        for name, value in getattr(module, "__dict__", {}).items()
        if isinstance(value, Tensor) and value.device != device and not value.is_meta
    ]
    for module, name, value in moved:
        setattr(module, name, value.to(device))
    try:
        yield
    finally:
        for module, name, value in moved:
            setattr(module, name, value)


@contextmanager
def _differentiable_rnns(model: nn.Module) -> Iterator[None]:
    """Hold recurrent layers on CUDA in training mode, in which alone cuDNN has their gradient.

    That mode differs from the other by its dropout alone, which is set to 0.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, nn.RNNBase)]
    layers = [layer for layer in layers if device_of(layer).type == "cuda"]
    dropouts = [layer.dropout for layer in layers]
    for layer in layers:
        layer.training, layer.dropout = True, 0.0
    try:
        yield
    finally:
        for layer, dropout in zip(layers, dropouts, strict=True):
            layer.dropout = dropout


@contextmanager
def _memory(model: nn.Module) -> Iterator[None]:
    """Put a model's original tensors back at the end, buffers with the values they had.

    `Module.to` swaps the memory of parameters and their gradients and replaces buffers. Keeping
    the originals brings back the very same memory, whatever devices a module is spread over.
    """
    attributes = [
        (module, name, tensor)
        for module in model.modules()
        for named in (module.named_parameters, module.named_buffers)
        for name, tensor in named(recurse=False, remove_duplicate=False)
    ]
    parameters = list(model.parameters())
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    memory = [(tensor, tensor.data) for tensor in (*parameters, *gradients)]
    values = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        yield
    finally:
        for module, name, original in attributes:
            if getattr(module, name) is not original:
                setattr(module, name, original)
        for tensor, data in memory:
            tensor.data = data
        with torch.no_grad():
            for buffer, value in values:
                if not buffer.is_meta and not torch.equal(buffer, value):
                    buffer.copy_(value)


# --- random numbers ---------------------------------------------------------------------------


def devices_of(models: Mapping[str, nn.Module]) -> set[torch.device]:
    """Return where the models are."""
    return {device_of(model) for model in models.values()}


@contextmanager
def own_randomness(devices: Iterable[torch.device], seed: int, *names: str | int) -> Iterator[None]:
    """Let what models draw from torch's global generators depend on a seed and names alone.

    Afterwards the generators are as they were.
    """
    with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
        torch.manual_seed(stream(seed, *names).initial_seed())
        yield


# --- the order of pixels in memory ------------------------------------------------------------


@contextmanager
def channels_last(models: Collection[nn.Module], images: Tensor, labels: Tensor) -> Iterator[None]:
    """Turn those models that are on a CPU to channels last, for a `with` block: it is faster there.

    A module that reads its convolutions' results as one block of memory (`view`) cannot take that.
    So it is tried, and undone where a model fails or answers differently.

    Args:
        models: held by `frozen`. Those that share modules must all be among them.
        images: (N, C, H, W) in [0, 1], a few to try it on.
        labels: (N,) int64.
    """
    with ExitStack() as stack:
        for model in models:
            has_images = any(parameter.ndim == 4 for parameter in model.parameters())
            if device_of(model).type != "cpu" or not has_images or is_compiled(model):
                continue
            own = set(model.modules())
            concerned = [other for other in models if not own.isdisjoint(other.modules())]
            if _works_channels_last(model, concerned, images, labels):
                stack.callback(_turn, model, torch.contiguous_format)
            else:
                _turn(model, torch.contiguous_format)
        yield


def _turn(model: nn.Module, order: torch.memory_format) -> None:
    with torch.inference_mode(False):  # tensors made in inference mode can carry no gradient
        model.to(memory_format=order)


def _works_channels_last(
    model: nn.Module, concerned: Collection[nn.Module], images: Tensor, labels: Tensor
) -> bool:
    """Turn a model and tell whether all concerned answer as before; if not, it is to be undone."""
    try:
        before = [loss_gradient(each, images, labels) for each in concerned]
        _turn(model, torch.channels_last)
        after = [loss_gradient(each, images, labels) for each in concerned]
    except Exception:  # anyone's module may raise anything; the attack will say what is wrong
        return False
    return all(
        torch.allclose(new.logits, old.logits, rtol=TOLERANCE, atol=TOLERANCE)
        and torch.allclose(
            new.gradient, old.gradient, rtol=0, atol=TOLERANCE * float(old.gradient.abs().max())
        )
        for old, new in zip(before, after, strict=True)
    )

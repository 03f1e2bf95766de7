"""BPDA: the answers of a model, with the gradient of a way around the parts that hide it.

Athalye, Carlini, Wagner: Obfuscated Gradients Give a False Sense of Security, ICML 2018, section
4.1: go forward through a layer as it is, and backward as through the identity. Here any attack may
do so: "bpda:front:pgd" is PGD with the layer `front` passed straight through, and "bpda:auto:pgd"
finds by itself what to pass.
"""

import inspect
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from winnrobust.attacks.base import Attack, AttackResult, Run
from winnrobust.attacks.gradients import (
    at_least_float32,
    dtype_of,
    logits_of,
    two_logits,
)
from winnrobust.runtime.errors import InputError

PREFIX = "bpda:"
AUTO = "auto"
"""Instead of a layer's name: find out what hides the gradient."""

LISTED = 20
"""So many layers are named where a wrong one was."""

AGREE = 0.5
"""A layer gives the model's answer if it sees the same class in more than this share of images."""


def through(module: str, attack: Attack) -> Attack:
    """Return an attack that passes straight through a layer of the model under attack.

    Args:
        module: the layer's name in `model.named_modules()`; its output has its input's shape. Or
            `AUTO`.
        attack: any that follows gradients.

    Raises:
        InputError: it follows none.

    >>> from winnrobust.attacks import PGD
    >>> through("auto", PGD).name
    'bpda:auto:pgd'
    """
    if attack.access != "white-box":
        raise InputError(f"'{attack.name}' follows no gradient that could pass through a layer")
    return replace(
        attack,
        name=f"{PREFIX}{module}:{attack.name}",
        summary=f"{attack.summary} Gradients pass straight through '{module}' (BPDA).",
        source=f"Athalye, Carlini, Wagner 2018, arXiv:1802.00420; {attack.source}",
        function=Around(attack.function, module),
        single_step=False,  # its gradient at the images is another one than the shared
    )


@dataclass(frozen=True)
class Around:
    """An attack's function, for a model whose gradient passes straight through a module."""

    function: Callable[..., AttackResult]
    module: str

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, *, run: Run, **settings: Any
    ) -> AttackResult:
        around = straight_through(model, images, self.module)
        return self.function(around, images, labels, run=replace(run, clean=None), **settings)

    @property
    def __signature__(self) -> inspect.Signature:
        """The function's own: it tells which settings there are."""
        return inspect.signature(self.function)


def layers(attacks: Iterable[Attack]) -> list[str]:
    """Return the layers, or `AUTO`, that gradients pass straight through in some attacks.

    >>> from winnrobust.attacks import PGD
    >>> layers([PGD, through("front", PGD)])
    ['front']
    """
    own = [each.name.split(":")[1] for each in attacks if each.name.startswith(PREFIX)]
    return list(dict.fromkeys(own))


def straight_through(model: nn.Module, images: Tensor, module: str = AUTO) -> "StraightThrough":
    """Return a model whose answers are the same and whose gradient passes straight through a layer.

    With `AUTO` the gradient (1) enters where images do: at modules that take something of the
    images' shape and give something else, whatever was done to the images before; (2) comes from
    the last module that gives the model's answer in logits, whatever is done to these; (3) passes
    straight through layers between that keep the shape and have no slope, and through rounding.

    Args:
        model: anything that returns logits.
        images: (N, C, H, W), on which is found out what is passed.

    Raises:
        InputError: there is no layer of that name.

    >>> rounding = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    >>> class Rounded(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.network = rounding
    ...     def forward(self, images):
    ...         return self.network((8 * images).round() / 8)
    >>> model = straight_through(Rounded(), torch.rand(3, 1, 2, 2))
    >>> model.entries, model.exits
    (['network.0', 'network'], ['network.1', 'network'])
    """
    if module == AUTO:
        return _found(model, images)
    if module not in dict(model.named_modules()):
        names = [name for name, _ in model.named_modules() if name]
        listed = ", ".join([*names[:LISTED], *["..."] * (len(names) > LISTED)])
        raise InputError(
            f"the model has no layer '{module}'; it has {listed or 'none'}, and '{AUTO}' finds one"
        )
    return StraightThrough(model, layers=[module])


class StraightThrough(nn.Module):
    """A model with other gradients.

    Args:
        model: whose answers these are.
        layers: names of modules that are passed straight through; they keep the shape.
        entries: names of modules at whose input the images' gradient is taken.
        exits: names of modules whose output, (N, K), the gradient comes from.
        rounding: whether rounding functions are passed straight through, too.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: list[str] | None = None,
        entries: list[str] | None = None,
        exits: list[str] | None = None,
        rounding: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.rounding = model, rounding
        self.layers, self.entries, self.exits = layers or [], entries or [], exits or []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K), whose largest is the model's."""
        if not torch.is_grad_enabled():
            return _answer(self.model, images)
        inside: list[Tensor] = []
        modules = dict(self.model.named_modules())
        with ExitStack() as stack:
            for name in self.layers:
                hook = modules[name].register_forward_hook(_pass_straight)
                stack.callback(hook.remove)
            for name in self.entries:
                before, after = _enter(images)
                for hook in (
                    modules[name].register_forward_pre_hook(before),
                    modules[name].register_forward_hook(after, always_call=True),
                ):
                    stack.callback(hook.remove)
            for name in self.exits:
                hook = modules[name].register_forward_hook(
                    lambda _module, _given, out: inside.append(at_least_float32(logits_of(out)))
                )
                stack.callback(hook.remove)
            if self.rounding:
                stack.enter_context(_StraightRounding())
            found = _answer(self.model, images)
        inside = [each for each in inside if each.shape == found.shape and each.requires_grad]
        return _with_gradient_of(found, torch.stack(inside).mean(0)) if inside else found


def _answer(model: nn.Module, images: Tensor) -> Tensor:
    # A copy in the model's own dtype, as `gradients` asks models.
    given = images.to(dtype_of(model, images), copy=True)
    return two_logits(at_least_float32(logits_of(model(given))), len(images))


def _with_gradient_of(found: Tensor, inside: Tensor) -> Tensor:
    """Return the logits inside, raised where the model's answer is another class than theirs."""
    answer = found.detach().argmax(1, keepdim=True)
    missing = inside.detach().amax(1, keepdim=True) - inside.detach().gather(1, answer)
    lifted = torch.where(missing > 0, missing * 1.01 + 1e-6, 0)
    return inside.scatter_add(1, answer, lifted)


def _straight(value: Tensor, slope: Tensor) -> Tensor:
    """Return a value (...) with the gradient of something of its shape."""
    return value.detach() + (slope - slope.detach())


def _pass_straight(_module: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
    first = given[0] if given else None
    if isinstance(first, Tensor) and isinstance(out, Tensor) and first.shape == out.shape:
        return _straight(out, first)
    raise InputError("only a layer whose output has the shape of its input can be passed through")


def _enter(images: Tensor) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return hooks for before and after a module that images go into."""
    enabled: list[bool] = []

    def before(_module: nn.Module, given: tuple[Any, ...]) -> Any:
        # Also under the model's own no_grad, which an attacker need not heed.
        enabled.append(torch.is_grad_enabled())
        torch.set_grad_enabled(True)
        if given and isinstance(given[0], Tensor) and given[0].shape == images.shape:
            return (_straight(given[0], images.to(given[0].dtype)), *given[1:])
        return None

    def after(*_: Any) -> None:
        torch.set_grad_enabled(enabled.pop())

    return before, after


class _StraightRounding(TorchFunctionMode):
    """Gives rounding the gradient of the identity."""

    ROUNDING = frozenset(
        function
        for name in ("round", "floor", "ceil", "trunc", "fix", "round_", "floor_", "ceil_", "sign")
        for function in (getattr(torch, name, None), getattr(Tensor, name, None))
        if function is not None
    )

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        first = args[0] if args else None
        if function in self.ROUNDING and isinstance(first, Tensor) and first.requires_grad:
            return _straight(out, first)
        return out


# --- what there is to be passed -----------------------------------------------------------------


def _found(model: nn.Module, images: Tensor) -> StraightThrough:
    """Look at what goes in and out of a model's modules, and choose."""
    calls: list[tuple[str, Tensor, Tensor]] = []

    def remember(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, given: tuple[Any, ...], out: Any) -> None:
            out = getattr(out, "logits", out)
            if given and isinstance(given[0], Tensor) and isinstance(out, Tensor):
                calls.append((name, given[0], out))

        return hook

    with ExitStack() as stack, torch.enable_grad():
        for name, module in model.named_modules():
            if name:
                stack.callback(module.register_forward_hook(remember(name)).remove)
        pixels = at_least_float32(images.detach()).clone().requires_grad_(True)
        answer = _answer(model, pixels)
        shape, predicted = images.shape, answer.argmax(1)
        entries = [name for name, given, out in calls if given.shape == shape != out.shape]
        exits = [
            name
            for name, given, out in calls
            if given.shape != out.shape == answer.shape
            and (out.argmax(1) == predicted).float().mean() > AGREE
        ]
        layers = [
            name
            for name, given, out in calls
            if given.shape == out.shape and given.is_floating_point() and _is_flat(given, out)
        ]
    layers, entries, exits = (list(dict.fromkeys(names)) for names in (layers, entries, exits))
    return StraightThrough(model, layers, entries, exits, rounding=True)


def _is_flat(given: Tensor, out: Tensor) -> bool:
    """Tell whether what a layer gives has no slope in what it gets."""
    if not given.requires_grad:
        return False
    if not out.requires_grad:
        return True
    (slope,) = torch.autograd.grad(out.sum(), given, retain_graph=True, allow_unused=True)
    return slope is None or not bool(slope.any())

"""What a model wants of its images: the range of their pixels, a mean and a deviation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from winnrobust.attacks.gradients import at_least_float32
from winnrobust.runtime.devices import device_of
from winnrobust.runtime.errors import InputError


@dataclass(frozen=True)
class Preprocessing:
    """From pixels in [0, 1] to what a model was trained on: first the range, then mean and std.

    Attributes:
        low, high: what 0 and 1 become.
        mean, std: one number, or one for each channel, in the units of that range; what comes out
            is (pixel - mean) / std.
    """

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def around(self, module: nn.Module) -> nn.Module:
        """Return a module in eval mode that takes [0, 1]; the same if there is nothing to do."""
        return module if self == Preprocessing() else Preprocessed(module, self).eval()


class Preprocessed(nn.Module):
    """A module with its preprocessing in front."""

    low: Tensor
    span: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, module: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.module = module
        low, high = preprocessing.low, preprocessing.high
        for name, values in (
            ("low", (low,)),
            ("span", (high - low,)),
            ("mean", preprocessing.mean),
            ("std", preprocessing.std),
        ):
            numbers = torch.tensor(values, dtype=torch.float32, device=device_of(module))
            self.register_buffer(name, numbers.view(-1, 1, 1))

    def forward(self, images: Tensor) -> object:
        """Return what the module says of images (N, C, H, W) in [0, 1]."""
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, images.shape[1]):
                raise InputError(
                    f"{what} has {len(values)} values, but the images have {images.shape[1]}"
                    " channels; give one for each, or one for all"
                )
        pixels = at_least_float32(images) * self.span + self.low
        return self.module(((pixels - self.mean) / self.std).to(images.dtype))

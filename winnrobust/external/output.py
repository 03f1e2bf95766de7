"""Models that return their logits beside other things."""

from collections.abc import Mapping

from torch import nn

from winnrobust.runtime.errors import InputError


class Output(nn.Module):
    """A module of whose answers one part are the logits."""

    def __init__(self, module: nn.Module, key: str) -> None:
        """Take a module that returns a dict, a tuple or list, or an object.

        Args:
            key: of the dict, number in the tuple or list, or name of the object's attribute.
        """
        super().__init__()
        self.module = module
        self.key = key

    def forward(self, images: object) -> object:
        """Return that part of what the module says of images (N, C, H, W).

        Raises:
            InputError: there is no such part.
        """
        found = self.module(images)
        if isinstance(found, Mapping):
            parts = {str(name): value for name, value in found.items()}
        elif isinstance(found, tuple | list):
            names = getattr(found, "_fields", range(len(found)))
            parts = {str(number): value for number, value in enumerate(found)}
            parts |= {str(name): value for name, value in zip(names, found, strict=True)}
        else:
            parts = {self.key: getattr(found, self.key)} if hasattr(found, self.key) else {}
        if self.key not in parts:
            raise InputError(
                f"output {self.key}: it returns {type(found).__name__}"
                + (f" with {', '.join(parts)}" if parts else "")
            )
        return parts[self.key]

"""Programs of torch.export, as `torch.export.save` writes them."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from winnrobust.external.batches import BatchSizes, answer, check_shape
from winnrobust.external.weights import weights_only
from winnrobust.runtime.errors import InputError, brief
from winnrobust.runtime.readers import quiet, reading

REFUSED = ("opaque_obj_", "data/aotinductor/")
"""Parts of an archive that are pickled objects or machine code."""


class Exported(nn.Module):
    """An exported program that takes any number of images."""

    def __init__(self, program: ExportedProgram) -> None:
        """Take a program with one input, images.

        Raises:
            InputError: it has another number of inputs.
        """
        super().__init__()
        self.shape, self.sizes = _declared(program)
        self.program = program.module()
        for module in self.modules():
            module.training = False  # the attribute, because a program refuses eval()

    def train(self, mode: bool = True) -> "Exported":
        """Do nothing: the mode was decided when the program was exported."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W)."""
        check_shape(images, self.shape)
        return answer(self.program, images, self.sizes)


def load_exported(path: Path) -> nn.Module:
    """Load a torch.export program on the device that it was exported on, normally the CPU.

    Raises:
        InputError: the file is no such program, of another version of PyTorch, or not one that
            maps images to logits.
    """
    _check_archive(path)
    try:
        with quiet(), weights_only():
            return Exported(torch.export.load(path))
    except InputError:
        raise
    except Exception as error:  # of a damaged or newer program nearly anything may come
        raise InputError(
            f"{path} cannot be loaded as a torch.export program by PyTorch {torch.__version__}"
            f" ({type(error).__name__}: {brief(error)}); export it again with this version"
        ) from error


def _check_archive(path: Path) -> None:
    with reading(path, "a whole torch.export archive"), zipfile.ZipFile(path) as archive:
        names = [name.lower() for name in archive.namelist()]
    if any(part in name for name in names for part in REFUSED):
        raise InputError(
            f"{path} has pickled objects or compiled code inside, which winnrobust never loads;"
            " export the plain program with torch.export.save"
        )


def _declared(program: ExportedProgram) -> tuple[list[int | None], BatchSizes]:
    """Return the images' (C, H, W), None for what may vary, and how many may come at once."""
    inputs = program.graph_signature.user_inputs
    if len(inputs) != 1:
        raise InputError(f"the program has {len(inputs)} inputs; it must take images alone")
    node = next(node for node in program.graph.nodes if node.name == inputs[0])
    count, *shape = node.meta["val"].shape
    sizes = BatchSizes(count, count) if isinstance(count, int) else _range(program, count)
    return [size if isinstance(size, int) else None for size in shape], sizes


def _range(program: ExportedProgram, count: Any) -> BatchSizes:
    """Return the range of a symbolic size; PyTorch's own lower bound is 0 or 2 for any size."""
    found = program.range_constraints.get(count.node.expr)
    if found is None:
        return BatchSizes()
    most = int(found.upper) if found.upper.is_Integer else None  # its infinity is no Integer
    return BatchSizes(max(int(found.lower), 1), most)

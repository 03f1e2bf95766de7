"""ONNX files, through onnxruntime: answers without gradients."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnrobust.external.batches import BatchSizes, answer, check_shape
from winnrobust.runtime.errors import InputError, brief

DTYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
"""onnxruntime's names of the types that can hold images."""

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class OnnxModel(nn.Module):
    """A session of onnxruntime as a module; its logits have no gradient."""

    def __init__(self, session: Any) -> None:
        """Take a session with one input, images; its first output is the logits.

        Raises:
            InputError: it has other inputs.
        """
        super().__init__()
        inputs = session.get_inputs()
        if len(inputs) != 1 or inputs[0].type not in DTYPES or len(inputs[0].shape) != 4:
            found = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
            raise InputError(f"its inputs are {found}; it must take images (N, C, H, W) alone")
        count, *shape = (size if isinstance(size, int) else None for size in inputs[0].shape)
        self.session = session
        self.input_name = inputs[0].name
        self.dtype = DTYPES[inputs[0].type]
        self.shape = shape
        self.sizes = BatchSizes() if count is None else BatchSizes(count, count)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images (N, C, H, W), on their device."""
        check_shape(images, self.shape)
        return answer(self._ask, images, self.sizes)

    def _ask(self, images: Tensor) -> Tensor:
        pixels = images.detach().cpu().numpy().astype(self.dtype)
        logits = self.session.run(None, {self.input_name: pixels})[0]
        return torch.from_numpy(np.asarray(logits, np.float32)).to(images.device)


def load_onnx(path: Path) -> nn.Module:
    """Open an ONNX file.

    Raises:
        InputError: onnxruntime is not installed, or cannot use the file.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{path} needs onnxruntime, which is not installed; pip install 'winnrobust[onnx]'"
        ) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # fatal; we say ourselves what is wrong
    options.intra_op_num_threads = torch.get_num_threads()
    available = [name for name in PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        return OnnxModel(
            onnxruntime.InferenceSession(
                path, options, providers=available, enable_fallback=len(available) > 1
            )
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception as error:  # onnxruntime's errors have no other class in common
        raise InputError(
            f"{path} is not a model that onnxruntime can use: {brief(error)}"
        ) from None

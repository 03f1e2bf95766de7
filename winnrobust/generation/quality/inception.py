"""The Inception score and FID themselves, by torch-fidelity, whose weights are downloaded once."""

import importlib

import torch
from torch import Tensor
from torch.utils.data import Dataset

from winnrobust.data.datasets import to_unit
from winnrobust.runtime.errors import InputError, brief


class _Pictures(Dataset):
    """Images as torch-fidelity takes them: (3, H, W) uint8."""

    def __init__(self, images: Tensor) -> None:
        self.images = (to_unit(images) * 255).round().to(torch.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> Tensor:
        return self.images[number].expand(3, -1, -1)


def inception_scores(samples: Tensor, real: Tensor, device: torch.device) -> dict[str, float]:
    """Compute the Inception score, in 10 consecutive parts, and FID.

    Args:
        samples, real: (N, C, H, W) in [0, 1], or uint8. The figures that are published are mostly
            of 50,000 samples.

    Returns:
        `inception_score`, `inception_score_sd` and `fid`.

    Raises:
        InputError: torch-fidelity is missing, or its weights cannot be fetched.
    """
    try:
        fidelity = importlib.import_module("torch_fidelity")
    except ImportError:
        raise InputError(
            "the Inception score needs torch-fidelity; pip install 'winnrobust[quality]', or leave"
            " out --inception"
        ) from None
    try:
        found = fidelity.calculate_metrics(
            input1=_Pictures(samples),
            input2=_Pictures(real),
            cuda=device.type == "cuda",
            isc=True,
            fid=True,
            samples_shuffle=False,
            save_cpu_ram=True,  # no processes to read what is in memory already
            verbose=False,
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"torch-fidelity could not compute the Inception score ({brief(error)}); it fetches its"
            " network from github.com; without it leave out --inception"
        ) from None
    return {
        "inception_score": float(found["inception_score_mean"]),
        "inception_score_sd": float(found["inception_score_std"]),
        "fid": float(found["frechet_inception_distance"]),
    }

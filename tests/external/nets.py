"""Tiny networks of other libraries, in folders as those libraries write them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch


def write_huggingface(folder: Path | str, classes: Sequence[str], size: tuple[int, int]) -> Any:
    """Write a classifier of transformers and what it wants of its images; returns the classifier.

    Pictures are scaled to `size` (height, width), with mean 0.5 and deviation 0.25.
    """
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], id2label=dict(enumerate(classes))
    )
    torch.manual_seed(0)
    model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(folder)
    transformers.ViTImageProcessor(
        size={"height": size[0], "width": size[1]}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    ).save_pretrained(folder)
    return model

"""Small evaluations for hypothesis to choose from."""

import torch
from hypothesis import strategies as st
from torch import nn


@st.composite
def problems(draw, max_classes=3):
    """Small linear models with weights -1, 0, 1, and images on a grid.

    Logits are exact in float32 and no softmax saturates. With two classes, rounding cannot turn the
    sign of a gradient that matters, so results can be compared exactly across batches.
    """
    whole = st.integers(-1, 1)
    count = draw(st.integers(1, 12))
    classes = draw(st.integers(2, max_classes))
    models = {}
    for name in draw(st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")])):
        layer = nn.Linear(4, classes)
        with torch.no_grad():
            for parameter in layer.parameters():
                values = [draw(whole) for _ in range(parameter.numel())]
                parameter.copy_(torch.tensor(values, dtype=torch.float32).view_as(parameter))
        models[name] = nn.Sequential(nn.Flatten(), layer)
    grid = [draw(st.integers(0, 4)) / 4 for _ in range(4 * count)]
    labels = [draw(st.integers(0, classes - 1)) for _ in range(count)]
    return models, torch.tensor(grid).reshape(count, 1, 2, 2), torch.tensor(labels)

"""Is a model robust, or did the attack fail? Probes measure, indicators conclude.

`measurements.py` says what is measured, `indicators.py` what is concluded, one function each.

Carlini, Athalye, Papernot, Brendel, Rauber, Tsipras, Goodfellow, Madry, Kurakin: On Evaluating
Adversarial Robustness, 2019, arXiv:1902.06705. Pintor, Demetrio, Sotgiu, Demontis, Carlini, Biggio,
Roli: Indicators of Attack Failure, NeurIPS 2022, arXiv:2106.09947.
"""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from winnrobust.data.checks import checked_images, checked_labels
from winnrobust.evaluation.checks import checked_models
from winnrobust.evaluation.diagnosis.indicators import VERDICTS, Verdict, conclude, strongest_error
from winnrobust.evaluation.diagnosis.measurements import Sample, measure
from winnrobust.evaluation.prediction import OUT_OF_MEMORY
from winnrobust.evaluation.settings import CheckedSettings
from winnrobust.runtime.devices import resolve_device
from winnrobust.runtime.errors import InputError
from winnrobust.runtime.settings import Count, Seed

DIAGNOSIS_COLUMNS = ("model", "indicator", "verdict", "evidence", "wrong", "of", "epsilon")
BATCH_SIZE = 64


class _Settings(CheckedSettings):
    epsilon: Annotated[float, Field(gt=0, le=1)]
    seed: Seed
    batch_size: Count | None
    eot: Count


def diagnose(
    models: Mapping[str, nn.Module],
    images: Tensor | np.ndarray,
    labels: Tensor | np.ndarray,
    *,
    epsilon: float = 0.125,
    seed: int = 0,
    batch_size: int | None = None,
    eot: int = 1,
    device: torch.device | str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Look for signs that attacks on a model fail, so that it only looks robust.

    Makes its own attacks, in L-infinity, on every image: FGSM; PGD with 20 steps at half the
    epsilon, at it, at its double and at 0.5; PGD with 40 steps and 2 restarts, and on the margin of
    logits; one whole path of 20 steps; three draws of noise at each epsilon; and MI-FGSM to see
    what transfers to the other models. What these do not break is attacked along gradients that
    pass straight through what may hide them (BPDA) and, on the first 64 images, by Square with
    1,000 queries; a model that answers at random along gradients averaged over 16 draws. That is at
    most 290 gradients and 60 answers an image, and 64,000 answers. A few hundred images are enough:
    the smallest difference seen among 300 is 8 images.

    Models are given back exactly as they were, and so are torch's random generators. Memory does
    not grow with the number of images, but for a few numbers each.

    Args:
        models: name -> any module that takes (N, C, H, W) float32 in [0, 1] and returns logits
            (N, K), or an object with `.logits`; without gradients, too. Its mode is looked at.
        images: (N, C, H, W), uint8, or floating point in [0, 1].
        labels: (N,) integers, the true classes 0 .. K - 1.
        epsilon: the L-infinity bound in question, above 0 and at most 1.
        seed: of all random draws, the models' own among them.
        batch_size: images per step; None is 64.
        eot: draws that all attacks average over, for models that answer at random.
        device: where to compute; None leaves every model where it is.
        progress: called after each batch with (images done, images in all), where an image counts
            once for every model.

    Returns:
        One row per model and indicator; columns are `DIAGNOSIS_COLUMNS`. The verdict is one of
        `VERDICTS`, and the evidence a sentence with the measured numbers. `wrong` of `of` images
        is the strongest error known of the model at `epsilon`, the same in all its rows.

    Raises:
        InputError: an argument or a model cannot be used; the message says which and why.
    """
    nets = checked_models(models)
    pixels = checked_images(images)
    truth = checked_labels(labels, len(pixels))
    checked = _Settings(epsilon=epsilon, seed=seed, batch_size=batch_size, eot=eot)
    size = checked.batch_size or BATCH_SIZE
    place = None if device is None else resolve_device(str(device))
    sample = Sample(pixels, truth, checked.epsilon, checked.seed, size, checked.eot)
    try:
        measured = measure(nets, sample, place, progress)
    except OUT_OF_MEMORY:
        raise InputError(
            f"there is not enough memory to diagnose {size} images at once; give a smaller"
            " batch size"
        ) from None
    rows = [
        (name, indicator, *finding, *strongest_error(measurements), checked.epsilon)
        for name, measurements in measured.items()
        for indicator, finding in conclude(measurements).items()
    ]
    return pd.DataFrame(rows, columns=list(DIAGNOSIS_COLUMNS))


def overall(table: pd.DataFrame) -> dict[str, Verdict]:
    """Return the verdict on each model of a table of `diagnose`.

    The worst of its indicators: `broken`, else `suspicious`. Without a sign a model is `ok` if most
    of its indicators were tested, else `not tested`.
    """
    found: dict[str, Verdict] = {}
    for model, verdicts in table.groupby("model", sort=False).verdict:
        tested = (verdicts != "not tested").mean() > 0.5
        sign: Verdict = "ok" if tested else "not tested"
        for worse in ("suspicious", "broken"):
            sign = worse if worse in set(verdicts) else sign
        found[str(model)] = sign
    return found


__all__ = ["DIAGNOSIS_COLUMNS", "VERDICTS", "Verdict", "diagnose", "overall"]

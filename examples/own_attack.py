"""An attack of your own, from Python and on the command line.

python examples/own_attack.py

winnrobust attack zoo:mnist-vanilla-winn --dataset mnist5k --limit 100 \
    --attack coarse=own_attack:coarse --attacks fgsm        # in the folder examples/
"""

import torch

import winnrobust
from winnrobust.data.datasets import load_dataset


def coarse(model, images, labels, epsilon, steps=10, block=4):
    """Sign gradient ascent whose change is the same on blocks of 4x4 pixels."""
    points = images
    for _ in range(steps):
        seen = points.detach().requires_grad_()
        logits = model(seen).logits  # of models of the package; others return them
        right = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
        (gradient,) = torch.autograd.grad((others - right).sum(), seen)
        smooth = torch.nn.functional.avg_pool2d(gradient, block).repeat_interleave(block, 2)
        step = 2.5 * epsilon / steps * smooth.repeat_interleave(block, 3).sign()
        points = (images + (points + step - images).clamp(-epsilon, epsilon)).clamp(0, 1)
    return points


if __name__ == "__main__":
    digits = load_dataset("mnist5k").test
    found = winnrobust.evaluate(
        "zoo:mnist-vanilla-baseline",
        digits.images[:100],
        digits.labels[:100],
        attacks=[coarse, "fgsm", "pgd(steps=10)"],
        epsilons=[0.125],
    )
    print(found.table[["attack", "accuracy", "low", "high"]].round(3).to_string())

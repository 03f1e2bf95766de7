"""Evaluate a module of your own: robust accuracy, which images broke, one page.

python examples/evaluate_my_model.py
"""

import torch
from torch import nn
from torch.nn import functional as F

import winnrobust
from winnrobust.data.datasets import load_dataset

digits = load_dataset("mnist5k")

# Put your own module here. This one is trained in a few seconds.
torch.manual_seed(0)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
for _ in range(3):
    for batch in torch.randperm(len(digits.train)).split(50):
        loss = F.cross_entropy(model(digits.train.images[batch] / 255), digits.train.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

found = winnrobust.evaluate(
    {"mine": model.eval()},
    digits.test.images[:200],
    digits.test.labels[:200],
    attacks=["fgsm", "pgd"],
    epsilons=[4 / 255, 8 / 255],
    folder="results/mine",  # called again with it, an interrupted evaluation goes on
)
print(found.verdict)
print(found.table[["attack", "epsilon", "accuracy", "low", "high"]].round(3).to_string())
print("broken at 8/255:", found.broken("pgd", 8 / 255)["mine"].nonzero()[0].tolist())
print("the page:", found.report("results/mine.html"))

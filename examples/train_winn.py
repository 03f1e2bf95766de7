"""Train a WINN and its baseline, attack both, write the page.

python examples/train_winn.py            # a tiny one, to see the steps; a minute or two
python examples/train_winn.py mnist 30   # the data set and the epochs: hours on a CPU
"""

import sys

import winnrobust
from winnrobust.data.datasets import load_dataset

dataset, epochs = sys.argv[1:3] or ("mnist5k", "1")
settings = {"dataset": dataset, "arch": "vanilla", "recipe": "fast", "epochs": int(epochs)}
if dataset == "mnist5k":
    settings |= {"limit_train": 500}

runs = {
    method: winnrobust.train(f"runs/{method}", method=method, **settings)
    for method in ("baseline", "winn")
}
test = load_dataset(dataset).test
found = winnrobust.evaluate(
    runs, test.images[:200], test.labels[:200], attacks=["fgsm", "pgd"], epsilons=[0.0625, 0.125]
)
print(found.verdict)
print("the page:", found.report("winn.html"))

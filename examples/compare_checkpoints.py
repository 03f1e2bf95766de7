"""Tell which of two models is more robust, and end with 1 if the new one is worse: a gate.

python examples/compare_checkpoints.py [OLD NEW]
"""

import sys

import winnrobust
from winnrobust.data.datasets import load_dataset

old, new = sys.argv[1:3] or ("zoo:mnist-vanilla-icn", "zoo:mnist-vanilla-winn")
digits = load_dataset("mnist5k").test

found = winnrobust.compare(
    {"old": old},
    {"new": new},
    digits.images[:100],
    digits.labels[:100],
    attacks=["fgsm", "pgd(steps=10)"],
    epsilons=[0.1],
)
print(found.verdict)
worst = found.paired.query("attack == 'worst case'").iloc[0]
print(f"only old errs: {worst.first_only:.0f}, only new errs: {worst.second_only:.0f}")
sys.exit(int(worst.second_only > worst.first_only and worst.p_value < 0.05))

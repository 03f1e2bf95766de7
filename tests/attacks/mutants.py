"""Faults that the tests of an attack must find, and a command that plants them one by one.

    python -m tests.attacks.mutants [WORD ...]

copies the package, plants each fault in turn (those whose row has one of the words, or all), runs
the test file named beside it there, and says which faults it did not notice.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]


class Mutant(NamedTuple):
    """A fault: a text that is in a file once, and what it is replaced by.

    Attributes:
        fault: in words.
        file: in `winnrobust/attacks`.
        text, replacement: what is changed.
        tests: in `tests/attacks`, the nearest test file.
    """

    fault: str
    file: str
    text: str
    replacement: str
    tests: str


MUTANTS = [
    Mutant(
        "MI-FGSM without the L1 normalization",
        "mifgsm.py",
        "gradient / l1.clamp_min(torch.finfo(l1.dtype).tiny)",
        "gradient",
        "test_mifgsm.py",
    ),
    Mutant("FAB with alpha_max 0", "fab.py", "clamp_max(alpha_max)", "clamp_max(0)", "test_fab.py"),
    Mutant(
        "FAB without the step back", "fab.py", "torch.where(per_image(broken), back, points)",
        "points", "test_fab.py",
    ),
    Mutant(
        "FAB that takes the box for endless", "fab.py", "(slopes * ordered).cumsum(1) - slopes",
        "0 * (slopes * ordered).cumsum(1) - slopes", "test_fab.py",
    ),
    Mutant(
        "APGD without the halving where there is no new best", "apgd.py",
        " | (~halved & no_new_best)", "", "test_apgd.py",
    ),
    Mutant(
        "APGD without momentum", "apgd.py", "alpha if step else 1.0", "1.0", "test_apgd.py",
    ),
    Mutant(
        "APGD that goes on from where it is after a halving", "apgd.py",
        "points = torch.where(back, best_points, points)", "pass", "test_apgd.py",
    ),
    Mutant(
        "APGD that asks for more than rho of the steps to rise", "apgd.py", "rises <= rho",
        "rises < rho", "test_apgd.py",
    ),
    Mutant(
        "the ratio that is scaled by the third logit alone", "apgd.py", "largest[:, 2:].mean(1)",
        "largest[:, 2]", "test_apgd.py",
    ),
    Mutant(
        "PGD that forgets the ball between its steps", "pgd.py",
        "ball.project(points + size * ball.steepest(gradient), originals, epsilon)",
        "(points + size * ball.steepest(gradient)).clamp_(0, 1)", "test_pgd.py",
    ),
    Mutant(
        "PGD from the image itself", "pgd.py", "originals + epsilon * offsets",
        "originals + 0 * offsets", "test_pgd.py",
    ),
    Mutant(
        "R+FGSM whose second step is a whole epsilon", "rfgsm.py", "(1 - RANDOM_PART) * epsilon",
        "epsilon", "test_rfgsm.py",
    ),
    Mutant(
        "cross-entropy that underflows", "gradients.py", '{"ce-stable": log_odds,',
        '{"ce-stable": cross_entropy,', "test_gradients.py",
    ),
    Mutant(
        "an image that leaves where it is wrong in the mean only", "progress.py",
        "self._wanted(seen.predictions, rows).all(0)", "True", "test_progress.py",
    ),
    Mutant(
        "the first point that is as good, not the last", "progress.py",
        "draws_wanted >= self._most[rows]", "draws_wanted > self._most[rows]", "test_progress.py",
    ),
    Mutant(
        "what has left goes on being counted", "progress.py", "self.run.eot * active\n",
        "self.run.eot\n", "test_progress.py",
    ),
    Mutant(
        "random numbers of the place in the batch", "base.py", "return self.numbers\n",
        "return torch.arange(len(images))\n", "test_contract.py",
    ),
    Mutant(
        "Square with moved halvings", "square.py", "HALVED_AFTER = (10, 50, 200,",
        "HALVED_AFTER = (10, 50, 300,", "test_square.py",
    ),
    Mutant(
        "Square that keeps the last square", "square.py", "better = margins > highest",
        "better = margins == margins", "test_square.py",
    ),
    Mutant(
        "Square with one sign for all channels", "square.py", "drawn[:, 2:, None, None] < 0.5",
        "drawn[:, 2:3, None, None] < 0.5", "test_square.py",
    ),
    Mutant(
        "Square that never comes to the last row", "square_bumps.py",
        "drawn[:, 0] * (height - side + 1)", "drawn[:, 0] * (height - side)", "test_square.py",
    ),
    Mutant(
        "a projection to the L1 ball that forgets the box", "norms.py",
        "cut = (sizes - room).clamp_min(0)", "cut = 0 * sizes", "test_norms.py",
    ),
    Mutant(
        "a projection in L0 that keeps the farthest values, not those it gains most by",
        "norms.py", " - (points - inside) ** 2).flatten(1)", ").flatten(1)", "test_norms.py",
    ),
    Mutant(
        "APGD in L1 that believes what is wrong in a larger ball", "apgd_l1.py",
        "progress, progress.explore, objective", "progress, progress.gradient, objective",
        "test_apgd.py",
    ),
    Mutant(
        "APGD in L1 with steps of one sparsity", "apgd_l1.py",
        "            share = changed / values / SPARSER\n", "", "test_apgd.py",
    ),
    Mutant(
        "FAB in L1 that moves the flattest pixels first", "fab.py", "descending=True",
        "descending=False", "test_fab.py",
    ),
    Mutant(
        "FAB in L2 that moves all pixels alike", "fab.py", "slopes / per_image(steepest)",
        "slopes.sign()", "test_fab.py",
    ),
    Mutant(
        "Square in L2 that takes nothing from the other square", "square_bumps.py",
        "torch.where(there, 0, offsets)", "offsets", "test_square.py",
    ),
    Mutant(
        "Square in L1 with bumps as flat as in L2", "square_bumps.py",
        "4, _l1_budget", "2, _l1_budget", "test_square.py",
    ),
    Mutant(
        "FMN in L0 that shrinks by a share only", "fmn.py",
        "torch.minimum((radius * (1 - gamma)).floor(), radius - 1)",
        "(radius * (1 - gamma)).ceil()", "test_minimum_norm.py",
    ),
    Mutant(
        "sigma-zero that undoes no small changes", "sigma_zero.py",
        "torch.where(offsets.abs() < per_image(threshold), 0, offsets)", "offsets",
        "test_sigma_zero.py",
    ),
    Mutant(
        "sigma-zero that goes on beyond the boundary", "sigma_zero.py", ".clamp_max(0)", "",
        "test_sigma_zero.py",
    ),
    Mutant(
        "AutoAttack in L1 that starts once", "autoattack.py", "restarts * STARTS[norm]",
        "restarts", "test_autoattack.py",
    ),
    Mutant(
        "AutoAttack's Square with the schedule of its own queries", "autoattack.py",
        ", schedule=FULL_SCHEDULE", "", "test_autoattack.py",
    ),
    Mutant(
        "AutoAttack with half of APGD-T's steps", "autoattack.py",
        "partial(apgd_t, epsilon=epsilon, steps=steps,",
        "partial(apgd_t, epsilon=epsilon, steps=steps // 2,", "test_autoattack.py",
    ),
    Mutant(
        "HopSkipJump with steps of d / t", "hopskipjump.py", "distance / math.sqrt(step)",
        "distance / step", "test_hopskipjump.py",
    ),
    Mutant(
        "HopSkipJump without the baseline of its estimate", "hopskipjump.py",
        " - per_image(baseline) * plain", "", "test_hopskipjump.py",
    ),
    Mutant(
        "HopSkipJump with probes that never come nearer", "hopskipjump.py",
        "radius = distance / images[0].numel()", "radius = torch.full_like(distance, FIRST_RADIUS)",
        "test_hopskipjump.py",
    ),
    Mutant(
        "HopSkipJump that bisects too coarsely", "hopskipjump.py", "math.ceil(1.5 * math.log2(",
        "math.ceil(1.0 * math.log2(", "test_hopskipjump.py",
    ),
    Mutant(
        "DDN with steps of one length", "ddn.py",
        "cosine = (1 + math.cos(math.pi * step / steps)) / 2", "cosine = 1.0",
        "test_minimum_norm.py",
    ),
    Mutant(
        "DDN on the usual cross-entropy", "ddn.py", 'objective("ce-stable")', 'objective("ce")',
        "test_minimum_norm.py",
    ),
    Mutant(
        "FMN that forgets the nearest example", "fmn.py",
        "torch.minimum(radius * (1 - gamma), nearest)", "radius * (1 - gamma)",
        "test_minimum_norm.py",
    ),
    Mutant(
        "C&W that goes on beyond the boundary", "cw.py",
        "torch.where(seen.losses < 0, constant, 0.0)", "constant", "test_minimum_norm.py",
    ),
    Mutant(
        "DeepFool without the overshoot", "deepfool.py", "(1 + ETA) * way", "way",
        "test_minimum_norm.py",
    ),
    Mutant(
        "Transfer that makes its examples for every victim", "transfer.py",
        "made = run.cache.get(key)", "made = None", "test_transfer.py",
    ),
]  # fmt: skip


def plant(mutant: Mutant, package: Path) -> None:
    """Change the file of a copy of the package."""
    path = package / "attacks" / mutant.file
    whole = path.read_text()
    if whole.count(mutant.text) != 1:
        raise ValueError(f"{mutant.fault}: its text is {whole.count(mutant.text)} times in {path}")
    path.write_text(whole.replace(mutant.text, mutant.replacement))


def survives(mutant: Mutant) -> bool:
    """Tell whether the nearest tests pass in spite of the fault."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        unneeded = shutil.ignore_patterns("__pycache__", "safetensors", "*.safetensors")
        for name in ("winnrobust", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=unneeded)
        shutil.copy(ROOT / "pyproject.toml", copy)
        plant(mutant, copy / "winnrobust")
        command = ["-q", "-x", "-n", "0", "-p", "no:cacheprovider"]
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *command, f"tests/attacks/{mutant.tests}"],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            check=False,
        )
    if ran.returncode not in (0, 1):  # neither passed nor failed
        raise RuntimeError(f"{mutant.fault}: {ran.stdout.decode()[-2000:]}")
    return ran.returncode == 0


def main(words: list[str]) -> int:
    """Plant the faults and print what became of each; returns how many survived."""
    chosen = [each for each in MUTANTS if not words or any(word in str(each) for word in words)]
    survived = 0
    for mutant in chosen:
        alive = survives(mutant)
        survived += alive
        print("SURVIVES" if alive else "dies    ", mutant.tests, mutant.fault, flush=True)
    print(f"{len(chosen) - survived} of {len(chosen)} die")
    return survived


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

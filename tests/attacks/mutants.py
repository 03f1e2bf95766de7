"""Faults that the tests of attacks, and of what stops them, must find; and a command to plant them.

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
        file: in the room's folder of `winnrobust`.
        text, replacement: what is changed.
        tests: in the room's folder of `tests`, the nearest test file.
        room: what both are in.
    """

    fault: str
    file: str
    text: str
    replacement: str
    tests: str
    room: str = "attacks"


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
    Mutant(
        "aa-fast in L2 without a larger ball", "aa_fast.py", '"l2": 3', '"l2": 1',
        "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast that believes what is wrong in a larger ball", "aa_fast.py",
        "look = progress.gradient if inside else progress.explore", "look = progress.gradient",
        "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast with steps that do not become smaller", "aa_fast.py",
        "size = radius * (1 + math.cos(math.pi * step / steps)) / 2", "size = radius",
        "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast that starts from the image twice", "aa_fast.py",
        "starts = progress.images, gray", "starts = progress.images, progress.images",
        "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast that aims longest at the farthest classes", "aa_fast.py",
        "argsort(dim=1, descending=True, stable=True)",
        "argsort(dim=1, descending=False, stable=True)", "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast that lowers the lead of the class that it wants", "aa_fast.py",
        "difference_of_logits(logits, labels[rows], wanted[rows])",
        "difference_of_logits(logits, wanted[rows], labels[rows])", "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast whose search begins at the worst point", "aa_fast.py",
        "better = margins > self.margins[rows]", "better = margins < self.margins[rows]",
        "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast that gives up where gradients led nowhere, too", "aa_fast.py",
        "rows[goes_well | ~self.led[rows]]", "rows[goes_well]", "test_aa_fast.py",
    ),
    Mutant(
        "aa-fast that ascends in L1 as in L2", "aa_fast.py",
        '    if norm == "l1":\n        for place', '    if norm == "l0":\n        for place',
        "test_aa_fast.py",
    ),
    Mutant(
        "APGD in L2 with Linf's steps", "apgd.py", '"l2": partial(ascend, norm="l2")',
        '"l2": partial(ascend, norm="linf")', "test_apgd.py",
    ),
    Mutant(
        "APGD in L1 that steps downhill", "apgd_l1.py",
        "points + per_image(eta) * sparse_direction",
        "points - per_image(eta) * sparse_direction", "test_apgd.py",
    ),
    Mutant(
        "FAB that measures Linf in every norm", "fab.py",
        "size, offset_to_boundary = NORMS[norm].size",
        'size, offset_to_boundary = NORMS["linf"].size', "test_fab.py",
    ),
    Mutant(
        "Square in L1 with L2's proposals", "square.py", "PROPOSALS[norm]",
        'PROPOSALS["l2" if norm == "l1" else norm]', "test_square.py",
    ),
    Mutant(
        "FMN that projects in Linf", "fmn.py", "points = ball.project(",
        'points = NORMS["linf"].project(', "test_minimum_norm.py",
    ),
    Mutant(
        "sigma-zero whose threshold falls where it should rise", "sigma_zero.py",
        "torch.where(wrong, change, -change)", "torch.where(wrong, -change, change)",
        "test_sigma_zero.py",
    ),
    Mutant(
        "BPDA that leaves the gradient as it is", "bpda.py",
        "return value.detach() + (slope - slope.detach())", "return value", "test_bpda.py",
    ),
    Mutant(
        "BPDA whose logits inside are not the model's answer", "bpda.py", "missing * 1.01 + 1e-6",
        "0 * missing", "test_bpda.py",
    ),
    Mutant(
        "BPDA that passes no rounding", "bpda.py", "layers, entries, exits, rounding=True",
        "layers, entries, exits, rounding=False", "test_bpda.py",
    ),
    Mutant(
        "BPDA that believes the gradient at the image itself", "bpda.py",
        "run=replace(run, clean=None)", "run=run", "test_bpda.py",
    ),
    Mutant(
        "BPDA that leaves its hooks behind", "bpda.py",
        "stack.callback(hook.remove)\n            for name in self.entries",
        "hook\n            for name in self.entries", "test_bpda.py",
    ),
    Mutant(
        "BPDA that takes any logits for the model's", "bpda.py",
        "and (out.argmax(1) == predicted).float().mean() > AGREE", "", "test_bpda.py",
    ),
    Mutant(
        "spatial that turns the other way", "spatial.py",
        "math.cos(math.radians(degrees)), math.sin(",
        "math.cos(math.radians(degrees)), -math.sin(", "test_spatial.py",
    ),
    Mutant(
        "spatial that shifts right for down", "spatial.py",
        "moved(progress.images[rows], degrees, below, beside)",
        "moved(progress.images[rows], degrees, beside, below)", "test_spatial.py",
    ),
    Mutant(
        "spatial that repeats the edge", "spatial.py", "grid, align_corners=False)",
        'grid, padding_mode="border", align_corners=False)', "test_spatial.py",
    ),
    Mutant(
        "spatial on images that are not square: rows for columns", "spatial.py",
        "from_right / (width / 2), from_below / (height / 2)",
        "from_right / (height / 2), from_below / (width / 2)", "test_spatial.py",
    ),
    Mutant(
        "a patch around the square", "patch.py", "torch.where(inside, (points + step_size",
        "torch.where(~inside, (points + step_size", "test_patch.py",
    ),
    Mutant(
        "a patch in the worst of the places", "patch.py", "losses > highest", "losses < highest",
        "test_patch.py",
    ),
    Mutant(
        "a patch with rows for columns", "patch.py", "places // across, places % across, side",
        "places % across, places // across, side", "test_patch.py",
    ),
    Mutant(
        "a patch in the same places in each restart", "patch.py", '"patch", restart)', '"patch")',
        "test_patch.py",
    ),
    Mutant(
        "corruptions of the severity before", "corruptions.py", "[severity - 1]",
        "[max(severity - 2, 0)]", "test_corruptions.py",
    ),
    Mutant(
        "corruptions that draw by the place in the batch", "corruptions.py",
        "for number in numbers]", "for number, _ in enumerate(numbers)]", "test_corruptions.py",
    ),
    Mutant(
        "fog that brightens the brightest", "corruptions.py",
        " * brightest / (brightest + thickness)", "", "test_corruptions.py",
    ),
    Mutant(
        "snow that is turned once only", "corruptions.py", " + flakes + flakes.rot90(2, (2, 3))",
        " + 2 * flakes", "test_corruptions.py",
    ),
    Mutant(
        "motion along the vertical", "corruptions.py",
        "return _moved(images, *strength, draws.uniform(-45, 45))",
        "return _moved(images, *strength, draws.uniform(45, 135))", "test_corruptions.py",
    ),
    Mutant(
        "glass that swaps nothing", "corruptions.py", "images[there] = here", "pass",
        "test_corruptions.py",
    ),
    Mutant(
        "elastic transforms that do not shift pixels", "corruptions.py", "grid + fields",
        "grid + 0 * fields", "test_corruptions.py",
    ),
    Mutant(
        "elastic transforms that do not stretch", "corruptions.py",
        "corners + draws.uniform(-stretch, stretch, 3, 2).numpy()",
        "corners + 0 * draws.uniform(-stretch, stretch, 3, 2).numpy()", "test_corruptions.py",
    ),
    Mutant(
        "pixels of another shape", "corruptions.py",
        "int(width * share), 1), max(int(height * share), 1)",
        "int(height * share), 1), max(int(width * share), 1)", "test_corruptions.py",
    ),
    Mutant(
        "intervals that may miss by twice as much", "always_valid.py",
        "lowest = _log_bet(count, rest) - math.log(1 / miss)",
        "lowest = _log_bet(count, rest) - math.log(0.5 / miss)", "test_always_valid.py",
        "evaluation",
    ),
    Mutant(
        "a share of images that are put back", "always_valid.py",
        "_log_chance((count, rest), (total, population - total), population) < lowest",
        "np.log((total / population) ** count * (1 - total / population) ** rest) < lowest",
        "test_always_valid.py", "evaluation",
    ),
    Mutant(
        "McNemar's bet at other odds", "always_valid.py",
        "(first_only + second_only) * math.log(2)", "(first_only + second_only) * math.log(3)",
        "test_always_valid.py", "evaluation",
    ),
    Mutant(
        "populations with fewer images than were drawn", "always_valid.py",
        "least = np.maximum(second, first - difference)", "least = first - difference",
        "test_always_valid.py", "evaluation",
    ),
]  # fmt: skip


def plant(mutant: Mutant, package: Path) -> None:
    """Change the file of a copy of the package."""
    path = package / mutant.room / mutant.file
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
            [sys.executable, "-m", "pytest", *command, f"tests/{mutant.room}/{mutant.tests}"],
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

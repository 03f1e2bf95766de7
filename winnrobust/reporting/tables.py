"""The tables of an evaluation, every one of them derived from its counts."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from winnrobust.evaluation.diagnosis import VERDICTS, overall
from winnrobust.evaluation.metrics import NO_ATTACK, WORST_CASE
from winnrobust.evaluation.seeds import SIGNIFICANCE, aggregate
from winnrobust.reporting.matrices import correction_matrix, error_matrix
from winnrobust.reporting.paper import paper_row, paper_test_error, reading_note
from winnrobust.reporting.results import CLEAN, Case, Results
from winnrobust.reporting.table import (
    DASH,
    MISSING,
    Table,
    p_text,
    percent,
    share_with_interval,
)
from winnrobust.reporting.threat import case_text

VERDICT_STYLES = {
    "ok": "background:#dff0e3;color:#14532d",
    "suspicious": "background:#fdeec2;color:#6b4700;font-weight:600",
    "broken": "background:#f8d0cd;color:#7f1d1d;font-weight:700",
    "not tested": "background:#eceff1;color:#4b5563",
}
"""CSS of a verdict; the word itself is always there too."""


def comparison_tables(results: Results) -> list[Table]:
    """All tables of an evaluation, the most important first."""
    tables = [*summary_tables(results), *diagnosis_tables(results), *paper_tables(results)]
    if len(results.models) > 1:
        for case in results.cases:
            tables += [error_matrix(results, case), correction_matrix(results, case)]
        tables.append(pair_table(results))
    return [
        *tables,
        *significance_tables(results),
        *distance_tables(results),
        *cost_tables(results),
    ]


def summary_tables(results: Results) -> list[Table]:
    """What errs how much: in the worst case, and under every attack."""
    worst = [worst_table(results)] if len(results.worst) else []
    return [*worst, attack_table(results)]


def paper_tables(results: Results) -> list[Table]:
    """Tables 2 to 4 of the paper, with our figures."""
    return [
        test_error_table(results),
        *(adversarial_table(results, case) for case in results.cases),
    ]


def diagnosis_tables(results: Results) -> list[Table]:
    """Signs of false robustness, if they were looked for, and how much gradient attacks had."""
    diagnosed = [] if results.diagnosis is None else [diagnosis_overview(results)]
    # The evidence stands where it was found.
    evidence = [diagnosis_table(results)] if diagnosed and not results.diagnosis_is_shared else []
    return [*diagnosed, *evidence, gradient_table(results)]


def significance_tables(results: Results) -> list[Table]:
    """Whether differences are more than noise, on the same images and over seeds."""
    tables = paired_tables(results) if len(results.paired) else []
    if any(len(members) > 1 for members in results.groups.values()):
        tables += [seeds_table(results), differences_table(results)]
    return tables


def distance_tables(results: Results) -> list[Table]:
    """Distances of minimum-norm attacks, if there were any."""
    return [distance_table(results)] if results.distances else []


def cost_tables(results: Results) -> list[Table]:
    """What attacks reached and took, as far as it is known."""
    aims = [aim_table(results)] if len(results.aimed) else []
    return [*aims, cost_table(results)] if len(results.costs) else aims


# --- errors -----------------------------------------------------------------------------------


def worst_table(results: Results) -> Table:
    """The worst case over all attacks of a norm and epsilon: one column per model."""
    cases = [CLEAN, *(Case(WORST_CASE, *level) for level in results.levels)]
    known = [case for case in cases if (case, results.names[0]) in results.rates]
    notes = [
        "In brackets 95 % intervals. The worst case counts an image as wrong where any of the"
        " attacks at that norm and epsilon broke it.",
        _limit_note(results),
    ]
    return Table(
        f"Worst case over all attacks on {results.dataset}, error in %",
        ["attacks", *results.names],
        [[_level_text(case), *_errors(results, case)] for case in known],
        " ".join(note for note in notes if note),
    )


def attack_table(results: Results) -> Table:
    """The error under every attack made against the model itself: one column per model."""
    return Table(
        f"Error under each attack on {results.dataset}, %",
        ["attack", *results.names],
        [[case_text(case), *_errors(results, case)] for case in (CLEAN, *results.cases)],
        "Each model on the examples made against itself, as a share of all images; in brackets"
        " 95 % intervals.",
    )


def _errors(results: Results, case: Case) -> list[str]:
    return [share_with_interval(*results.rates[case, name], results.n) for name in results.names]


def _level_text(case: Case) -> str:
    if case == CLEAN:
        return case_text(case)
    return f"{'' if case.norm == 'Linf' else f'{case.norm} '}epsilon {case.epsilon:g}"


def test_error_table(results: Results) -> Table:
    """Like Table 2: errors without an attack."""
    rows = []
    for model in results.ordered:
        n = model["n"]
        published = paper_test_error(results.dataset, model["arch"], model["method"])
        rows.append(
            [
                model["name"],
                model["arch"] or DASH,
                share_with_interval(
                    model["clean_error"], model["clean_error_low"], model["clean_error_high"], n
                ),
                f"{model['clean_errors']} of {n}",
                _published(results, published),
            ]
        )
    header = ["model", "network", "test error [95 %]", "errors", "paper"]
    return Table(f"Test error on {results.dataset}, %", *_used(header, rows), _limit_note(results))


def adversarial_table(results: Results, case: Case) -> Table:
    """Like Tables 3 and 4: adversarial error, and correction rates in both directions."""
    attack, _, epsilon = case
    reference = results.names[0]
    rows = []
    for model in results.ordered:
        name = model["name"]
        own = results.rows[attack, epsilon, name, name]
        published = paper_row(results.dataset, model["arch"], model["method"], attack, epsilon)
        error = _published(results, published.adversarial_error if published else None)
        cells = [name, f"{_error(own)} {own.source_errors}/{own.n}", error]
        if name == reference:
            cells += [DASH] * 4
        else:
            by_model = results.rows[attack, epsilon, reference, name]
            by_reference = results.rows[attack, epsilon, name, reference]
            cells += [
                f"{_correction(by_model)} {_corrected(by_model)}",
                _published(results, published.correction_rate_by_method if published else None),
                f"{_correction(by_reference)} {_corrected(by_reference)}",
                _published(results, published.correction_rate_by_baseline if published else None),
            ]
        rows.append(cells)
    header = [
        "model",
        "adversarial error",
        "paper",
        f"correction by model, of {reference}'s errors",
        "paper",
        f"correction by {reference}, of model's errors",
        "paper",
    ]
    if len(rows) == 1:  # nobody to correct or be corrected by
        header, rows = header[:3], [row[:3] for row in rows]
    notes = [
        "In brackets 95 % intervals, then the counts.",
        reading_note(results.dataset, attack, epsilon),
        _limit_note(results),
    ]
    return Table(
        f"{attack} at {_level_text(case)} on {results.dataset}, %",
        *_used(header, rows),
        " ".join(note for note in notes if note),
    )


def pair_table(results: Results) -> Table:
    """The correction rate of every ordered pair of models."""
    pairs = results.table[results.table.source != results.table.target]
    rows = [
        [
            row.attack,
            f"{row.epsilon:g}",
            row.source,
            row.target,
            f"{row.source_errors} of {row.n}",
            f"{row.target_errors} of {row.n}",
            str(row.both_errors),
            _correction(row),
        ]
        for row in pairs.itertuples()
    ]
    return Table(
        "Every ordered pair: who corrects whom",
        [
            "attack",
            "epsilon",
            "attacked (A)",
            "judge (B)",
            "A errs",
            "B errs",
            "both err",
            "correction rate by B, % [95 %]",
        ],
        rows,
        "Correction rate: the share of A's errors, on examples made against A, that B gets right:"
        " 1 - N(A and B) / N(A). Empty where A makes no error.",
    )


# --- tests and seeds --------------------------------------------------------------------------


def paired_tables(results: Results) -> list[Table]:
    """McNemar's test of every pair of models: of what sums all attacks up, then of every attack."""
    sums = results.paired.attack.isin([NO_ATTACK, WORST_CASE])
    note = (
        "McNemar's exact test, two-sided, of whether both models err equally often; at p <"
        f" {SIGNIFICANCE:g} the difference counts as more than noise. It compares these trained"
        " networks, not their methods, and is not corrected for the number of tests."
    )
    title = "Paired tests on the same images, each model under the attacks made against itself"
    header = ["attack", "A", "B", "only A errs", "only B errs", "p", "who errs less"]
    return [
        Table(title, header, _paired_rows(results.paired[sums]), note),
        Table("Paired tests, attack by attack", header, _paired_rows(results.paired[~sums])),
    ]


def _paired_rows(paired: pd.DataFrame) -> list[list[str]]:
    return [
        [
            case_text(Case(row.attack, row.norm, row.epsilon)),
            row.first,
            row.second,
            str(row.first_only),
            str(row.second_only),
            p_text(row.p_value).removeprefix("p ").removeprefix("= "),
            _fewer(row.first_only, row.second_only, row.p_value, row.first, row.second),
        ]
        for row in paired.itertuples()
    ]


def _fewer(first_only: int, second_only: int, p_value: float, first: str, second: str) -> str:
    if p_value >= SIGNIFICANCE:
        return "within noise"
    return first if first_only < second_only else second


def seeds_table(results: Results) -> Table:
    """The spread over the seeds of every group."""
    groups = {model["name"]: model["group"] for model in results.models}
    rows = [
        [
            case_text(Case(row.attack, row.norm, row.epsilon)),
            row.group,
            str(row.seeds),
            percent(row.mean, results.n),
            percent(row.sd, results.n),
            percent(row.min, results.n),
            percent(row.max, results.n),
        ]
        for row in aggregate(results.errors, groups).itertuples()
    ]
    return Table(
        "Several seeds of one method, error in %",
        ["attack", "method", "seeds", "mean", "standard deviation", "lowest", "highest"],
        rows,
        "Over the networks of a method; the standard deviation has n - 1 in the denominator.",
    )


def differences_table(results: Results) -> Table:
    """Every two groups, and whether they differ by more than noise."""
    rows = [
        [
            case_text(Case(row.attack, row.norm, row.epsilon)),
            row.first,
            row.second,
            f"{100 * row.difference:+.2f}",
            f"{row.test} {p_text(row.p_value)}",
            "within noise" if row.within_noise else "beyond noise",
        ]
        for row in results.differences.itertuples()
    ]
    return Table(
        "Differences between methods over their seeds",
        ["attack", "A", "B", "mean error of A - B, percentage points", "test", "difference"],
        rows,
        "Welch's t-test where both methods have two seeds or more, else McNemar's test of the"
        " networks, of which the least significant counts. Not corrected for the number of tests.",
    )


# --- what stands behind -----------------------------------------------------------------------


def aim_table(results: Results) -> Table:
    """How often targeted attacks reached the class that they wanted."""
    rows = [
        [
            case_text(Case(row.attack, row.norm, row.epsilon)),
            row.source,
            share_with_interval(row.hit_rate, row.hit_rate_low, row.hit_rate_high, row.n),
            f"{row.hits} of {row.n}",
        ]
        for row in results.aimed.itertuples()
    ]
    return Table(
        "Targeted attacks: how often the wanted class was reached, %",
        ["attack", "model", "reached [95 %]", "images"],
        rows,
    )


def distance_table(results: Results) -> Table:
    """The distances that minimum-norm attacks found, in quantiles."""
    norms = dict(zip(results.table.attack, results.table.norm, strict=True))
    rows = []
    for (attack, name), distances in results.distances.items():
        quartiles = np.quantile(distances, [0.25, 0.5, 0.75], method="inverted_cdf")
        missing = int(np.isinf(distances).sum())
        rows.append(
            [
                attack,
                norms[attack],
                name,
                *(f"{value:.4g}" if math.isfinite(value) else "none found" for value in quartiles),
                f"{missing} of {results.n}",
            ]
        )
    return Table(
        "Smallest perturbations found by minimum-norm attacks",
        ["attack", "norm", "model", "1st quartile", "median", "3rd quartile", "none found"],
        rows,
        "Over all images; 0 where the model is wrong without an attack. Larger is more robust, as"
        " far as the attack finds the smallest.",
    )


def diagnosis_overview(results: Results) -> Table:
    """Indicators of false robustness by model, in words."""
    table = results.diagnosis
    assert table is not None
    names = [name for name in results.names if name in set(table.model)]
    found = {(row.indicator, row.model): row.verdict for row in table.itertuples()}
    rows = [
        [indicator, *(found.get((indicator, name), MISSING) for name in names)]
        for indicator in dict.fromkeys(table.indicator)
    ]
    summary = overall(table)
    rows.append(["overall", *(summary[name] for name in names)])
    return Table(
        "Diagnosis of false robustness",
        ["indicator", *names],
        rows,
        "Signs that a model's errors are low only because the attacks failed. ok: no sign;"
        " suspicious: look closer before believing the errors; broken: do not believe them; not"
        " tested: nobody knows. The evidence says on how many images; the probes have budgets of"
        " their own.",
        _verdict_styles(rows),
    )


def diagnosis_table(results: Results) -> Table:
    """What the verdicts rest on."""
    table = results.diagnosis
    assert table is not None
    rows = [[row.model, row.indicator, row.verdict, row.evidence] for row in table.itertuples()]
    return Table(
        "Evidence of the diagnosis",
        ["model", "indicator", "verdict", "evidence"],
        rows,
        "After Carlini et al. 2019 (arXiv:1902.06705) and Pintor et al. 2022 (arXiv:2106.09947).",
        _verdict_styles(rows),
    )


def _verdict_styles(rows: Sequence[Sequence[str]]) -> dict[tuple[int, int], str]:
    return {
        (line, column): VERDICT_STYLES[cell]
        for line, row in enumerate(rows)
        for column, cell in enumerate(row[:-1] if len(row) == 4 else row)
        if column and cell in VERDICTS
    }


def gradient_table(results: Results) -> Table:
    """How many input gradients were exactly zero, tiny, or no numbers."""
    rows = [
        [
            row.attack,
            row.source,
            f"{100 * row.zero_entries / row.entries:.4f}",
            f"{row.zero_images} of {row.images}",
            _count(row.tiny_images),
            _count(row.nonfinite_images),
        ]
        for row in results.gradients.itertuples()
        if row.entries
    ]
    header = ["attack", "model", "zero entries, %", "images with no gradient at all"]
    header += ["none above 1e-10", "with NaN or infinity"]
    return Table(
        "Input gradients that are exactly zero, tiny or no numbers",
        header,
        rows,
        "Counted over all gradients that an attack followed. A softmax that is saturated in float32"
        " has no gradient, so an attack stands still and the model only looks robust. Near 0 % this"
        " did not happen. Attacks without gradients are not listed.",
    )


def _count(value: float) -> str:
    return MISSING if math.isnan(value) else str(int(value))


def cost_table(results: Results) -> Table:
    """What the attacks took."""
    rows = [
        [
            row.attack,
            row.source,
            f"{row.seconds:.1f}",
            f"{1000 * row.seconds / results.n:.2f}",
            f"{row.unfinished} of {results.n}" if row.unfinished else "0",
        ]
        for row in results.costs.itertuples()
    ]
    return Table(
        "What the attacks took",
        ["attack", "model", "seconds", "milliseconds per image", "images unfinished"],
        rows,
        "All epsilons together, summed over processes. An unfinished image, for which the time ran"
        " out, counts as it was.",
    )


def _used(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the paper's columns where the paper has nothing to compare with."""
    used = [
        column
        for column, name in enumerate(header)
        if name != "paper" or any(row[column] != DASH for row in rows)
    ]
    return [header[column] for column in used], [[row[column] for column in used] for row in rows]


def _error(row: Any) -> str:
    return share_with_interval(
        row.adversarial_error, row.adversarial_error_low, row.adversarial_error_high, row.n
    )


def _correction(row: Any) -> str:
    return share_with_interval(
        row.correction_rate, row.correction_rate_low, row.correction_rate_high, row.n
    )


def _corrected(row: Any) -> str:
    return f"{row.source_errors - row.both_errors}/{row.source_errors}"


def _published(results: Results, value: float | None) -> str:
    """The paper's percentage; a dash where there is none or only part of the test set was used."""
    return DASH if value is None or results.limit is not None else f"{value:.2f}"


def _limit_note(results: Results) -> str:
    if results.limit is None:
        return ""
    return (
        f"Only the first {results.n} {results.split} images were used (--limit), so the paper's"
        " figures are not comparable."
    )

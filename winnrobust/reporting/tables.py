"""The tables of an evaluation: every one a view of its `Summary`, laid out in words.toml."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.statistics import NO_ATTACK, SIGNIFICANCE, WORST_CASE, aggregate
from winnrobust.reporting.comparison import Compared
from winnrobust.reporting.paper import PaperRow, paper_row, paper_test_error, reading_note
from winnrobust.reporting.results import (
    CLEAN,
    Case,
    Error,
    Level,
    Results,
    known_attack,
    worst_case,
)
from winnrobust.reporting.table import DASH, MISSING, Table, percent, share_with_interval
from winnrobust.reporting.verdict import names, widest
from winnrobust.reporting.words import WORDS, framed, verdict_styles

HEADLINE_LEVELS = 4
"""Threat models in the first table; others stand in those after it."""

ERROR_COLOR = (165, 36, 20)
CORRECTION_COLOR = (8, 81, 156)
"""RGB at 100 %; at 0 % a cell is white."""

EQUAL_CONTRAST = 0.179
"""The luminance on which black and white letters are equally well read."""

OWN = ";outline:2px solid #1d2329;outline-offset:-2px"
"""A model's error on the examples made against itself stands out."""

SETTINGS = ("steps", "restarts", "queries", "eot", "targeted", "seconds", "fgsm_screen", "seed")


def comparison_tables(results: Results) -> list[Table]:
    """All tables of an evaluation, the most important first."""
    matrices = [matrix for case in results.cases for matrix in both_matrices(results, case)]
    return [
        headline_table(results), *caution_tables(results), attack_table(results),
        *diagnosis_tables(results), *paper_tables(results), *matrices, *test_tables(results),
        *detail_tables(results), *threat_tables(results),
    ]  # fmt: skip


# --- accuracy and errors --------------------------------------------------------------------------


def headline_table(results: Results) -> Table:
    """Clean and robust accuracy of every model, the most robust first, and whether to trust it."""
    compared, levels, groups = Compared(results), _some(list(results.tried)), [*results.groups]
    if levels:
        level = widest(compared, groups)
        groups.sort(key=lambda group: -compared.robust(level, group))
    bound = "≤ " if results.counts_only else ""
    rows = []
    for name, group in ((name, each) for each in groups for name in results.groups[each]):
        clean = _accuracy(results, results.errors[CLEAN, name])
        worst = [_accuracy(results, results.worst(level, name)) for level in levels]
        rows.append([name, clean, *(bound + cell for cell in worst), compared.trust(group)])
    attacks = {
        level: names(dict.fromkeys(c.attack for c in results.tried[level])) for level in levels
    }
    listed = "; ".join(f"{of} at {level}" for level, of in attacks.items()) or "none"
    header = [
        "model",
        "clean accuracy",
        *(f"robust, {level}" for level in levels),
        "trust",
    ]
    note = WORDS["under"]["headline"].format(n=results.n, dataset=results.dataset, attacks=listed)
    return Table("Clean and robust accuracy, %", header, rows, note, verdict_styles(rows))


def _some(levels: Sequence[Level]) -> list[Level]:
    """All while they are few, else some, evenly spread."""
    last = len(levels) - 1
    if last < HEADLINE_LEVELS:
        return list(levels)
    return [levels[round(i * last / (HEADLINE_LEVELS - 1))] for i in range(HEADLINE_LEVELS)]


def _accuracy(results: Results, error: Error) -> str:
    text = share_with_interval(1 - error.value, 1 - error.high, 1 - error.low, results.n)
    return text + _left_out(error)


def _left_out(error: Error) -> str:
    return f", {error.not_attacked} not attacked" if error.not_attacked else ""


def caution_tables(results: Results) -> list[Table]:
    """Reasons not to believe a robust accuracy, if there are any."""
    found = pd.DataFrame(Compared(results).cautions)
    return [framed("cautions", found, results.n)] if len(found) else []


def attack_table(results: Results) -> Table:
    """The error of every model under every attack on it, and under all of them together."""
    worst = [worst_case(level) for level in results.tried] * (not results.counts_only)
    rows = []
    for case in (CLEAN, *results.cases, *worst):
        errors = [results.errors[case, name] for name in results.names]
        cells = [share_with_interval(*error[:3], results.n) + _left_out(error) for error in errors]
        rows.append([results.case_text(case), *cells])
    title, note = f"Adversarial error on {results.dataset}, %", WORDS["under"]["errors"]
    table = Table(title, ["attack", *results.names], rows, note)
    return table.flipped() if len(results.names) > len(rows) else table


# --- who falls to whose examples ------------------------------------------------------------------


def both_matrices(results: Results, case: Case) -> list[Table]:
    """Transfer and correction, where models looked at each other's examples."""
    if not results.is_crossed:
        return []
    return [error_matrix(results, case), correction_matrix(results, case)]


def error_matrix(results: Results, case: Case) -> Table:
    """The transfer matrix: every model's error on the examples made against every model."""

    def error(source: str, target: str) -> float:
        return results.transfer[case, source, target].target_errors / results.n

    title, note = f"Error by {results.case_text(case)}, %", WORDS["under"]["transfer"]
    return _matrix(results, [title, "made against", note], error, ERROR_COLOR)


def correction_matrix(results: Results, case: Case) -> Table:
    """The correction rate of every ordered pair of models."""

    def corrected(source: str, target: str) -> float | None:
        return None if source == target else results.transfer[case, source, target].correction_rate

    title, note = f"Correction under {results.case_text(case)}, %", WORDS["under"]["correction"]
    return _matrix(results, [title, "errors of", note], corrected, CORRECTION_COLOR)


def _matrix(
    results: Results,
    texts: Sequence[str],
    share: Callable[[str, str], float | None],
    color: tuple[int, int, int],
) -> Table:
    rows, styles = [], {}
    for line, source in enumerate(results.names):
        values = [share(source, target) for target in results.names]
        rows.append([source, *(DASH if x is None else percent(x, results.n) for x in values)])
        for column, value in enumerate(values):
            if value is not None and not math.isnan(value):
                own = OWN if line == column else ""
                styles[line, column + 1] = heat(value, color) + own
    title, corner, note = texts
    return Table(title, [corner, *results.names], rows, note, styles)


def heat(value: float, color: tuple[int, int, int]) -> str:
    """CSS of a share: from white at 0 to `color` at 1, with letters that can be read on it."""
    shade = [round(255 + value * (full - 255)) for full in color]
    ink = "#000" if _luminance(shade) > EQUAL_CONTRAST else "#fff"
    return f"background:rgb({','.join(map(str, shade))});color:{ink}"


def _luminance(shade: Sequence[int]) -> float:
    """Relative luminance of an sRGB color (Web Content Accessibility Guidelines 2.2)."""
    scaled = [value / 255 for value in shade]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in scaled]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- the paper's layout ---------------------------------------------------------------------------


def paper_tables(results: Results) -> list[Table]:
    """Tables 2 to 4 of the paper, with our figures."""
    return [
        test_error_table(results),
        *(adversarial_table(results, case) for case in results.cases),
    ]


def test_error_table(results: Results) -> Table:
    """Like Table 2: errors without an attack."""
    rows = []
    for model in results.ordered:
        error = results.errors[CLEAN, model["name"]]
        paper = paper_test_error(results.dataset, model["arch"], model["method"])
        rate = share_with_interval(*error[:3], results.n)
        count = f"{error.value * results.n:g} of {results.n}"
        published = _published(paper if results.limit is None else None)
        rows.append([model["name"], model["arch"] or DASH, rate, count, published])
    header = ["model", "network", "test error [95 %]", "errors", "paper"]
    return Table(f"Test error on {results.dataset}, %", *_used(header, rows))


def adversarial_table(results: Results, case: Case) -> Table:
    """Like Tables 3 and 4: adversarial error, and correction rates in both directions."""
    reference, rows = results.names[0], []
    for model in results.ordered:
        name, paper = model["name"], published_row(results, model, case)
        error = share_with_interval(*results.errors[case, name][:3], results.n)
        own = results.transfer[case, name, name]
        cells = [
            name,
            f"{error} {own.source_errors:g}/{own.n}",
            _published(paper.adversarial_error),
        ]
        for pair, published in (
            ((reference, name), paper.correction_rate_by_method),
            ((name, reference), paper.correction_rate_by_baseline),
        ):
            row = None if name == reference else results.transfer.get((case, *pair))
            cells += [DASH if row is None else _correction(row), _published(published)]
        rows.append(cells)
    header = [
        "model", "adversarial error", "paper", f"correction by model, of {reference}'s errors",
        "paper", f"correction by {reference}, of model's errors", "paper",
    ]  # fmt: skip
    if not results.is_crossed:
        header, rows = header[:3], [row[:3] for row in rows]
    reading = reading_note(results.dataset, case.attack, case.epsilon)
    note = f"In brackets 95 % intervals, then the counts. {reading}".strip()
    title = f"{case.attack}, {case.level}, on {results.dataset}, %"
    return Table(title, *_used(header, rows), note)


def published_row(results: Results, model: Mapping[str, Any], case: Case) -> PaperRow:
    """What the paper has for this; nothing where only part of the test set was used."""
    named = results.dataset, model["arch"], model["method"], case.attack, case.epsilon
    found = paper_row(*named) if results.limit is None else None
    return found or PaperRow(None, None, None)


def _correction(row: Any) -> str:
    rates = row.correction_rate, row.correction_rate_low, row.correction_rate_high
    corrected = f"{row.source_errors - row.both_errors:g}/{row.source_errors:g}"
    return f"{share_with_interval(*rates, row.n)} {corrected}"


def _published(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _used(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the paper's columns where the paper has nothing to compare with."""
    used = [
        column
        for column, name in enumerate(header)
        if name != "paper" or any(row[column] != DASH for row in rows)
    ]
    return [header[column] for column in used], [[row[column] for column in used] for row in rows]


# --- more than noise? -----------------------------------------------------------------------------


def _with_case(results: Results, frame: pd.DataFrame, **more: Any) -> pd.DataFrame:
    """Add the texts of the cases, and other columns."""
    cases = map(Case, frame.attack, frame.norm, frame.epsilon)
    return frame.assign(case=[results.case_text(case) for case in cases], **more)


def test_tables(results: Results) -> list[Table]:
    """Whether differences are more than noise, on the same images and over seeds."""
    n, groups = results.n, {model["name"]: model["group"] for model in results.models}
    tables = [paired_table(results)] if len(results.summary.paired) else []
    if results.is_crossed:
        tables.append(corrections_table(results))
    if len(results.groups) < len(results.names):
        noise = results.differences.within_noise.map({True: "within noise", False: "beyond noise"})
        differences = _with_case(results, results.differences, noise=noise)
        spread = _with_case(results, aggregate(results.own, groups))
        tables += [framed("seeds", spread, n), framed("differences", differences, n)]
    return tables


def paired_table(results: Results) -> Table:
    """McNemar's test of every pair of models, in the worst case where that is known."""
    paired = results.summary.paired
    if not results.counts_only:
        paired = paired[paired.attack.isin([NO_ATTACK, WORST_CASE])]
    better = paired["first"].where(paired.first_only < paired.second_only, paired.second)
    less = better.where(paired.p_value < SIGNIFICANCE, "within noise")
    return framed("paired", _with_case(results, paired, less=less), results.n)


def corrections_table(results: Results) -> Table:
    """The two directions of correction, under the strongest attacks."""
    strongest = [results.strongest(cases) for cases in results.tried.values()]
    table = results.summary.corrections
    cases = map(Case, table.attack, table.norm, table.epsilon)
    chosen = table[[case in strongest for case in cases]]
    points = {
        name: 100 * chosen[name] for name in ("difference", "difference_low", "difference_high")
    }
    return framed("corrections", _with_case(results, chosen.assign(**points)), results.n)


# --- what stands behind ---------------------------------------------------------------------------


def detail_tables(results: Results) -> list[Table]:
    """Targeted attacks, distances and costs, as far as there are any."""
    summary, n = results.summary, results.n
    targeted, costs = _with_case(results, summary.targeted), summary.costs
    costs = costs.assign(gradients=costs.gradients / n, queries=costs.queries / n)
    return [
        *([framed("targeted", targeted, n)] if len(targeted) else []),
        *([distance_table(results)] if summary.distances else []),
        *([framed("costs", costs, n)] if len(costs) else []),
    ]


def distance_table(results: Results) -> Table:
    """The distances that minimum-norm attacks found, in quantiles."""
    rows = []
    for (attack, name), distances in results.summary.distances.items():
        quartiles = np.quantile(distances, [0.25, 0.5, 0.75], method="inverted_cdf")
        texts = [f"{value:.4g}" if math.isfinite(value) else "none found" for value in quartiles]
        missing = f"{np.isinf(distances).sum()} of {results.n}"
        rows.append([attack, name, *texts, missing])
    columns = ["attack", "model", "first", "median", "third", "missing"]
    return framed("distances", pd.DataFrame(rows, columns=columns), results.n)


def diagnosis_tables(results: Results) -> list[Table]:
    """Signs of false robustness, if they were looked for, and how much gradient attacks had."""
    tables, gradients = [], results.summary.gradients
    if results.diagnosis is not None:
        tables.append(diagnosis_overview(results, results.diagnosis))
        if not results.diagnosis_is_shared:  # the evidence stands where it was found
            tables.append(framed("diagnosis", results.diagnosis, results.n))
    followed = gradients[gradients.entries > 0]
    followed = followed.assign(zero=100 * followed.zero_entries / followed.entries)
    return [*tables, framed("gradients", followed, results.n)] if len(followed) else tables


def diagnosis_overview(results: Results, table: pd.DataFrame) -> Table:
    """Indicators of false robustness by model, in words."""
    shown = [name for name in results.names if name in set(table.model)]
    found = {(row.indicator, row.model): row.verdict for row in table.itertuples()}
    found |= {("overall", name): verdict for name, verdict in overall(table).items()}
    rows = [
        [indicator, *(found.get((indicator, name), MISSING) for name in shown)]
        for indicator in (*dict.fromkeys(table.indicator), "overall")
    ]
    title, note = "Diagnosis of false robustness", WORDS["under"]["diagnosis"]
    return Table(title, ["indicator", *shown], rows, note, verdict_styles(rows))


def threat_tables(results: Results) -> list[Table]:
    """Who the attacker is: what is known, wanted, changed and spent."""
    bounds = [(str(level), *level) for level in results.levels]
    frame = pd.DataFrame(bounds, columns=["level", "norm", "epsilon"])
    pixels = frame.epsilon.where(frame.norm == "linf")
    frame = frame.assign(wide=2 * pixels, gray=255 * pixels)
    given = [(name, results.settings.get(name)) for name in SETTINGS]
    settings = pd.DataFrame(
        [(name, str(value)) for name, value in given if value not in (None, False)],
        columns=["name", "value"],
    )
    attacks = [_described(name) for name in dict.fromkeys(case.attack for case in results.cases)]
    tables = {"bounds": frame, "settings": settings, "attacks": pd.DataFrame(attacks)}
    return [framed(key, table, results.n) for key, table in tables.items() if len(table)]


def _described(name: str) -> dict[str, str]:
    known = known_attack(name)
    if known is None:
        return dict.fromkeys(("cost", "summary", "source"), DASH) | {"name": name, "sees": "?"}
    fields = {key: str(getattr(known, key)) for key in ("cost", "summary", "source")}
    return fields | {"name": name, "sees": WORDS["access"][known.access]}

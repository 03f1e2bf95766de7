"""The tables of an evaluation: every one a view of its `Summary`, laid out in words.toml."""

import math
from typing import Any

import numpy as np
import pandas as pd

from winnrobust.evaluation.diagnosis import overall
from winnrobust.evaluation.outcomes import CLEAN, CORRUPTIONS, NO_ATTACK, Case, Level, norm_text
from winnrobust.evaluation.sequential import decision
from winnrobust.evaluation.statistics import SIGNIFICANCE, WORST_CASE, aggregate
from winnrobust.reporting.paper import QUANTITIES, published, reading_note
from winnrobust.reporting.results import (
    Error,
    Results,
    cases_of,
    known_attack,
    rows_of,
    worst_case,
)
from winnrobust.reporting.table import (
    DASH,
    MISSING,
    Table,
    evenly_spread,
    percent,
    share_with_interval,
)
from winnrobust.reporting.verdict import Verdict, names
from winnrobust.reporting.words import WORDS, framed, sentence, verdict_styles

HEADLINE_LEVELS = 4
"""Threat models in the first table; others stand in those after it."""

ERROR_COLOR = (165, 36, 20)
CORRECTION_COLOR = (8, 81, 156)
"""RGB at 100 %; at 0 % a cell is white."""

DARK = 0.77
"""The share from which white letters are better read than black ones, on either color."""

OWN = ";outline:2px solid #1d2329;outline-offset:-2px"
"""A model's error on the examples made against itself stands out."""

NOTHING = Error(math.nan, math.nan, math.nan)
UNSET = ("None", "False")
SETTINGS = (
    "steps", "restarts", "queries", "eot", "targeted", "round", "seconds", "fgsm_screen", "seed"
)  # fmt: skip


def comparison_tables(results: Results) -> list[Table]:
    """All tables of an evaluation, the most important first."""
    matrices = [matrix for case in results.cases for matrix in both_matrices(results, case)]
    return [
        headline_table(results), *caution_tables(results), *error_tables(results),
        *corruption_tables(results), *severity_tables(results),
        *diagnosis_tables(results), *clean_tables(results), *paper_tables(results), *matrices,
        *test_tables(results), *detail_tables(results), *threat_tables(results),
    ]  # fmt: skip


# --- accuracy and errors --------------------------------------------------------------------------


def headline_table(results: Results) -> Table:
    """Clean and robust accuracy of every model, the most robust first, and whether to trust it."""
    verdict = Verdict(results)
    levels = [] if results.counts_only else evenly_spread([*results.tried], HEADLINE_LEVELS)
    rows = []
    for name, group in ((name, each) for each in verdict.ranked for name in results.groups[each]):
        errors = [results.errors[case, name] for case in (CLEAN, *map(worst_case, levels))]
        shares = [share_with_interval(1 - x, 1 - y, 1 - z, results.n) for x, z, y, _ in errors]
        cells = [text + _left_out(error) for text, error in zip(shares, errors, strict=True)]
        rows.append([name, *cells, verdict.trust(group)])
    header = ["model", "clean accuracy", *(f"robust, {level}" for level in levels), "trust"]
    attacks = [
        f"{names(case.attack for case in results.tried[level])} at {level}" for level in levels
    ]
    slots = {"n": results.n, "dataset": results.dataset, "attacks": "; ".join(attacks) or "none"}
    note = WORDS["under"]["headline"].format(**slots)
    return Table("Clean and robust accuracy, %", header, rows, note, verdict_styles(rows))


def _left_out(error: Error) -> str:
    return f", {error.not_attacked} not attacked" if error.not_attacked else ""


def caution_tables(results: Results) -> list[Table]:
    """Reasons not to believe a robust accuracy, if there are any."""
    verdict = Verdict(results)
    cautions = pd.DataFrame(verdict.cautions)
    steps = pd.DataFrame(verdict.next_steps, columns=["model", "step"])
    tables = {"cautions": cautions, "next": steps}
    return [framed(key, table, results.n) for key, table in tables.items() if len(table)]


def error_tables(results: Results) -> list[Table]:
    """The error of every model under every attack on it, and under all of them together."""
    worst = [] if results.counts_only else map(worst_case, results.tried)
    rows = []
    for case in (CLEAN, *results.cases, *worst):
        errors = [results.errors[case, name] for name in results.names]
        cells = [share_with_interval(*error[:3], results.n) + _left_out(error) for error in errors]
        rows.append([results.case_text(case), *cells])
    title, note = f"Adversarial error on {results.dataset}, %", WORDS["under"]["errors"]
    table = Table(title, ["attack", *results.names], rows, note)
    return [table.flipped() if len(results.names) > len(rows) else table]


# --- corruptions ----------------------------------------------------------------------------------


def corruption_tables(results: Results) -> list[Table]:
    """The error of every model under every corruption, in the mean over severities, and over all.

    The last row is relative to the first model, where there are several.
    """
    if not results.corruptions:
        return []
    means = results.summary.corruption.set_index(["model", "reference"])
    named = dict.fromkeys(case.attack for case in results.corruptions)
    rows = [["no corruption"], *([name] for name in named), ["mean corruption error"]]
    styles: dict[tuple[int, int], str] = {}
    for column, model in enumerate(results.names):
        clean, own = results.errors[CLEAN, model], means.loc[(model, model)]
        rows[0].append(share_with_interval(*clean[:3], results.n))
        for line, name in enumerate(named):
            error = _mean_error(results, model, name)
            rows[line + 1].append(percent(error, results.n))
            styles[line + 1, column + 1] = heat(error, ERROR_COLOR)
        ends = own.mean_error, own.mean_error_low, own.mean_error_high
        rows[-1].append(share_with_interval(*ends, results.n))
    if len(results.names) > 1:
        reference = results.names[0]
        relative = [means.loc[(name, reference)].relative for name in results.names]
        rows.append([f"relative to {reference}", *(percent(each, results.n) for each in relative)])
    listed = names(f"{severity:g}" for severity in severities(results))
    note = WORDS["under"]["corruptions"].format(severities=listed)
    title = f"Error under corruptions of {results.dataset}, %"
    return [Table(title, ["corruption", *results.names], rows, note, styles)]


def severities(results: Results) -> list[float]:
    """All severities of the corruptions."""
    return sorted({case.epsilon for case in results.corruptions})


def severity_tables(results: Results) -> list[Table]:
    """The error of each model by corruption and severity, a table for each."""
    tables = []
    for model in results.names if results.corruptions else ():
        errors = {case[::2]: results.errors[case, model].value for case in results.corruptions}
        rows, styles = [], {}
        for line, name in enumerate(dict.fromkeys(case.attack for case in results.corruptions)):
            shares = [errors[name, severity] for severity in severities(results)]
            rows.append([name, *(percent(share, results.n) for share in shares)])
            for column, share in enumerate(shares):
                styles[line, column + 1] = heat(share, ERROR_COLOR)
        header = ["severity", *(f"{severity:g}" for severity in severities(results))]
        title = f"Error of {model} by corruption and severity, %"
        tables.append(Table(title, header, rows, "", styles))
    return tables


def _mean_error(results: Results, model: str, corruption: str) -> float:
    cases = [case for case in results.corruptions if case.attack == corruption]
    return float(np.mean([results.errors[case, model].value for case in cases]))


# --- who falls to whose examples ------------------------------------------------------------------


def strongest_matrices(results: Results) -> list[Table]:
    """Those of the strongest attack of every threat model."""
    return [matrix for case in results.strongest_cases for matrix in both_matrices(results, case)]


def other_matrices(results: Results) -> list[Table]:
    """Those of all other attacks."""
    others = [case for case in results.cases if case not in results.strongest_cases]
    return [matrix for case in others for matrix in both_matrices(results, case)]


def both_matrices(results: Results, case: Case) -> list[Table]:
    """Who errs on whose examples, and who corrects whose; where models were cross-checked."""
    if not results.is_crossed:
        return []

    rows, text, under = results.transfer, results.case_text(case), WORDS["under"]
    pairs = [[(source, target) for target in results.names] for source in results.names]
    errors = [[rows[case, *pair].target_errors / results.n for pair in line] for line in pairs]
    corrected = [
        [rows[case, *pair].correction_rate if len({*pair}) > 1 else None for pair in line]
        for line in pairs
    ]
    titles = f"Error by {text}, %", f"Correction under {text}, %"
    left = left_out(results, case)
    notes = joined(under["transfer"], left), joined(under["correction"], left)
    return [
        _matrix(results, titles[0], "made against", errors, ERROR_COLOR, notes[0]),
        _matrix(results, titles[1], "errors of", corrected, CORRECTION_COLOR, notes[1]),
    ]


def left_out(results: Results, case: Case) -> str:
    """Whose images were not all attacked, for tables that have no place for it in their cells."""
    errors = {name: results.errors[case, name] for name in results.names}
    who = [f"{name} {each.not_attacked}" for name, each in errors.items() if each.not_attacked]
    return sentence("under", "left out", who=names(who), n=results.n) if who else ""


def joined(*sentences: str) -> str:
    """Sentences, those that there are, one after the other."""
    return " ".join(filter(None, sentences))


def _matrix(
    results: Results, title: str, corner: str, shares: list[list[float | None]],
    color: tuple[int, int, int], note: str,
) -> Table:  # fmt: skip
    rows, styles = [], {}
    for line, (source, values) in enumerate(zip(results.names, shares, strict=True)):
        rows.append([source, *(DASH if x is None else percent(x, results.n) for x in values)])
        for column, value in enumerate(values):
            if value is not None and not math.isnan(value):
                styles[line, column + 1] = heat(value, color) + (OWN if line == column else "")
    return Table(title, [corner, *results.names], rows, note, styles)


def heat(value: float, color: tuple[int, int, int]) -> str:
    """CSS of a share: from white at 0 to `color` at 1, with letters that can be read on it."""
    shade = ",".join(str(round(255 + value * (full - 255))) for full in color)
    return f"background:rgb({shade});color:{'#fff' if value > DARK else '#000'}"


# --- the paper's layout ---------------------------------------------------------------------------


def clean_tables(results: Results) -> list[Table]:
    """Table 2 of the paper, with our figures."""
    if not results.cases:
        return []
    frame = comparison_frame(results).drop_duplicates("model")
    return [framed("clean", frame, results.n, dataset=results.dataset)]


def paper_tables(results: Results) -> list[Table]:
    """Tables 3 and 4 of the paper, with our figures."""
    frame, reference, tables = comparison_frame(results), results.names[0], []
    key = "adversarial" if results.is_crossed else "adversarial alone"
    for case in results.cases:
        of_case = rows_of(frame, [case])
        slots = {"attack": case.attack, "level": case.level, "dataset": results.dataset}
        reading = reading_note(results.dataset, case)
        slots["reading"] = joined(reading, left_out(results, case))
        tables.append(framed(key, of_case, results.n, reference=reference, **slots))
    return tables


def comparison_frame(results: Results) -> pd.DataFrame:
    """A row per attack, epsilon and model, with the paper's figures beside ours; all shares.

    The baseline is the first model. The paper has no figures for a part of the test set. The worst
    case's success rate is that of all attacks together, on the images right without one.
    """
    reference, rows = results.names[0], []
    for case, model in ((case, model) for case in results.cases for model in results.ordered):
        name, kind = model["name"], (results.dataset, model["arch"], model["method"])
        clean, error = (results.errors[each, name] for each in (CLEAN, case))
        worst = results.errors.get((worst_case(case.level), name), NOTHING)
        row: dict[str, Any] = {
            "dataset": results.dataset, **case._asdict(), "model": name, "network": model["arch"],
            "n": results.n, **_spread("test_error", clean),
            "robust_accuracy": 1 - worst.value, "robust_accuracy_low": 1 - worst.high,
            "robust_accuracy_high": 1 - worst.low,
            "worst_case_success_rate": (
                worst.value - clean.value) / ((1 - clean.value) or math.nan),
            **_spread("adversarial_error", error), "not_attacked": error.not_attacked,
            "errors": results.transfer[case, name, name].source_errors,
        }  # fmt: skip
        for label, pair in (("method", (reference, name)), ("baseline", (name, reference))):
            found = None if name == reference else results.transfer.get((case, *pair))
            for part in ("", "_low", "_high"):
                rate = getattr(found, f"correction_rate{part}", math.nan)
                row[f"correction_rate_by_{label}{part}"] = rate
            row[f"corrected_by_{label}"] = found and found.source_errors - found.both_errors
            row[f"to_correct_by_{label}"] = found and found.source_errors
        paper = published(*kind, CLEAN) | published(*kind, case)
        for quantity in QUANTITIES:
            row[f"{quantity}_paper"] = paper.get(quantity) if results.limit is None else None
        rows.append(row)
    return pd.DataFrame(rows)


def _spread(name: str, error: Error) -> dict[str, float]:
    return {name: error.value, f"{name}_low": error.low, f"{name}_high": error.high}


# --- more than noise? -----------------------------------------------------------------------------


def _with_case(results: Results, frame: pd.DataFrame, **more: Any) -> pd.DataFrame:
    """Add the texts of the cases, and other columns."""
    return frame.assign(case=list(map(results.case_text, cases_of(frame))), **more)


def test_tables(results: Results) -> list[Table]:
    """Whether differences are more than noise, on the same images and over seeds."""
    summary, n = results.summary, results.n
    tables = [paired_table(results)] if len(summary.paired) else []
    tables += [gaps_table(results)] if len(summary.gaps) else []
    corrections = rows_of(summary.corrections, results.strongest_cases)
    if len(corrections):
        rates = ("difference", "difference_low", "difference_high")
        points = {name: 100 * corrections[name] for name in rates}
        tables.append(framed("corrections", _with_case(results, corrections, **points), n))
    if len(results.groups) < len(results.names):
        noise = results.differences.within_noise.map({True: "within noise", False: "beyond noise"})
        spread = aggregate(results.own, results.group_of)
        differences = _with_case(results, results.differences, noise=noise)
        tables.append(framed("seeds", _with_case(results, spread), n))
        tables.append(framed("differences", differences, n))
    return tables


def paired_table(results: Results) -> Table:
    """McNemar's test of every pair of models, in the worst case where that is known."""
    paired = results.summary.paired
    if not results.counts_only:
        paired = paired[paired.attack.isin([NO_ATTACK, WORST_CASE])]
    better = paired["first"].where(paired.first_only < paired.second_only, paired.second)
    less = better.where(paired.p_value < SIGNIFICANCE, "within noise")
    key = "paired" if results.population is None else "paired sample"
    return framed(key, _with_case(results, paired, less=less), results.n)


def gaps_table(results: Results) -> Table:
    """What is settled about every two models, where images were drawn at random."""
    gaps = results.summary.gaps
    settled = [decision(row, results.margin) or "not settled" for row in gaps.itertuples()]
    points = {name: 100 * gaps[name] for name in ("difference", "low", "high")}
    levels = [str(Level(*key)) for key in zip(gaps.norm, gaps.epsilon, strict=True)]
    shown = gaps.assign(level=levels, settled=settled, **points)
    slots = {"population": results.population, "margin": 100 * results.margin}
    return framed("gaps", shown, results.n, **slots)


# --- what stands behind ---------------------------------------------------------------------------


def detail_tables(results: Results) -> list[Table]:
    """Targeted attacks, distances and costs, as far as there are any."""
    summary, n = results.summary, results.n
    costs = summary.costs[summary.costs.norm != CORRUPTIONS]
    found = {
        "targeted": _with_case(results, summary.targeted),
        "rounded": _with_case(results, summary.rounded),
        "distances": _with_norm(quartiles(results)),
        "costs": _with_norm(costs.assign(gradients=costs.gradients / n, queries=costs.queries / n)),
    }
    bits = results.settings.get("round")
    return [framed(key, frame, n, bits=bits) for key, frame in found.items() if len(frame)]


def quartiles(results: Results) -> pd.DataFrame:
    """The distances that minimum-norm attacks found, infinite where they found none."""
    rows = [
        (*key, *np.quantile(found, [0.25, 0.5, 0.75], method="inverted_cdf"), np.isinf(found).sum())
        for key, found in results.summary.distances.items()
    ]
    columns = ["attack", "norm", "model", "first", "median", "third", "none_found"]
    return pd.DataFrame(rows, columns=columns)


def _with_norm(frame: pd.DataFrame) -> pd.DataFrame:
    """Add what reports call the norms."""
    return frame.assign(display=frame.norm.map(norm_text))


def diagnosis_tables(results: Results) -> list[Table]:
    """Signs of false robustness, if they were looked for, and how much gradient attacks had."""
    tables, gradients = [], results.summary.gradients
    if results.diagnosis is not None:
        tables.append(diagnosis_overview(results, results.diagnosis))
        if not results.diagnosis_is_shared:  # the evidence stands where it was found
            tables.append(framed("diagnosis", results.diagnosis, results.n))
    followed = gradients[gradients.entries > 0]
    followed = _with_norm(followed).assign(zero=100 * followed.zero_entries / followed.entries)
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
    levels = [(str(level), *level) for level in results.levels]
    bounds = pd.DataFrame(levels, columns=["level", "norm", "epsilon"])
    pixels = bounds.epsilon.where(bounds.norm == "linf")
    given = {name: str(results.settings.get(name)) for name in SETTINGS}
    attacks = []
    cases = [*results.cases, *results.corruptions]
    for name in dict.fromkeys(case.attack for case in cases):
        known, fields = known_attack(name), ("cost", "summary", "source")
        sees = WORDS["access"][known.access if known else "unknown"]
        texts = {key: str(getattr(known, key, DASH)) for key in fields}
        norms = dict.fromkeys(norm_text(c.norm) for c in cases if c.attack == name)
        attacks.append({"name": name, "norms": names(norms), "sees": sees} | texts)
    tables = {
        "bounds": bounds.assign(wide=2 * pixels, gray=255 * pixels),
        "settings": pd.DataFrame([item for item in given.items() if item[1] not in UNSET]),
        "attacks": pd.DataFrame(attacks),
    }
    targets = results.settings.get("targeted")
    targeted = sentence("under", "targeted", targets=targets) if targets else ""
    return [
        framed(key, table, results.n, targeted=targeted)
        for key, table in tables.items()
        if len(table)
    ]

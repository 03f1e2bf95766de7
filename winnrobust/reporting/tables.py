"""Tables in the paper's layout: built once as text cells, rendered as Markdown, LaTeX, HTML."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from tabulate import tabulate

from winnrobust.reporting.paper import paper_row, paper_test_error, reading_note

if TYPE_CHECKING:
    from winnrobust.reporting.results import Results

DASH = "-"
MISSING = ""


@dataclass(frozen=True)
class Table:
    """A table ready to be rendered.

    Attributes:
        title: what it shows.
        header: column names.
        rows: cells as text.
        note: a sentence or two to read below it.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


def percent(value: float | None, n: int) -> str:
    """A share as a percentage with the digits that n counts carry; empty if undefined."""
    if value is None or math.isnan(value):
        return MISSING
    return f"{100 * value:.{2 if n >= 10_000 else 1}f}"


def share_with_interval(value: float, low: float, high: float, n: int) -> str:
    """`7.99 [7.47, 8.54]`, in percent; empty if undefined."""
    if math.isnan(value):
        return MISSING
    return f"{percent(value, n)} [{percent(low, n)}, {percent(high, n)}]"


def reference_of(results: "Results") -> dict[str, Any]:
    """The model that the others are compared with: the baseline, else the first."""
    return next(
        (model for model in results.models if model["method"] == "baseline"), results.models[0]
    )


def ordered_models(results: "Results") -> list[dict[str, Any]]:
    """The reference first, then the others as they come."""
    reference = reference_of(results)
    return [reference, *(model for model in results.models if model is not reference)]


def cases(results: "Results") -> list[tuple[str, float]]:
    """All (attack, epsilon), in the order of the results."""
    return list(results.table[["attack", "epsilon"]].drop_duplicates().itertuples(index=False))


def row_of(results: "Results", attack: str, epsilon: float, source: str, target: str) -> pd.Series:
    """The tidy row of one case and one ordered pair."""
    table = results.table
    found = table[
        (table.attack == attack)
        & (table.epsilon == epsilon)
        & (table.source == source)
        & (table.target == target)
    ]
    return found.iloc[0]


def comparison_tables(results: "Results") -> list[Table]:
    """All tables of an evaluation: test error, one like Table 3 per case, every ordered pair."""
    tables = [test_error_table(results)]
    tables += [adversarial_table(results, *case) for case in cases(results)]
    if len(results.models) > 1:
        tables.append(pair_table(results))
    return [*tables, gradient_table(results)]


def test_error_table(results: "Results") -> Table:
    """Like Table 2: errors without an attack."""
    rows = []
    for model in ordered_models(results):
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


def adversarial_table(results: "Results", attack: str, epsilon: float) -> Table:
    """Like Tables 3 and 4: adversarial error, and correction rates in both directions."""
    reference = reference_of(results)
    name = reference["name"]
    rows = []
    for model in ordered_models(results):
        own = row_of(results, attack, epsilon, model["name"], model["name"])
        published = paper_row(results.dataset, model["arch"], model["method"], attack, epsilon)
        error = _published(results, published.adversarial_error if published else None)
        cells = [model["name"], f"{_error(own)} {own.source_errors}/{own.n}", error]
        if model is reference:
            cells += [DASH] * 4
        else:
            by_model = row_of(results, attack, epsilon, name, model["name"])
            by_reference = row_of(results, attack, epsilon, model["name"], name)
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
        f"correction by model, of {name}'s errors",
        "paper",
        f"correction by {name}, of model's errors",
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
        f"{attack} at epsilon {epsilon:g} on {results.dataset}, %",
        *_used(header, rows),
        " ".join(note for note in notes if note),
    )


def pair_table(results: "Results") -> Table:
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


def gradient_table(results: "Results") -> Table:
    """How many input gradients were exactly zero."""
    rows = [
        [
            row.attack,
            row.source,
            f"{100 * row.zero_entries / row.entries:.4f}" if row.entries else MISSING,
            f"{row.zero_images} of {row.images}",
        ]
        for row in results.gradients.itertuples()
    ]
    return Table(
        "Input gradients that are exactly zero",
        ["attack", "model", "zero entries, %", "images with no gradient at all"],
        rows,
        "A softmax that is saturated in float32 has no gradient, so an attack stands still and the"
        " model only looks robust. Near 0 % this did not happen.",
    )


def comparison_csv(results: "Results") -> str:
    """The comparison as one flat CSV: a row per attack, epsilon and model; shares, not percent."""
    reference = reference_of(results)["name"]
    rows = []
    for attack, epsilon in cases(results):
        for model in ordered_models(results):
            own = row_of(results, attack, epsilon, model["name"], model["name"])
            published = paper_row(results.dataset, model["arch"], model["method"], attack, epsilon)
            paper = published if results.limit is None else None
            row: dict[str, Any] = {
                "dataset": results.dataset,
                "attack": attack,
                "epsilon": epsilon,
                "model": model["name"],
                "network": model["arch"],
                "n": own.n,
                "test_error": model["clean_error"],
                "adversarial_error": own.adversarial_error,
                "adversarial_error_low": own.adversarial_error_low,
                "adversarial_error_high": own.adversarial_error_high,
                "adversarial_error_paper": _share(paper.adversarial_error if paper else None),
            }
            for label, source, target, value in (
                (
                    "model",
                    reference,
                    model["name"],
                    paper.correction_rate_by_method if paper else None,
                ),
                (
                    "reference",
                    model["name"],
                    reference,
                    paper.correction_rate_by_baseline if paper else None,
                ),
            ):
                pair = row_of(results, attack, epsilon, source, target)
                same = source == target
                for part in ("", "_low", "_high"):
                    rate = None if same else pair[f"correction_rate{part}"]
                    row[f"correction_rate_by_{label}{part}"] = rate
                row[f"correction_rate_by_{label}_paper"] = _share(value)
            rows.append(row)
    return pd.DataFrame(rows).to_csv(index=False)


def to_markdown(tables: list[Table]) -> str:
    """Render as GitHub Markdown."""
    parts = []
    for table in tables:
        cells = [[markdown_text(cell) for cell in row] for row in (table.header, *table.rows)]
        body = tabulate(cells[1:], cells[0], tablefmt="pipe", disable_numparse=True)
        note = f"\n\n{markdown_text(table.note)}" if table.note else ""
        parts.append(f"### {markdown_text(table.title)}\n\n{body}{note}\n")
    return "\n".join(parts)


def to_latex(tables: list[Table]) -> str:
    """Render as LaTeX tables; needs \\usepackage{booktabs}."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for table in tables:
        # tabulate escapes the cells of this format itself
        body = tabulate(table.rows, table.header, "latex_booktabs", disable_numparse=True)
        caption = _latex(f"{table.title}. {table.note}".strip())
        parts.append(
            f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{body}\n\\end{{table}}\n"
        )
    return "\n".join(parts)


def to_text(tables: list[Table]) -> str:
    """Render for a terminal."""
    parts = []
    for table in tables:
        body = tabulate(table.rows, table.header, tablefmt="simple", disable_numparse=True)
        parts.append(f"\n{table.title}\n{body}\n" + (f"{table.note}\n" if table.note else ""))
    return "".join(parts)


def terminal_summary(results: "Results") -> str:
    """Clean error, adversarial error and correction rates, narrow enough for a terminal."""
    rows = [
        [model["name"], _clean(model), f"{model['clean_errors']} of {model['n']}"]
        for model in ordered_models(results)
    ]
    tables = [
        Table(f"Test error on {results.dataset}, %", ["model", "error [95 %]", "errors"], rows)
    ]
    for attack, epsilon in cases(results):
        rows = []
        for model in ordered_models(results):
            own = row_of(results, attack, epsilon, model["name"], model["name"])
            paper = paper_row(results.dataset, model["arch"], model["method"], attack, epsilon)
            rows.append(
                [
                    model["name"],
                    _error(own),
                    f"{own.source_errors} of {own.n}",
                    _published(results, paper.adversarial_error if paper else None),
                ]
            )
        title = f"Adversarial error, {attack} at epsilon {epsilon:g}, %"
        tables.append(Table(title, ["model", "error [95 %]", "errors", "paper"], rows))
    pairs = results.table[results.table.source != results.table.target]
    if len(pairs):
        rows = [
            [
                f"{row.attack} {row.epsilon:g}",
                row.source,
                row.target,
                _correction(row),
                _corrected(row),
            ]
            for row in pairs.itertuples()
        ]
        header = ["attack", "errors of", "corrected by", "rate [95 %]", "corrected"]
        tables.append(Table("Correction rates, %", header, rows))
    return to_text(tables)


def _used(header: list[str], rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """Leave out the paper's columns where the paper has nothing to compare with."""
    used = [
        column
        for column, name in enumerate(header)
        if name != "paper" or any(row[column] != DASH for row in rows)
    ]
    return [header[column] for column in used], [[row[column] for column in used] for row in rows]


def _clean(model: dict[str, Any]) -> str:
    return share_with_interval(
        model["clean_error"], model["clean_error_low"], model["clean_error_high"], model["n"]
    )


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


def _published(results: "Results", value: float | None) -> str:
    """The paper's percentage; a dash where there is none or only part of the test set was used."""
    return DASH if value is None or results.limit is not None else f"{value:.2f}"


def _share(value: float | None) -> float | None:
    return None if value is None else round(value / 100, 6)


def _limit_note(results: "Results") -> str:
    if results.limit is None:
        return ""
    return (
        f"Only the first {results.n} {results.split} images were used (--limit), so the paper's"
        " figures are not comparable."
    )


def markdown_text(text: str) -> str:
    """Escape what Markdown or the HTML inside it would take for a command."""
    for special in ("\\", "|", "*", "_", "`"):
        text = text.replace(special, "\\" + special)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex(text: str) -> str:
    text = text.replace("\\", "\\textbackslash ")
    for special in "&%$#_{}":
        text = text.replace(special, "\\" + special)
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")

"""A table: built once as text cells, rendered as Markdown, LaTeX, text for terminals, or HTML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tabulate import tabulate

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
        styles: (row, column) -> CSS of a cell, for the page alone; says nothing that the text of
            the cell does not say.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    styles: Mapping[tuple[int, int], str] = field(default_factory=dict)


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


def share_text(value: float, low: float, high: float, n: int) -> str:
    """`7.99 % [7.47, 8.54]`, for sentences."""
    return f"{percent(value, n)} % [{percent(low, n)}, {percent(high, n)}]"


def p_text(p_value: float) -> str:
    """`p = 0.032`, or `p < 0.001`."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def shortened(name: str, longest: int) -> str:
    """Leave out the middle of a long name."""
    if len(name) <= longest:
        return name
    tail = (longest - 3) // 2
    return f"{name[: longest - 3 - tail]}...{name[-tail:]}"


def to_markdown(tables: Sequence[Table]) -> str:
    """Render as GitHub Markdown."""
    parts = []
    for table in tables:
        cells = [[markdown_text(cell) for cell in row] for row in (table.header, *table.rows)]
        body = tabulate(cells[1:], cells[0], tablefmt="pipe", disable_numparse=True)
        note = f"\n\n{markdown_text(table.note)}" if table.note else ""
        parts.append(f"### {markdown_text(table.title)}\n\n{body}{note}\n")
    return "\n".join(parts)


def to_latex(tables: Sequence[Table]) -> str:
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


def to_text(tables: Sequence[Table]) -> str:
    """Render for a terminal."""
    parts = []
    for table in tables:
        body = tabulate(table.rows, table.header, tablefmt="simple", disable_numparse=True)
        parts.append(f"\n{table.title}\n{body}\n" + (f"{table.note}\n" if table.note else ""))
    return "".join(parts)


def markdown_text(text: str) -> str:
    """Escape what Markdown or the HTML inside it would take for a command."""
    text = " ".join(text.split())
    for special in ("\\", "|", "*", "_", "`"):
        text = text.replace(special, "\\" + special)
    text = text.replace("](", "]\\(")  # a link, or a picture from elsewhere
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex(text: str) -> str:
    text = text.replace("\\", "\\textbackslash ")
    for special in "&%$#_{}":
        text = text.replace(special, "\\" + special)
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")

"""Text and tables: built once as cells, rendered as Markdown, LaTeX, CSV, or for a terminal."""

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from tabulate import tabulate

if TYPE_CHECKING:  # it takes half a second
    import pandas as pd

T = TypeVar("T")

DASH = "-"
MISSING = ""

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tabs and line ends, what turns the reading direction, lone surrogates."""


@dataclass(frozen=True)
class Table:
    """A table ready to be rendered.

    Attributes:
        title: what it shows.
        header: column names.
        rows: cells as text.
        note: a sentence or two to read below it.
        styles: (row, column) -> CSS of a cell, for the page alone; adds nothing to what the text of
            the cell does not say.
    """

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    styles: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def flipped(self) -> "Table":
        """The same with rows for columns, for tables without styles."""
        header, *rows = map(list, zip(self.header, *self.rows, strict=True))
        return replace(self, header=header, rows=rows)


def plain(text: Any) -> str:
    r"""Text that is safe to show wherever it came from: what controls a terminal is spelt out.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), str(text))


def one_line(text: Any) -> str:
    r"""As `plain`, on one line.

    >>> one_line("a\n  b")
    'a b'
    """
    return " ".join(plain(text).split())


def to_csv(frame: "pd.DataFrame") -> str:
    """Render as CSV in which no name is a formula for a spreadsheet: an apostrophe comes before it.

    >>> import pandas as pd
    >>> to_csv(pd.DataFrame({"model": ["=1+1", "winn"], "error": [-0.5, 0.5]})).split()
    ['model,error', "'=1+1,-0.5", 'winn,0.5']
    """
    text = frame.select_dtypes(exclude="number").columns
    safe = frame.assign(**{name: frame[name].astype(object).map(_harmless) for name in text})
    return safe.rename(columns=_harmless).to_csv(index=False, lineterminator="\n")


def _harmless(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(FORMULA) and len(text) > 1 else text


def percent(value: float | None, n: int) -> str:
    """A share as a percentage with the digits that n counts carry; empty if undefined.

    >>> percent(0.0799, 10_000), percent(0.0799, 1000)
    ('7.99', '8.0')
    """
    if value is None or math.isnan(value):
        return MISSING
    return f"{100 * value:.{2 if n >= 10_000 else 1}f}"


def share_with_interval(value: float, low: float, high: float, n: int) -> str:
    """`7.99 [7.47, 8.54]`, in percent; empty if undefined."""
    if math.isnan(value):
        return MISSING
    if math.isnan(low):
        return percent(value, n)
    return f"{percent(value, n)} [{percent(low, n)}, {percent(high, n)}]"


def share_text(value: float, low: float, high: float, n: int) -> str:
    """`7.99 % [7.47, 8.54]`, for sentences."""
    return share_with_interval(value, low, high, n).replace(" [", " % [")


def p_value(value: float) -> str:
    """`0.032`, or `< 0.001`; a dash where there is no test."""
    return DASH if math.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def p_text(value: float) -> str:
    """`p = 0.032`, or `p < 0.001`."""
    return f"p {p_value(value)}" if value < 0.001 else f"p = {p_value(value)}"


def shortened(name: str, longest: int) -> str:
    """Leave out the middle of a long name."""
    name = one_line(name)
    if len(name) <= longest:
        return name
    tail = (longest - 3) // 2
    return f"{name[: longest - 3 - tail]}...{name[-tail:]}"


def evenly_spread(items: Sequence[T], most: int) -> list[T]:
    """All items while they are few, else `most` of them, the first and the last among them.

    >>> evenly_spread("abcdefg", 3)
    ['a', 'd', 'g']
    """
    chosen = range(most) if len(items) > most else ()
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in chosen] or [*items]


def to_markdown(tables: Sequence[Table]) -> str:
    """Render as GitHub Markdown."""
    return "\n".join(
        f"### {markdown_text(table.title)}\n\n{_grid(table, markdown_text, 'pipe')}\n"
        + (f"\n{markdown_text(table.note)}\n" if table.note else "")
        for table in tables
    )


def to_latex(tables: Sequence[Table]) -> str:
    """Render as LaTeX tables; needs \\usepackage{booktabs}."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for table in tables:
        grid = _grid(table, one_line, "latex_booktabs")  # tabulate escapes the cells itself
        caption = f"\\caption{{{_latex(one_line(f'{table.title}. {table.note}'))}}}"
        parts.append(f"\\begin{{table}}\n\\centering\n{caption}\n{grid}\n\\end{{table}}\n")
    return "\n".join(parts)


def to_text(tables: Sequence[Table]) -> str:
    """Render for a terminal."""
    return "".join(
        f"\n{one_line(table.title)}\n{_grid(table, one_line, 'simple')}\n"
        + (f"{one_line(table.note)}\n" if table.note else "")
        for table in tables
    )


def to_html(table: Table) -> str:
    """Render one table as HTML, as a notebook shows it."""
    note = f"\n<p>{html.escape(one_line(table.note))}</p>" if table.note else ""
    return _grid(table, one_line, "html") + note  # tabulate escapes the cells itself


def _grid(table: Table, escape: Callable[[Any], str], kind: str) -> str:
    header, *rows = [[escape(cell) for cell in row] for row in (table.header, *table.rows)]
    text: str = tabulate(rows, header, tablefmt=kind, disable_numparse=True)
    return text


def markdown_text(text: Any) -> str:
    """Escape what Markdown or the HTML inside it would take for a command."""
    text = one_line(text)
    for special in ("\\", "|", "*", "_", "`"):
        text = text.replace(special, "\\" + special)
    text = text.replace("](", "]\\(")  # a link, or a picture from elsewhere
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex(text: str) -> str:
    text = text.replace("\\", "\\textbackslash ")
    for special in "&%$#_{}":
        text = text.replace(special, "\\" + special)
    return text.replace("~", "\\textasciitilde ").replace("^", "\\textasciicircum ")

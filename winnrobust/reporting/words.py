"""What a report says in words, out of words.toml: sentences with slots, tables with columns."""

import math
import tomllib
from importlib import resources
from string import Formatter
from typing import Any

import pandas as pd

from winnrobust.reporting.table import DASH, MISSING, Table, one_line, p_value, percent


def read_toml(name: str) -> dict[str, Any]:
    """A file that lies beside the code."""
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text("utf-8"))


WORDS = read_toml("words.toml")


def sentence(kind: str, key: str, **slots: Any) -> str:
    """A template with its slots filled in.

    >>> sentence("note", "disagree", cases="pgd 0.1")
    'Single attacks say otherwise: pgd 0.1.'
    """
    text: str = WORDS[kind][key]
    return text.format(**{name: one_line(value) for name, value in slots.items()})


class Cells(Formatter):
    """Fills the cells of a row in; `{x:%}` is a share in percent, `{p:p}` a p-value.

    >>> Cells(1000).format("{error:%} [{low:%}]", error=0.1, low=0.05)
    '10.0 [5.0]'
    """

    def __init__(self, n: int) -> None:
        self.n = n

    def format_field(self, value: Any, format_spec: str) -> str:
        """Format a value; what is not known is empty."""
        if value is None or pd.isna(value):
            return MISSING
        if format_spec == "far":
            return f"{value:.4g}" if math.isfinite(value) else "none found"
        if format_spec == "paper":
            return percent(value, 10_000)
        if format_spec == "p":
            return p_value(value)
        return percent(value, self.n) if format_spec == "%" else format(value, format_spec)


def framed(key: str, frame: pd.DataFrame, n: int, **slots: Any) -> Table:
    """A row of text for every row of numbers, as words.toml lays it out.

    Args:
        key: of the layout: title, note, and column -> template with the frame's columns as slots.
        n: number of images, for the digits of shares.
        slots: of title and note.
    """
    layout, cells = WORDS["table"][key], Cells(n)
    rows = [
        [_cell(cells.vformat(template, row, dict(zip(frame.columns, row, strict=True))))
         for template in layout["columns"].values()]
        for row in frame.itertuples(index=False, name=None)
    ]  # fmt: skip
    names = [name.strip() for name in layout["columns"]]
    columns = [i for i, x in enumerate(names) if x != "paper" or any(row[i] for row in rows)]
    title, note = (layout.get(part, "").format(n=n, **slots).strip() for part in ("title", "note"))
    header = [names[index] for index in columns]
    shown = [[row[index] or DASH for index in columns] for row in rows]
    return Table(title, header, shown, note, verdict_styles(shown))


def _cell(text: str) -> str:
    """A cell without the marks between values that are not known."""
    text = text.replace("[, ]", "").strip()
    return MISSING if text == "/" else text


def verdict_styles(rows: list[list[str]]) -> dict[tuple[int, int], str]:
    """CSS of the cells that are a verdict."""
    return {
        (line, column): WORDS["style"][cell]
        for line, row in enumerate(rows)
        for column, cell in enumerate(row)
        if column and cell in WORDS["style"]
    }

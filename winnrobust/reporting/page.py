"""A page of text, tables and pictures: one self-contained HTML file, or Markdown."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from winnrobust.reporting.table import Table, markdown_text, one_line, plain, to_markdown
from winnrobust.reporting.words import WORDS
from winnrobust.runtime.files import write_text

DPI = 150
"""Of the figures that are drawn for a page."""
CSS_DPI = 96


@dataclass(frozen=True)
class Picture:
    """A PNG file of the page's folder, and what it shows.

    Attributes:
        path: where it lies, or would lie.
        png: its content, where it need not lie there.
        wide: whether it stands alone, as wide as it was drawn; else several stand in a row.
        chart: whether it is a drawing on white, whose colors a dark page may turn over.
    """

    path: Path
    caption: str
    png: bytes | None = None
    wide: bool = False
    chart: bool = False

    @property
    def uri(self) -> str:
        """The picture as an address, so that the page needs no other file."""
        return "data:image/png;base64," + base64.b64encode(self._content).decode()

    @property
    def width(self) -> int:
        """In CSS pixels, so that the letters of all figures are of one size."""
        pixels = int.from_bytes(self._content[16:20], "big")  # where a PNG has it
        return round(pixels * CSS_DPI / DPI)

    @property
    def _content(self) -> bytes:
        return self.path.read_bytes() if self.png is None else self.png


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: none for what goes on with the section before.
        claim: a line that stands out.
        folded: what waits behind a click -> its tables.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    claim: str = ""
    folded: Mapping[str, Sequence[Table]] = field(default_factory=dict)

    @property
    def all_tables(self) -> list[Table]:
        """Those shown and those folded."""
        return [*self.tables, *(table for tables in self.folded.values() for table in tables)]


@dataclass(frozen=True)
class Page:
    """All that is shown.

    Attributes:
        commands: as they can be typed again.
        provenance: name -> what is to be known of it.
    """

    title: str
    byline: str
    sections: Sequence[Section]
    commands: Sequence[str]
    provenance: Mapping[str, Any]


def to_html(page: Page) -> str:
    """Lay a page out as HTML that needs nothing from elsewhere; whatever is shown is escaped."""
    environment = Environment(
        loader=PackageLoader("winnrobust.reporting", "."),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else plain(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"term_of": term_of, "glossary": terms_in(page)}
    provenance = {name: json.dumps(value, indent=2) for name, value in page.provenance.items()}
    return environment.get_template("page.html.jinja").render(page=page, provenance=provenance)


def term_of(heading: str) -> str | None:
    """Return the glossary's term that a heading begins with.

    >>> term_of("robust, Linf 0.125"), term_of("model")
    ('robust accuracy', None)
    """
    words = heading.lower()
    for term, entry in WORDS["glossary"].items():
        for spelling in (term, *entry.get("also", ())):
            if re.match(rf"{re.escape(spelling)}\b", words):
                return str(term)
    return None


def terms_in(page: Page) -> dict[str, str]:
    """Return what the terms in the headings of a page mean."""
    tables = [table for section in page.sections for table in section.all_tables]
    headings = {text for table in tables for text in (table.title, *table.header)}
    used = {term_of(heading) for heading in headings}
    return {term: entry["means"] for term, entry in WORDS["glossary"].items() if term in used}


def to_report(page: Page, folder: Path) -> str:
    """Lay a page out as Markdown, for a file in `folder` where the pictures lie."""
    parts = [f"# {markdown_text(page.title)}\n", f"{markdown_text(page.byline)}\n"]
    for section in page.sections:
        parts += [f"## {markdown_text(section.title)}\n"] if section.title else []
        parts += [f"**{markdown_text(section.claim)}**\n"] if section.claim else []
        parts += [f"{markdown_text(sentence)}\n" for sentence in section.text]
        parts += [to_markdown(section.all_tables)] if section.all_tables else []
        for picture in section.pictures:
            caption = markdown_text(picture.caption)
            place = picture.path.relative_to(folder).as_posix()
            parts.append(f"![{caption}]({place})\n\n{caption}\n")
    if terms := terms_in(page):
        listed = "".join(f"- **{term}**: {markdown_text(means)}\n" for term, means in terms.items())
        parts.append(f"## Words\n\n{listed}")
    if page.commands:
        lines = "".join(f"    {one_line(command)}\n" for command in page.commands)
        parts.append(f"## Commands\n\n{lines}")
    parts.append("Provenance of every figure: `manifest.json` beside this file.\n")
    return "\n".join(parts)


def write_page(folder: Path, page: Page) -> None:
    """Write report.md and index.html, which has all pictures inside."""
    write_text(folder / "report.md", to_report(page, folder))
    write_text(folder / "index.html", to_html(page))

"""A page of pictures and tables: what generators make, and how good it is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnrobust.reporting.table import Table, markdown_text, to_markdown
from winnrobust.reporting.templates import data_uri, fill_in
from winnrobust.runtime.files import write_text


@dataclass(frozen=True)
class Picture:
    """A PNG file of the report's folder, and what it shows."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = field(default_factory=list)


def write_gallery(
    folder: Path,
    title: str,
    byline: str,
    sections: Sequence[Section],
    commands: Sequence[str],
    provenance: Mapping[str, Any],
) -> None:
    """Write report.md and index.html, which has all pictures inside.

    Args:
        folder: where the pictures are already.
        commands: as they can be typed again.
        provenance: name -> what is to be known of it.
    """
    parts = [f"# {markdown_text(title)}\n\n{markdown_text(byline)}\n"]
    for section in sections:
        parts.append(f"## {markdown_text(section.title)}\n")
        parts += [f"{markdown_text(sentence)}\n" for sentence in section.text]
        parts.append(to_markdown(section.tables))
        for picture in section.pictures:
            place = picture.path.relative_to(folder).as_posix()
            parts.append(f"![{markdown_text(picture.caption)}]({place})\n")
            parts.append(f"{markdown_text(picture.caption)}\n")
    parts.append("## Commands\n")
    parts.append("".join(f"    {' '.join(text.split())}\n" for text in commands))
    parts.append("Provenance of every figure: `manifest.json` beside this file.\n")
    write_text(folder / "report.md", "\n".join(parts))

    page = fill_in(
        "gallery.html.jinja",
        title=title,
        byline=byline,
        sections=sections,
        commands=commands,
        provenance={name: json.dumps(value, indent=2) for name, value in provenance.items()},
        uri=_uri,
    )
    write_text(folder / "index.html", page)


def _uri(picture: Picture) -> str:
    return data_uri(picture.path.read_bytes())

"""What pages share: how templates are filled in, and pictures inside a page."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def fill_in(name: str, **values: Any) -> str:
    """Fill in a template of this package; whatever is shown is escaped."""
    environment = Environment(
        loader=PackageLoader("winnrobust.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(**values)


def data_uri(png: bytes) -> str:
    """A picture as an address, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()

"""What stored JSON files must look like before a report believes them (see schema.json)."""

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from winnrobust.runtime.errors import InputError


@cache
def _schema() -> dict[str, Any]:
    text = resources.files("winnrobust.reporting").joinpath("schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def check(value: Any, kind: str, path: Path) -> None:
    """Check a value read from `path` against the definition `kind` of schema.json.

    Raises:
        InputError: it does not fit; the message says where and why.
    """
    validator = Draft202012Validator(_schema() | {"$ref": f"#/$defs/{kind}"})
    error = best_match(validator.iter_errors(value))
    if error is not None:
        where = error.json_path.removeprefix("$").removeprefix(".")
        message = " ".join(error.message.split())[:200]
        raise InputError(f"{path} is damaged{' at ' + where if where else ''}: {message}")

"""Settings as pydantic models, whose complaints are one line in a user's words."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

LARGEST = 2**31 - 1
"""What torch can count in everywhere."""
LARGEST_FLOAT = 3e38
"""What a float32 holds."""

Count = Annotated[int, Field(ge=1, le=LARGEST)]
Seed = Annotated[int, Field(ge=0, le=LARGEST)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_FLOAT)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST_FLOAT)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(max_length=4096)]

_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("above", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("below", "lt"),
}
_TYPES = {"int_type": "int", "float_type": "float", "bool_type": "bool", "string_type": "str"}


class Settings(BaseModel):
    """A frozen group of settings; values of another type are refused, not converted.

    The text below a setting is its description.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def complaint(error: ValidationError, option_of: Callable[[tuple[str, ...]], str]) -> str:
    """Say in a line what is wrong with the first bad value, as in "--lr must be above 0, not -1".

    Args:
        error: what pydantic raised.
        option_of: from the place of a value in the model, such as ("synthesis", "lr"), to what the
            user calls it.
    """
    first = error.errors(include_url=False)[0]
    option = option_of(tuple(map(str, first["loc"])))
    kind, value = first["type"], shown(first["input"])
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = first["ctx"][name]
        limit = str(bound) if isinstance(bound, int) else f"{bound:g}"
        return f"{option} must be {words} {limit}, not {value}"
    if kind in _TYPES:
        return f"{option} must be of type {_TYPES[kind]}, not {value}"
    if kind == "finite_number":
        return f"{option} must be a finite number, not {value}"
    return f"{option} cannot be {value}: {first['msg'][0].lower()}{first['msg'][1:]}"


def shown(value: Any) -> str:
    """Return what a value looks like, shortened where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists
        return f"such {'an integer' if isinstance(value, int) else 'a value'}"
    return text if len(text) <= 60 else f"{text[:57]}..."

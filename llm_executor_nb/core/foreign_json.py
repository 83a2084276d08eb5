"""Reads foreign JSON, which has any shape: fields may be missing, and numbers may be text."""

from __future__ import annotations

import json
import math
from typing import Any


def number(value: object) -> float | None:
    """Return a number, or the number in a text, if it is finite; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    """Return the parsed JSON; None for a text that is not JSON, or that is nested too deeply to be read."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError, MemoryError):
        return None


def as_object(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def get_in(value: object, *names: str) -> Any:  # noqa: ANN401 - foreign JSON has any shape
    """Return a field of nested JSON objects; None if one of them is missing or not an object."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value

"""Types that take what converts without loss: a number where text is wanted, "31" and "31.0" where a whole number is.

For dicts of types and lists of names, which say what a column is to be, not how a model has to write it: an answer that
says it otherwise was paid for, and means the same. A class or a JSON Schema says itself what it takes.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DIGITS = 400
"""Of a whole number; "1e999999999" would fill the memory."""


def lossless(kind: Any) -> Any:  # noqa: ANN401 - types
    """Return a type that also takes what converts to it without loss; its JSON Schema stays the same.

    Args:
        kind: str, int, float, and lists, sets, dicts of them; each may be None as well. Any other stays as it is.
    """
    from pydantic import BeforeValidator, Field  # noqa: PLC0415 - loads on first use

    takes = {str: BeforeValidator(as_text), int: BeforeValidator(_as_whole), float: Field(allow_inf_nan=False)}
    if kind in (str, int, float):
        return Annotated[kind, takes[kind]]
    origin, args = get_origin(kind), get_args(kind)
    if origin in (list, set, frozenset):
        return origin[lossless(args[0])]
    if origin is dict:
        return dict[args[0], lossless(args[1])]  # type: ignore[valid-type, misc] # made at run time
    if origin in (Union, UnionType) and len(args) == 2 and NoneType in args:
        return lossless(next(one for one in args if one is not NoneType)) | None
    return kind


def text_or_missing() -> Any:  # noqa: ANN401 - a type
    """Return the type of a text that may also be missing: null stays None, any other scalar is text."""
    from pydantic import WrapValidator  # noqa: PLC0415 - loads on first use

    def check(value: Any, is_text: Callable[[Any], str]) -> str | None:  # noqa: ANN401 - JSON of any shape
        return None if value is None else is_text(as_text(value))

    return Annotated[str, WrapValidator(check)]


def as_text(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a number or a truth value as it stands in JSON; all else as it is."""
    return json.dumps(value) if isinstance(value, bool | int | float) else value


def _as_whole(value: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a number without a fraction, or the text of one, as a whole number; all else as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        found = Decimal(value.strip())
    except InvalidOperation:
        return value
    is_whole = found.is_finite() and found.adjusted() < _MOST_DIGITS and found == found.to_integral_value()
    return int(found) if is_whole else value

"""Reads a cell: as a request of its own, or as a value in a template. Neither is ever the repr of an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.providers import messages
from llm_executor_nb.providers.messages import is_array, plain, tidy, tidy_messages

_ROLES: Final = ("system", "developer", "user", "human", "assistant", "ai")
"""The roles that LangChain knows."""
_PYTHON_FLOAT_BYTES: Final = 8


def is_missing(cell: object) -> bool:
    """Whether a cell is missing input: None, NA, NaN, NaT or a blank text."""
    if isinstance(cell, str):
        return not cell or cell.isspace()
    return messages.is_missing(cell)


def is_plain(cell: object) -> bool:
    """Whether a cell is a text or another scalar that needs no reading before it is asked."""
    return isinstance(cell, str) or (not isinstance(cell, bytes) and pd.api.types.is_scalar(cell))


def request_of(cell: Any, *, is_stored: bool = False) -> object:  # noqa: ANN401 - whatever a frame holds
    """Return a cell as a request: a text, a list of messages, a dict with messages, or an object of LangChain's.

    A pair of texts is one message if the first is a role, as in LangChain.

    Args:
        cell: not missing.
        is_stored: it comes from a file format that writes None for fields that were never there.

    Raises:
        ConfigError: it is not a request.
    """
    if isinstance(cell, Mapping):
        return _dict_request(cell, is_stored=is_stored)
    if is_array(cell) or isinstance(cell, list | tuple):
        is_pair = _is_pair(list(cell), is_tuple=isinstance(cell, tuple))
        return tidy_messages([tuple(cell)] if is_pair else cell, is_stored=is_stored)
    if hasattr(cell, "to_messages") or hasattr(cell, "content"):
        return cell
    return text_of(cell)


def value_of(cell: Any) -> object:  # noqa: ANN401 - whatever a frame holds
    """Return a cell as a value for Python's format: scalars, lists and dicts of Python's own; all else as text.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
    """
    value = plain(cell)
    if isinstance(value, str | int | float) or is_plain(value) or isinstance(value, list | tuple | dict):
        return value
    return text_of(value)


def text_of(value: Any) -> str:  # noqa: ANN401 - whatever a frame holds
    """Return a value as text: bytes decoded, floats as they were written, sets sorted.

    Raises:
        ConfigError: it holds bytes that are not UTF-8.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, set | frozenset) and value:  # its own order changes with the process, and the digest with it
        return f"{{{', '.join(sorted(repr(plain(one)) for one in value))}}}"
    return str(plain(value))


def narrow_float(dtype: Any) -> type[np.floating[Any]] | None:  # noqa: ANN401 - a dtype of numpy's or pandas'
    """Return the class of a column's floats where it is narrower than Python's: pandas widens 0.1 to 0.10000000149."""
    if isinstance(dtype, pd.CategoricalDtype):
        return None if dtype.categories is None else narrow_float(dtype.categories.dtype)
    inner = next((one for name in ("subtype", "numpy_dtype") if (one := getattr(dtype, name, None)) is not None), dtype)
    is_narrow = isinstance(inner, np.dtype) and inner.kind == "f" and inner.itemsize < _PYTHON_FLOAT_BYTES
    return inner.type if is_narrow else None


def _dict_request(cell: Mapping[Any, Any], *, is_stored: bool) -> dict[str, Any]:
    request = {str(name): tidy(one, is_stored=is_stored) for name, one in cell.items() if name != "messages"}
    if "messages" not in cell:
        return request
    asked = cell["messages"]
    if is_missing(asked):
        raise ConfigError(f"The request has no messages: they are {asked!r}.")
    return {**request, "messages": asked if isinstance(asked, str) else request_of(asked, is_stored=is_stored)}


def _is_pair(cell: list[Any], *, is_tuple: bool) -> bool:
    """Whether two values are a role and a content.

    Raises:
        ConfigError: they look like one, but the role is unknown.
    """
    if len(cell) != 2 or not isinstance(cell[0], str):
        return False
    if cell[0] in _ROLES:
        return True
    if is_tuple and isinstance(cell[1], str):
        raise ConfigError(
            f"A tuple of two texts is a role and a content, but {cell[0]!r} is not a role. Roles: {', '.join(_ROLES)}."
        )
    return False

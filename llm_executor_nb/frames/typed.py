"""The answers of a schema as columns: one for each field, with the dtype of its type.

All dtypes are nullable. A row without an answer has a missing value, and the column keeps its dtype: integers are Int64
whether a row failed or not. Lists and nested objects, for which pandas has no dtype, stay Python's lists and dicts.
"""

# ruff: noqa: ANN401 - values, types and arrays of any kind

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from enum import Enum
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from llm_executor_nb.schemas.schema import Schema

    Values = list[Any]

_DATES = "datetime64[us]"
"""Microseconds hold every year of Python's dates; nanoseconds end in 2262."""
_NUMBERS: dict[frozenset[type], str] = {
    frozenset({bool}): "boolean",
    frozenset({int}): "Int64",
    frozenset({float}): "Float64",
    frozenset({int, float}): "Float64",
    frozenset({str}): "string",
}


def typed_columns(schema: Schema, objects: Sequence[object | None], index: pd.Index[Any]) -> dict[str, pd.Series[Any]]:
    """Return a schema's fields as columns, one value a row.

    Args:
        schema: the schema of the answers.
        objects: the parsed answers in the order of the rows; None: the row has none.
        index: the index of the columns.

    Returns:
        name -> Series, in the schema's order: Int64, Float64, boolean, string; enums and literals as a category with
        all their values; dates as datetime64[us] (UTC where an answer has an offset); all else as objects.
    """
    return {
        name: pd.Series(_column(kind, [_value(one, name) for one in objects]), index=index, name=name)
        for name, kind in schema.fields.items()
    }


def _value(answer: object | None, name: str) -> Any:
    """Return a field of an answer; None: there is no answer, or it leaves the field out."""
    if answer is None:
        return None
    return _plain(answer.get(name) if isinstance(answer, Mapping) else getattr(answer, name, None))


def _plain(value: Any) -> Any:
    """Return a value as Python's own lists, dicts and scalars, without models, dataclasses and enum members."""
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "model_dump"):
        return _plain(value.model_dump())
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(one) for one in value]
    return value


# --- dtypes -----------------------------------------------------------------------------------------------------


def _column(kind: Any, values: Values) -> Any:
    options = _options(kind)
    if (choices := _choices(options)) is not None:
        return _category(choices, values)
    classes = frozenset(option for option in options if isinstance(option, type))
    if len(classes) < len(options):  # list[int] and the like: pandas has no dtype for them
        return _objects(values)
    if (dtype := _NUMBERS.get(classes)) is not None:
        return _fitting(lambda: pd.array(values, dtype=dtype), values)  # type: ignore[call-overload] # one of a few names
    if classes and all(issubclass(one, date) for one in classes):
        return _fitting(lambda: _dates(values), values)
    return _objects(values)


def _options(kind: Any) -> list[Any]:
    """Return the alternatives of a type besides None, without aliases and annotations."""
    if hasattr(kind, "__value__"):  # type X = ...
        return _options(kind.__value__)
    if hasattr(kind, "__supertype__"):  # NewType
        return _options(kind.__supertype__)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Annotated, Required, NotRequired):
        return _options(args[0])
    if origin in (Union, UnionType):
        return [option for one in args for option in _options(one)]
    return [] if kind in (None, NoneType) else [kind]


def _choices(options: list[Any]) -> list[Any] | None:
    """Return all values that enums and literals allow; None: the type allows others."""
    choices: list[Any] = []
    for option in options:
        if get_origin(option) is Literal:
            choices += [_plain(value) for value in get_args(option)]
        elif isinstance(option, type) and issubclass(option, Enum):
            choices += [member.value for member in option]
        else:
            return None
    return list(dict.fromkeys(value for value in choices if value is not None)) if choices else None


def _category(choices: list[Any], values: Values) -> Any:
    return pd.Categorical(values, dtype=pd.CategoricalDtype(choices))


def _dates(values: Values) -> Any:
    """Return dates and times; where one has an offset from UTC, all are in UTC."""
    is_aware = any(isinstance(value, datetime) and value.tzinfo is not None for value in values)
    plain = [_in_utc(value) if is_aware else value for value in values]
    column = pd.Series(np.array(plain, dtype=_DATES))
    return (column.dt.tz_localize("UTC") if is_aware else column).array


def _in_utc(value: Any) -> Any:
    is_aware = isinstance(value, datetime) and value.tzinfo is not None
    return value.astimezone(UTC).replace(tzinfo=None) if is_aware else value


def _fitting(make: Callable[[], Any], values: Values) -> Any:
    """Return an array of a dtype; of objects where the dtype cannot hold the values, such as a 30-digit integer."""
    try:
        return make()
    except (OverflowError, TypeError, ValueError):
        return _objects(values)


def _objects(values: Values) -> Any:
    """Return an array of objects."""
    array = np.empty(len(values), dtype=object)
    array[:] = values  # np.array(values) would make a table of lists of the same length
    return array

"""Faults of the lists of models: they meet look-ups of a list, and never a request for an answer.

A fault changes the rows of a list before it is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Finding, Outcome
from llm_executor_nb.rehearsal.rules import Faults, FaultSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest

    Rows = list[dict[str, Any]]

_LARGE = 20 * 10**6
"""Bytes of a large list."""
_GONE = 10
"""One model in so many is missing on a list that drifts, another one each time."""


def _is_for_a_list(request: ChatRequest) -> bool:
    return request.is_list


def _fault(does: str) -> FaultSpec:
    return FaultSpec(does=does, respond=None, finding=Finding(Outcome.OK), can_fit=_is_for_a_list)


LISTS: Faults = {
    "list-large": _fault("a list of models of 20 MB"),
    "list-odd": _fault("a list of models with undocumented fields, and with values of other types"),
    "list-unpriced": _fault("a list of models without prices: missing, null, or no numbers"),
    "list-drift": _fault(
        "a list of models that changes: each time other models are gone, and prices have risen by 10 %"
    ),
}
"""What may be wrong with a list of models; `lookups.py` sends it."""


def changed(fault: str, rows: Rows, number: int) -> list[Any]:
    """Return the rows of a list under one of these faults.

    Args:
        fault: its name.
        rows: the rows as they would be sent.
        number: how many lists were sent before this one.
    """
    return _CHANGES[fault](rows, number)


def _large(rows: Rows, _: int) -> list[Any]:
    words = "A long description that nobody asked for. " * (_LARGE // (42 * max(1, len(rows))) + 1)
    return [{**row, "description": words} for row in rows]


def _odd(rows: Rows, _: int) -> list[Any]:
    """Return the rows with unknown fields, and every tenth of another type somewhere; and rows that are none."""
    oddities: tuple[dict[str, Any], ...] = (
        {"context_length": "131072", "architecture": None},
        {"supported_parameters": "tools", "expiration_date": "soon"},
        {"hugging_face_id": None, "architecture": {"input_modalities": ["text", None, 7]}},
        {"name": {"en": "a model"}, "context_length": -1},
    )
    odd = [
        {
            **row,
            "x_unknown": [{"deep": [number]}],
            **(oddities[number // 10 % len(oddities)] if number % 10 == 0 else {}),
        }
        for number, row in enumerate(rows)
    ]
    return [None, "a text", {"id": None}, {"id": 7}, [], *odd]


def _unpriced(rows: Rows, _: int) -> list[Any]:
    prices: tuple[Any, ...] = (None, {}, "free", {"prompt": "", "completion": None, "input": "?", "output": []})
    return [_with_price(row, prices[number % len(prices)]) for number, row in enumerate(rows)]


def _with_price(row: dict[str, Any], price: object) -> dict[str, Any]:
    if "providers" not in row:
        return {**row, "pricing": price}
    return {**row, "providers": [{**one, "pricing": price} for one in row["providers"]]}


def _drift(rows: Rows, number: int) -> list[Any]:
    left = (row for place, row in enumerate(rows) if (place + number) % _GONE)
    return [_dearer(row, 1.1**number) for row in left]


def _dearer(row: dict[str, Any], times: float) -> dict[str, Any]:
    if "providers" in row:
        return {**row, "providers": [_dearer(one, times) for one in row["providers"]]}
    dearer = {
        name: f"{float(price) * times:.10f}" if isinstance(price, str) else price * times
        for name, price in row.get("pricing", {}).items()
    }
    return {**row, "pricing": dearer} if dearer else row


_CHANGES: dict[str, Callable[[Rows, int], list[Any]]] = {
    "list-large": _large,
    "list-odd": _odd,
    "list-unpriced": _unpriced,
    "list-drift": _drift,
}

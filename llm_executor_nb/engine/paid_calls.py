"""The switch that forbids paid calls; `llm_executor_nb.testing` turns it. The engine asks before each request."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import PaidCallForbiddenError

if TYPE_CHECKING:
    from collections.abc import Iterator

_forbidding: list[object] = []


@contextmanager
def forbidding() -> Iterator[None]:
    """Forbid paid calls in this process for the length of a with-block; blocks may overlap."""
    switch = object()
    _forbidding.append(switch)
    try:
        yield
    finally:
        _forbidding.remove(switch)


def is_on() -> bool:
    """Say whether paid calls are forbidden."""
    return bool(_forbidding)


def refuse(place: str) -> None:
    """Refuse a request that may cost something.

    Raises:
        PaidCallForbiddenError: always.
    """
    raise PaidCallForbiddenError(
        f"Paid calls are forbidden here, and this one would go to {place}. Nothing was sent.\n"
        "Next: put the code into `with llm.rehearse():` or the fixture `rehearsal`, or add a backend that costs "
        "nothing: llm.testing's fake_model, or a server on this machine without a key.",
    )

"""The switch that forbids paid calls; `llm_executor_nb.testing` turns it. The engine asks before each request."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import PaidCallForbiddenError

if TYPE_CHECKING:
    from collections.abc import Iterator

_blocks: list[object] = []
"""The with-blocks that forbid paid calls now: they may overlap, so each takes out its own."""


@contextmanager
def forbidding() -> Iterator[None]:
    """Forbid paid calls in this process for the length of a with-block; blocks may overlap."""
    block = object()
    _blocks.append(block)
    try:
        yield
    finally:
        _blocks.remove(block)


def are_forbidden() -> bool:
    """Whether paid calls are forbidden."""
    return bool(_blocks)


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

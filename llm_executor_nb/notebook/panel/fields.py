"""A refusal that belongs to one field of the panel, so that it is shown beside that field."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import LLMExecutorError

if TYPE_CHECKING:
    from collections.abc import Iterator


class FieldRefusedError(Exception):
    """What was typed into a field cannot be used.

    Attributes:
        field: its name in the browser's message.
    """

    def __init__(self, field: str, words: str) -> None:
        super().__init__(words)
        self.field = field


@contextmanager
def typed_into(field: str) -> Iterator[None]:
    """Take a refusal raised within for one of this field."""
    try:
        yield
    except LLMExecutorError as error:
        raise FieldRefusedError(field, str(error)) from None

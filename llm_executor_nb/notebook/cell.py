"""One `%%llm` cell: what it asks goes down the model's chain, and the answer is drawn as it comes.

Thin: the run is `chain.api`'s, the drawing `paint`'s, the words `view`'s. What was drawn stays: a stream that breaks
leaves its text with a visible mark, and then the error is raised.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from llm_executor_nb.chain.api import run_llm, stream_llm
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorError
from llm_executor_nb.notebook.paint import show
from llm_executor_nb.view.answer import Footer, answer_bundle, footer_bundle, is_json

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.notebook.arguments import CellOptions
    from llm_executor_nb.notebook.paint import Paint

_STOPPED = "stopped by hand"
_BROKEN = "the stream broke off"


def run_cell(order: CellOptions, paint: Paint, keep: Callable[[AIMessage], None]) -> None:
    """Send what a cell asks, hand LangChain's message over, and draw the answer.

    Args:
        order: what the cell asks.
        paint: draws while it comes.
        keep: takes the message as soon as it is there.

    Raises:
        JobInterrupted: it was stopped by hand; `.result` is the text that had come.
        LLMExecutorError: as `run_llm` and `stream_llm`.
    """
    cell = _Cell(order, paint)
    try:
        message = cell.streamed() if order.is_streamed else cell.whole()
    except KeyboardInterrupt:
        cell.cut(_STOPPED, ())
        raise JobInterrupted(
            f"The cell was {_STOPPED} after {cell.took_s:.1f} s, and the connection is closed. "
            f"{'What had come is shown above' if cell.text else 'Nothing had come yet'}; run the cell to ask again.",
            result=cell.text,
        ) from None
    except LLMExecutorError as error:
        cell.cut(_BROKEN, error.attempts)
        raise
    except BaseException:
        cell.cut(_BROKEN, ())
        raise
    keep(message)
    cell.finish(message)


class _Cell:
    """One cell on its way.

    Attributes:
        text: the text that has come.
    """

    def __init__(self, order: CellOptions, paint: Paint) -> None:
        self.text = ""
        self._order = order
        self._paint = paint
        self._began = clock.current().now()
        self._began_utc = clock.current().utc()
        self._has_begun = False

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return clock.current().now() - self._began

    def streamed(self) -> AIMessage:
        """Draw each piece as it comes; return their sum as the message it is."""
        from langchain_core.messages import message_chunk_to_message  # noqa: PLC0415 - nothing heavy at %load_ext

        chunks: list[AIMessageChunk] = []
        stream = stream_llm(self._order.model, self._order.prompt.text, **self._options())
        self._begin()
        with closing(cast("Generator[AIMessageChunk, None, None]", stream)) as coming:
            for chunk in coming:
                chunks.append(chunk)
                piece = str(chunk.text)
                self.text += piece
                self._paint.add(piece)
        return cast("AIMessage", message_chunk_to_message(chunks[0] + chunks[1:]))

    def whole(self) -> AIMessage:
        """Wait for the whole answer."""
        self._begin()
        schema = {} if self._order.schema is None else {"schema": self._order.schema}
        message = run_llm(self._order.model, self._order.prompt.text, **self._options(), **schema)
        self.text = _text_of(message)
        return message

    def finish(self, message: AIMessage) -> None:
        """Draw the answer as it stays, and the line below it."""
        notes = list(self._order.notes)
        if self._order.form == "json" and not is_json(self.text):
            notes.append("-f json: the answer is no JSON, so it is shown as text")
        self._paint.end(answer_bundle(self.text, self._order.form))
        self._show_footer(session().log.of_runs([message.response_metadata["llm_run_id"]]), notes)

    def cut(self, why: str, attempts: Sequence[Attempt]) -> None:
        """Leave what was drawn with a mark; without any text take the display away."""
        if not self._has_begun:
            return
        if not self.text.strip():
            self._paint.give_up()
            if not self._order.is_verbose or not attempts:
                return
        else:
            self._paint.end(answer_bundle(self.text, self._order.form, cut=why))
        self._show_footer(attempts, self._order.notes)

    def _begin(self) -> None:
        self._paint.begin(self._waiting)
        self._has_begun = True

    def _show_footer(self, attempts: Sequence[Attempt], notes: Sequence[str]) -> None:
        kind = [f"{self._order.model}, the default model"] if self._order.is_default else []
        practice = ["rehearsal: practice answers"] if session().is_rehearsal else []
        footer = Footer(
            attempts=attempts,
            took_s=self.took_s,
            filled=self._order.filled,
            remarks=kind + practice,
            notes=notes,
            has_attempts=self._order.is_verbose,
        )
        show(footer_bundle(footer))

    def _options(self) -> dict[str, Any]:
        return {
            "system": self._order.system.text if self._order.system else None,
            "timeout": self._order.timeout_s,
            "deadline": self._order.deadline_s,
            **self._order.params,
        }

    def _waiting(self) -> str:
        """Return what stands there until the first text comes: whom it asks, how long already, and what came back."""
        since = [one.outcome.value for one in session().log.all() if one.started_utc >= self._began_utc]
        so_far = f"; so far {', '.join(since)}" if since else ""
        took = f" {self.took_s:.0f} s" if self.took_s >= 1 else ""
        return f"asking {self._order.model} …{took}{so_far}"


def _text_of(message: AIMessage) -> str:
    """Return the text of a message; of a parsed answer the object as JSON."""
    parsed = message.additional_kwargs.get("parsed")
    if parsed is None:
        return str(message.text)
    value = parsed.model_dump(mode="json") if hasattr(parsed, "model_dump") else parsed
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)

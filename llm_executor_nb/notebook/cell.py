"""One `%%llm` cell: its prompt goes down the model's chain, and the answer is drawn as it arrives.

Thin: `chain.api` runs, `view` draws and words. What was drawn stays: a stream that breaks off leaves its text with a
visible mark, and then the error is raised. With `-n` the cell shows what it would send, and sends nothing.
"""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, cast

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.api import run_llm, stream_llm
from llm_executor_nb.chain.request import make_request
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import message_of
from llm_executor_nb.core import clock
from llm_executor_nb.core.advice import hold_words
from llm_executor_nb.core.errors import JobInterrupted, LLMExecutorError, MissingKeyError
from llm_executor_nb.core.foreign_text import plain, scrub
from llm_executor_nb.view.answer import Footer, answer_bundle, footer_bundle, is_json
from llm_executor_nb.view.html import line, line_part, pre, stacked, table_part
from llm_executor_nb.view.live import show

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk

    from llm_executor_nb.core.attempt import Attempt
    from llm_executor_nb.core.records import Route
    from llm_executor_nb.notebook.arguments import CellOptions
    from llm_executor_nb.view.answer import AnswerDisplay
    from llm_executor_nb.view.html import Bundle

_STOPPED = "stopped by hand"
_BROKEN = "the stream broke off"
_ROUTE_COLUMNS = ("", "route", "model there", "tier", "now")


def run_cell(options: CellOptions, display: AnswerDisplay, keep: Callable[[AIMessage], None]) -> None:
    """Send a cell's prompt, hand LangChain's message over, and draw the answer.

    Args:
        options: what the cell says.
        display: draws the answer while it arrives.
        keep: takes the message as soon as it is complete, or what had come of it when the cell was stopped.

    Raises:
        JobInterrupted: the cell was stopped by hand; `.result` is the message so far.
        LLMExecutorError: as `run_llm` and `stream_llm`.
    """
    cell = _Cell(options, display)
    try:
        cell.load()
        message = cell.stream() if options.is_streamed else cell.wait()
        # before it is drawn: a message that was paid for is kept even if the front end fails
        keep(message)
    except KeyboardInterrupt as stopped:
        cell.cut(_STOPPED, ())
        arrived = "No text had come"
        # a whole answer that had just come is with the error
        if (part := cell.so_far() or getattr(stopped, "result", None)) is not None:
            keep(part)
            names = "llm.last is" if options.out is None else f"{options.out} and llm.last are"
            arrived = f"{names} the message so far"
        raise JobInterrupted(
            f"The cell was {_STOPPED} after {cell.took_s:.1f} s, and the connection is closed. "
            f"{arrived}; run the cell to ask again.",
            result=part,
        ) from None
    except LLMExecutorError as error:
        cell.cut(_BROKEN, error.attempts)
        raise
    except BaseException:
        cell.cut(_BROKEN, ())
        raise
    cell.finish(message)


class _Cell:
    """One cell under way.

    Attributes:
        text: the text that has arrived.
    """

    def __init__(self, options: CellOptions, display: AnswerDisplay) -> None:
        self.text = ""
        self._chunks: list[AIMessageChunk] = []
        self._options = options
        self._display = display
        self._began = clock.current().now()
        self._began_utc = clock.current().utc()
        self._has_begun = False

    @property
    def took_s(self) -> float:
        """Seconds since it began."""
        return clock.current().now() - self._began

    def load(self) -> None:
        """Wait for LangChain, which the first call loads, and say so in the place of the answer."""
        if warmup.is_loading():
            self._begin()
            warmup.wait(is_told=False)

    def so_far(self) -> AIMessage | None:
        """Return the pieces that have arrived as a message; None: there are none."""
        return message_of(self._chunks) if self._chunks else None

    def stream(self) -> AIMessage:
        """Draw each piece as it arrives; return their sum as the message it is."""
        stream = stream_llm(self._options.model, self._options.prompt.text, **self._options.call_options())
        self._begin()
        # closed at once after ■, not when it is collected: an open stream goes on costing money
        with closing(cast("Generator[AIMessageChunk, None, None]", stream)) as arriving:
            for chunk in arriving:
                self._chunks.append(chunk)
                piece = str(chunk.text)
                self.text += piece
                self._display.add(piece)
        return message_of(self._chunks)

    def wait(self) -> AIMessage:
        """Wait for the whole answer."""
        self._begin()
        # with a schema nothing can be shown before the whole answer is checked, so such a cell never streams
        schema = {} if self._options.schema is None else {"schema": self._options.schema}
        message = run_llm(self._options.model, self._options.prompt.text, **self._options.call_options(), **schema)
        self.text = _text_of(message)
        return message

    def finish(self, message: AIMessage) -> None:
        """Draw the answer as it stays, and the line below it."""
        notes = list(self._options.notes)
        if self._options.form == "json" and not is_json(self.text):
            notes.append("-f json: the answer is not JSON, so it is shown as text")
        self._display.end(answer_bundle(self.text, self._options.form))
        self._show_footer(session().log.of_runs([message.response_metadata["llm_run_id"]]), notes)

    def cut(self, why: str, attempts: Sequence[Attempt]) -> None:
        """Leave the drawn text with a mark; without any text take the display away."""
        if not self._has_begun:  # the request was refused before anything was sent or drawn
            return
        if not self.text.strip():
            # design 1: an error is never shown where an answer would be
            self._display.give_up()
            if not self._options.is_verbose or not attempts:
                return
        else:
            self._display.end(answer_bundle(self.text, self._options.form, cut=why))
        self._show_footer(attempts, self._options.notes)

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._display.begin(self._waiting)

    def _show_footer(self, attempts: Sequence[Attempt], notes: Sequence[str]) -> None:
        default = [f"{self._options.model}, the default model"] if self._options.is_default else []
        practice = ["rehearsal: practice answers"] if session().is_rehearsal else []
        footer = Footer(
            attempts=attempts,
            took_s=self.took_s,
            filled=self._options.filled,
            remarks=default + practice,
            notes=notes,
            has_attempts=self._options.is_verbose,
        )
        show(footer_bundle(footer))

    def _waiting(self) -> str:
        """Return what is shown until the first text: the model, the seconds, and the outcomes so far."""
        if warmup.is_loading():
            return warmup.LOADING
        outcomes = [one.outcome.value for one in session().log.all() if one.started_utc >= self._began_utc]
        so_far = f"; so far {', '.join(outcomes)}" if outcomes else ""
        took = f" {self.took_s:.0f} s" if self.took_s >= 1 else ""
        return f"asking {self._options.model} …{took}{so_far}"


def show_dry_run(options: CellOptions) -> None:
    """Show a cell's prompt as it would be sent, and the routes it would try. Nothing is sent.

    Raises:
        ModelNotSupportedError, ConfigError: the cell could not be sent as it is.
    """
    bounds = {"timeout": options.timeout_s, "deadline": options.deadline_s}
    facts = [f"{name}={value!r}" for name, value in options.params.items()]
    facts += [f"{name}={seconds:g} s" for name, seconds in bounds.items() if seconds is not None]
    facts += [] if options.policy is None else [f"policy={options.policy!r}"]
    head = " · ".join([f"nothing was sent · {session().options.models.resolve(options.model)}", *facts])
    show(
        stacked(
            line_part(head, "dim small"),
            *([_text_part("system", options.system.text)] if options.system else []),
            _text_part("prompt", options.prompt.text),
            *([line_part(f"filled in: {', '.join(options.filled)}", "dim small")] if options.filled else []),
            *(line_part(note, "wait small") for note in options.notes),
            line_part("routes:", "head"),
            _routes_part(options),
        )
    )


def _text_part(name: str, text: str) -> Bundle:
    # a prompt may hold a key: sending it is the user's matter, but what is shown stays in the file
    text = scrub(text)
    return {"text/plain": plain(f"{name}:\n{text}"), "text/html": line(f"{name}:", "head") + pre(text)}


def _routes_part(options: CellOptions) -> Bundle:
    """Return the routes of the cell's model in listed order; without a key the words that say so."""
    try:
        request = make_request(options.model, options.prompt.text, **options.call_options())
    except MissingKeyError as error:
        return {"text/plain": str(error), "text/html": pre(str(error))}
    routes = enumerate(request.chain.routes(), start=1)
    rows = [(str(place), *_facts(route), _state(route)) for place, route in routes]
    rows += [("", *_facts(one.route), f"left out by {one.clause}") for one in request.chain.left_out]
    return table_part(_ROUTE_COLUMNS, rows)


def _facts(route: Route) -> tuple[str, str, int]:
    return route.name, route.request_model, route.tier


def _state(route: Route) -> str:
    now = clock.current().now()
    holds = list(session().health.of(route, now))
    return hold_words(holds[0], now) if holds else "free"


def _text_of(message: AIMessage) -> str:
    """Return the text of a message; of a parsed answer the object as JSON."""
    parsed = message.additional_kwargs.get("parsed")
    if parsed is None:
        return str(message.text)
    value = parsed.model_dump(mode="json") if hasattr(parsed, "model_dump") else parsed
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)

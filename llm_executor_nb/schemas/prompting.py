"""How a route is asked for a schema: natively, by `response_format`, or in words; and how a mistake is sent back.

Every HTTP route is asked natively first. It is asked in words where the format was left out (`engine.extras` says when)
or was ignored, which prose without any JSON shows. `require_parameters` is not set, because it would narrow the user's
providers; `extra_body` can set it. A user's own chat model object is asked in words, because each takes a schema in its
own way.

The wrong answer and the validator's message go with the next request to the same provider, on any key. Another
provider gets the original request: it made no mistake, and another model's wrong answer would cost tokens and teach it
the error.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Protocol

from llm_executor_nb.core.foreign_json import parse_json
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.core.verdicts.added_parameters import RESPONSE_FORMAT
from llm_executor_nb.schemas.schema import ASKED_IN_WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_executor_nb.core.records import Route, Scope
    from llm_executor_nb.schemas.schema import Schema

    Message = dict[str, Any]

_MISTAKEN = "That answer does not fit: "
_AGAIN = "Answer again, with one JSON object that fits and nothing else."
_SHOWN_ANSWER = 4000
"""Characters of a wrong answer that are sent back; all of it would cost as much as another question."""


class ResponseFormats(Protocol):
    """Which routes take a `response_format`; the engine has one for each run."""

    def is_sent(self, name: str) -> bool:
        """Whether the next request has this field."""

    def was_ignored(self, route: Route, name: str) -> None:
        """Note that a route's answer did not follow it."""


class SchemaPrompt:
    """What one run with a schema sends to each route.

    Args:
        schema: what the answer must fit.
        payload: the request as it is without a schema.
        extras: says whether the next request asks natively, and is told where the format was ignored.
    """

    def __init__(self, schema: Schema, payload: Mapping[str, Any], extras: ResponseFormats) -> None:
        self.schema = schema
        self._payload = payload
        self._extras = extras
        self._mistakes: dict[Scope, tuple[str, str]] = {}

    def beside(self, extras: ResponseFormats) -> SchemaPrompt:
        """Return what a second request of the run goes by: its own extras, and the same mistakes."""
        prompt = copy(self)
        prompt._extras = extras  # noqa: SLF001 - it is one of us
        return prompt

    def payload(self, route: Route) -> dict[str, Any]:
        """Return the body of the next request to a route."""
        is_native = self._extras.is_sent(RESPONSE_FORMAT)
        messages = list(self._payload["messages"])
        if not is_native:
            messages = _with_instruction(messages, self.schema.instruction)
        if (mistake := self._mistakes.get(route.scope(ScopeLevel.PROVIDER))) is not None:
            messages += self._correction(*mistake, is_native=is_native)
        native = {RESPONSE_FORMAT: dict(self.schema.response_format)} if is_native else {}
        return {**self._payload, "messages": messages, **native}

    def was_mistaken(self, route: Route, answer: str, message: str) -> None:
        """Remember a wrong answer and the validator's message; prose without JSON shows that the format is ignored."""
        self._mistakes[route.scope(ScopeLevel.PROVIDER)] = (answer, message)
        if "{" not in answer:  # design 3.1: what we add is ours to drop
            self._extras.was_ignored(route, RESPONSE_FORMAT)

    def _correction(self, answer: str, message: str, *, is_native: bool) -> list[Message]:
        scrubbed = scrub(answer[: 2 * _SHOWN_ANSWER])
        shown = scrubbed if len(scrubbed) <= _SHOWN_ANSWER else f"{scrubbed[:_SHOWN_ANSWER]}…"
        request = f"{_MISTAKEN}{message}.\n{_AGAIN}"
        if is_native:  # asked in words, the schema stands in the first message already
            request += f"\n\n{self.schema.instruction}"
        return [{"role": "assistant", "content": shown}, {"role": "user", "content": request}]


def as_asked(messages: Sequence[Any]) -> tuple[list[Any], dict[str, Any] | None]:
    """Return messages without what a SchemaPrompt added, and the schema that it asked for in words; None: it did not.

    Practice providers read requests with it. It stands here so that the two cannot drift apart.
    """
    plain = list(messages)
    while len(plain) > 1 and _text_of(plain[-1]).startswith(_MISTAKEN):
        plain = plain[:-2]
    if not plain or ASKED_IN_WORDS not in _text_of(plain[-1]):
        return plain, None
    question, _, text = _text_of(plain[-1]).rpartition(ASKED_IN_WORDS)
    schema = parse_json(text)
    if schema is None:
        return plain, None
    return [*plain[:-1], {**plain[-1], "content": question.rstrip()}], schema


def _with_instruction(messages: list[Message], instruction: str) -> list[Message]:
    """Return messages with an instruction at the end of the last one, or after it where it is not the user's.

    In the same message, because some models take neither two user messages in a row nor a system message.
    """
    last = messages[-1] if messages else {}
    if last.get("role") != "user":
        return [*messages, {"role": "user", "content": instruction}]
    content = last.get("content")
    content = (
        [*content, {"type": "text", "text": instruction}]
        if isinstance(content, list)
        else f"{content}\n\n{instruction}"
    )
    return [*messages[:-1], {**last, "content": content}]


def _text_of(message: Any) -> str:  # noqa: ANN401 - JSON of any shape
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
    if isinstance(content, list):
        content = "\n\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""

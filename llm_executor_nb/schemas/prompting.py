"""How a route is asked for a schema: natively, by `response_format`, or in words; and what it is told of a mistake.

Every HTTP route is asked natively first, and in words where the format was left out (`extras` says when) or was
ignored, which prose without any JSON shows. `require_parameters` is not set, for it would narrow the user's providers;
`extra_body` can. A chat model object of the user's is asked in words: each has ways of its own of taking a schema.

A mistake is told to whom made it: the wrong answer and the validator's words go with the next request to the same
provider, on any key. Another provider starts from the original request: it has made no mistake, and another model's
wrong answer before its eyes would cost tokens and teach it the error.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.core.secret import scrub
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
"""Characters of a wrong answer that are sent back with what is wrong with it."""


class ResponseFormats(Protocol):
    """Knows where a `response_format` is taken; the engine has one for each run."""

    def is_sent(self, name: str) -> bool:
        """Whether the next request has this field."""

    def was_ignored(self, route: Route, name: str) -> None:
        """Note that an answer of a route did not keep to it."""


class SchemaPrompt:
    """What one run with a schema sends to each route.

    Args:
        schema: what the answer must fit.
        payload: the request as it is without a schema.
        extras: says whether the next request asks natively, and hears that the format was ignored.
    """

    def __init__(self, schema: Schema, payload: Mapping[str, Any], extras: ResponseFormats) -> None:
        self.schema = schema
        self._payload = payload
        self._extras = extras
        self._mistakes: dict[Scope, tuple[str, str]] = {}

    def payload(self, route: Route) -> dict[str, Any]:
        """Return the body of the next request to a route."""
        is_native = self._extras.is_sent(RESPONSE_FORMAT)
        messages = list(self._payload["messages"])
        if not is_native:
            messages = _with_words(messages, self.schema.instruction)
        if (mistake := self._mistakes.get(_place(route))) is not None:
            messages += self._told(*mistake, is_native=is_native)
        native = {RESPONSE_FORMAT: dict(self.schema.response_format)} if is_native else {}
        return {**self._payload, "messages": messages, **native}

    def was_mistaken(self, route: Route, answer: str, words: str) -> None:
        """Remember a wrong answer and what is wrong with it; one that has no JSON shows that the format is ignored."""
        self._mistakes[_place(route)] = (answer, words)
        if "{" not in answer:
            self._extras.was_ignored(route, RESPONSE_FORMAT)

    def _told(self, answer: str, words: str, *, is_native: bool) -> list[Message]:
        shown = scrub(answer if len(answer) <= _SHOWN_ANSWER else f"{answer[:_SHOWN_ANSWER]}…")
        what = f"{_MISTAKEN}{words}.\n{_AGAIN}"
        if is_native:
            what += f"\n\n{self.schema.instruction}"
        return [{"role": "assistant", "content": shown}, {"role": "user", "content": what}]


def as_asked(messages: Sequence[Any]) -> tuple[list[Any], dict[str, Any] | None]:
    """Take back what a Phrasing added to messages: return them without it, and the schema that it asked for in words.

    What a practice provider reads a request with; it stands here so that the two cannot drift apart.
    """
    kept = list(messages)
    while len(kept) > 1 and _text_of(kept[-1]).startswith(_MISTAKEN):
        kept = kept[:-2]
    if not kept or ASKED_IN_WORDS not in _text_of(kept[-1]):
        return kept, None
    question, _, schema = _text_of(kept[-1]).rpartition(ASKED_IN_WORDS)
    try:
        found = json.loads(schema)
    except ValueError:
        return kept, None
    return [*kept[:-1], {**kept[-1], "content": question.rstrip()}], found


def _place(route: Route) -> Scope:
    return route.scope(ScopeLevel.PROVIDER)


def _with_words(messages: list[Message], words: str) -> list[Message]:
    """Put an instruction at the end of the last message if a user said it, else behind it.

    In the same message, because some models take no two of a user in a row, and no system message.
    """
    last = messages[-1] if messages else {}
    if last.get("role") != "user":
        return [*messages, {"role": "user", "content": words}]
    content = last.get("content")
    content = [*content, {"type": "text", "text": words}] if isinstance(content, list) else f"{content}\n\n{words}"
    return [*messages[:-1], {**last, "content": content}]


def _text_of(message: Any) -> str:  # noqa: ANN401 - JSON of any shape
    content = message.get("content") if isinstance(message, dict) and message.get("role") == "user" else None
    if isinstance(content, list):
        content = "\n\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""

"""How a route is asked for a schema: natively, by `response_format`, or in words; and what it is told of a mistake.

Which one is decided by what happens, because nothing says it beforehand: OpenRouter passes the parameter on to
providers that may ignore it, Hugging Face's providers differ in what they take, and both change by the week. So every
HTTP route is asked natively first, and in words

- when it has refused the parameter in so many words (also OpenRouter's 404 for want of an endpoint that takes it):
  at once, on the same route, and from then on;
- when it has ignored it, which prose without any JSON shows: at the retry, and from then on;
- when it has failed on it without a reason (an error, a blank or a broken reply): in the retries of this run.

"From then on" is kept with the holds: per provider, model and schema, until the model's row changes or
`reset_health()`. `require_parameters` is not set, for it would narrow the user's providers; `extra_body` can. A chat
model object of the user's is asked in words: each has ways of its own of taking a schema.

A mistake is told to whom made it: the wrong answer and the validator's words go with the next request to the same
provider, on any key. Another provider starts from the original request: it has made no mistake, and another model's
wrong answer before its eyes would cost tokens and teach it the error.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.structured import ASKED_IN_WORDS
from llm_executor_nb.core.outcomes import Outcome, Reach
from llm_executor_nb.core.secret import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llm_executor_nb.chain.structured import Schema
    from llm_executor_nb.core.records import Route, Scope, Verdict

    Message = dict[str, Any]

_MISTAKEN = "That answer does not fit: "
_AGAIN = "Answer again, with one JSON object that fits and nothing else."
_SHOWN_ANSWER = 4000
"""Characters of a wrong answer that are sent back with what is wrong with it."""
_REFUSALS = frozenset({Outcome.BAD_REQUEST, Outcome.UNSUPPORTED, Outcome.NOT_FOUND})
_MAY_BE_THE_FORMAT = frozenset({Outcome.EMPTY, Outcome.MALFORMED, Outcome.SERVER_ERROR})
_NAMES_THE_FORMAT = re.compile(
    r"response[_ ]?format|structured[_ ]?output|json[_ -]?(schema|mode|object)|guided|grammar|invalid schema"
    r"|the requested parameters|support (for )?parameters",
    re.IGNORECASE,
)


class Phrasing:
    """What one run with a schema sends to each route.

    Args:
        schema: what the answer must fit.
        payload: the request as it is without a schema.
        declined: who does not take which schema natively; shared by all runs, and added to.
    """

    def __init__(self, schema: Schema, payload: Mapping[str, Any], declined: set[tuple[Scope, str]]) -> None:
        self.schema = schema
        self._payload = payload
        self._declined = declined
        self._in_words: set[Scope] = set()
        self._mistakes: dict[Scope, tuple[str, str]] = {}
        self._is_native = False

    def payload(self, route: Route, *, is_native: bool) -> dict[str, Any]:
        """Return the body of the next request to a route.

        Args:
            route: who is asked.
            is_native: it may be sent a `response_format`.
        """
        place = _place(route)
        self._is_native = is_native and place not in self._in_words and not self._has_declined(place)
        messages = list(self._payload["messages"])
        if not self._is_native:
            messages = _with_words(messages, self.schema.instruction)
        if (mistake := self._mistakes.get(place)) is not None:
            messages += self._told(*mistake)
        native = {"response_format": dict(self.schema.response_format)} if self._is_native else {}
        return {**self._payload, "messages": messages, **native}

    def is_declined(self, route: Route, verdict: Verdict) -> bool:
        """Say whether a route has just refused to be asked natively, and remember that."""
        words = f"{verdict.error_code} {verdict.message}"
        is_so = self._is_native and verdict.outcome in _REFUSALS and _NAMES_THE_FORMAT.search(words) is not None
        if is_so:
            self._declined.add((_place(route), self.schema.digest_text))
        return is_so

    def learn(self, route: Route, verdict: Verdict) -> None:
        """Ask in words from now on, in this run, where the format may be what a route fails on."""
        if self._is_native and verdict.outcome in _MAY_BE_THE_FORMAT:
            self._in_words.add(_place(route))

    def was_mistaken(self, route: Route, answer: str, words: str) -> None:
        """Remember a wrong answer and what is wrong with it; one that has no JSON shows that the format is ignored."""
        self._mistakes[_place(route)] = (answer, words)
        if self._is_native and "{" not in answer:
            self._declined.add((_place(route), self.schema.digest_text))

    def _has_declined(self, place: Scope) -> bool:
        return (place, self.schema.digest_text) in self._declined

    def _told(self, answer: str, words: str) -> list[Message]:
        shown = scrub(answer if len(answer) <= _SHOWN_ANSWER else f"{answer[:_SHOWN_ANSWER]}…")
        what = f"{_MISTAKEN}{words}.\n{_AGAIN}"
        if self._is_native:
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
    return route.scope(Reach.PROVIDER)


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

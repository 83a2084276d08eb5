"""The extras: what a run adds to a request that the user did not ask for.

They are a response format, `stream_options`, which asks for a stream's usage, and for OpenRouter a header that asks who
answered. They are ours to leave out (design 3.1). No provider says beforehand whether it takes them, so every HTTP
route is sent them first. It is asked again without an extra

- at once, and from then on, when it refused the extra by name;
- at once when the model's output was thrown away because it did not keep to the format;
- when it failed without a reason (an error, an empty or a broken reply). A row of a job is sent again at once, if no
  request with the extra was answered there yet. A run by hand leaves it out in its retries, first the format, then
  `stream_options`, last the header. A server that says it is busy is believed once.

If the request after such a failure is answered without the extra, the extra is left out there from then on, unless
another request was or is answered with it. What is known is kept with the holds, until the row or the backend changes,
or `reset_health()`: a response format per provider, model and schema, the header per model, `stream_options`
per provider.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core.holds import Support
from llm_executor_nb.core.outcomes import Need, Outcome, ScopeLevel
from llm_executor_nb.core.records import OPENROUTER, Scope
from llm_executor_nb.core.verdicts.added_parameters import (
    FAILED_OUTPUT,
    METADATA,
    RESPONSE_FORMAT,
    STREAM_OPTIONS,
    TOOLS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from llm_executor_nb.core.holds import Health
    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.request import RunRequest

_SPEAKS_OF_OTHERS = frozenset(
    {
        Outcome.CONNECTION,
        Outcome.TIMEOUT,
        Outcome.RATE_LIMITED,
        Outcome.QUOTA,
        Outcome.AUTH,
        Outcome.CONTEXT_LENGTH,
        Outcome.CONTENT_FILTER,
        Outcome.TRUNCATED,
    }
)
"""Outcomes that are about something else, even if their message names an extra."""
_WITHOUT_A_REASON = frozenset({Outcome.EMPTY, Outcome.MALFORMED, Outcome.OVERLOADED, Outcome.SERVER_ERROR})
_PATIENCE = {RESPONSE_FORMAT: 1, STREAM_OPTIONS: 2, METADATA: 3}
"""After how many failures without a reason in one run an extra is left out; one more where it was taken before."""
_LEAVE_OUT = (Support.MISSED, Support.REFUSED)
_NONE: frozenset[str] = frozenset()
_NO_METADATA = frozenset({METADATA})


class Extras:
    """What one run adds to its requests, and what it has learnt of that.

    Args:
        request: what is asked.
        health: keeps what all runs have learnt.
        is_stream: whether a stream is asked for.
    """

    def __init__(self, request: RunRequest, health: Health, *, is_stream: bool) -> None:
        self._request = request
        self._known = health.extras
        self._wanted = {METADATA: METADATA}
        if request.schema is not None:
            self._wanted[RESPONSE_FORMAT] = request.schema.digest_text
        if is_stream:
            self._wanted[STREAM_OPTIONS] = STREAM_OPTIONS
        self._sent = _NONE
        self._left_out: dict[Scope, frozenset[str]] = {}
        self._suspects: dict[Scope, frozenset[str]] = {}
        self._failures: dict[Scope, int] = {}

    def choose(self, route: Route, *, takes_extras: bool) -> None:
        """Choose the extras of the next request to a route."""
        names = self._wanted if takes_extras else _NONE
        self._sent = frozenset([name for name in names if self._may_send(name, route)])

    def is_sent(self, name: str) -> bool:
        """Whether the next request has an extra."""
        return name in self._sent

    def extra_body(self, route: Route) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the request's `extra_body`, in which None leaves out what is not to be sent."""
        given = self._request.extra_body
        if STREAM_OPTIONS not in self._wanted or STREAM_OPTIONS in self._sent:
            return given
        fields = (given or {}).get(route.backend) or {}
        return {**(given or {}), route.backend: {**fields, STREAM_OPTIONS: None}}

    def headers_left_out(self, route: Route) -> frozenset[str]:
        """Return the headers that the backend would get, and that the next request must not have."""
        return _NONE if METADATA in self._sent or route.backend != OPENROUTER else _NO_METADATA

    def judge(self, route: Route, verdict: Verdict, *, is_probe: bool) -> Verdict | None:
        """Learn from a reply; return the verdict to record if the request goes out again at once without an extra.

        Args:
            route: the route that replied.
            verdict: what the reply means.
            is_probe: whether the request was the probe of a hold, so that others have failed there before.
        """
        if verdict.outcome is Outcome.OK:
            self._answered(route)
            return None
        if refused := self._refused_by(verdict):
            self._leave_out(route, refused)
            return self._verdict_on_refusal(route, refused, verdict)
        if verdict.outcome in _WITHOUT_A_REASON and verdict.retry_after_s is None:
            return verdict if self._is_doubtful(route, verdict.outcome, is_probe=is_probe) else None
        return None

    def was_ignored(self, route: Route, name: str) -> None:
        """Remember that an answer did not keep to an extra, if the extra was sent."""
        if name in self._sent:
            self._learn(route, (name,), Support.REFUSED)

    # --- what is known ------------------------------------------------------------------------------------------

    def _may_send(self, name: str, route: Route) -> bool:
        if name == METADATA and route.backend != OPENROUTER:
            return False
        given = self._request.extra_body
        if given and name in (given.get(route.backend) or ()):  # the user decided: set it, or left it out with a None
            return False
        if self._left_out and name in self._left_out.get(route.scope(ScopeLevel.PROVIDER), _NONE):
            return False
        return self._known.get(self._entry(name, route)) not in _LEAVE_OUT

    def _learn(self, route: Route, names: Iterable[str], support: Support) -> None:
        for name in names:
            entry = self._entry(name, route)
            known = self._known.get(entry)
            if known is None or known < support:
                self._known[entry] = support

    def _entry(self, name: str, route: Route) -> tuple[Scope, str]:
        """Return where the knowledge of an extra is kept: per provider, and but for `stream_options` per model."""
        if name != STREAM_OPTIONS:
            return route.scope(ScopeLevel.PROVIDER), self._wanted[name]
        return Scope(ScopeLevel.PROVIDER, route.backend, None, route.provider), self._wanted[name]

    # --- learning -----------------------------------------------------------------------------------------------

    def _answered(self, route: Route) -> None:
        self._learn(route, self._sent, Support.TAKEN)
        if self._suspects:
            self._learn(route, self._suspects.pop(route.scope(ScopeLevel.PROVIDER), _NONE), Support.MISSED)

    def _refused_by(self, verdict: Verdict) -> frozenset[str]:
        """Return which of the extras that were sent a reply refuses."""
        names = verdict.names | ({RESPONSE_FORMAT} if verdict.need is Need.SCHEMA else _NONE)
        if not names or verdict.outcome in _SPEAKS_OF_OTHERS:
            return _NONE
        is_schema_as_tool = TOOLS in names and not self._request.payload.get("tools")
        if FAILED_OUTPUT in names or is_schema_as_tool:
            names |= {RESPONSE_FORMAT}
        return names & self._sent

    def _verdict_on_refusal(self, route: Route, refused: frozenset[str], verdict: Verdict) -> Verdict:
        if FAILED_OUTPUT in verdict.names:  # this answer failed; the next one may not
            self._suspects[route.scope(ScopeLevel.PROVIDER)] = refused
            return replace(verdict, outcome=Outcome.INVALID_OUTPUT)
        self._learn(route, refused, Support.REFUSED)
        return replace(verdict, outcome=Outcome.UNSUPPORTED)

    def _is_doubtful(self, route: Route, outcome: Outcome, *, is_probe: bool) -> bool:
        """Count a failure, and leave out what may be its cause; return whether to ask again without it at once."""
        place = route.scope(ScopeLevel.PROVIDER)
        count = self._failures[place] = self._failures.get(place, 0) + 1
        is_busy = outcome is Outcome.OVERLOADED
        suspects = frozenset(
            name
            for name in self._sent
            if count >= self._patience(name, route, is_busy=is_busy) + (is_busy and not is_probe)
        )
        self._suspects[place] = suspects
        self._leave_out(route, suspects)
        return bool(suspects) and not self._request.is_by_hand and count == 1

    def _patience(self, name: str, route: Route, *, is_busy: bool) -> float:
        """Return after how many failures an extra is left out; never where it was taken and the server is busy."""
        is_taken = self._known.get(self._entry(name, route)) is Support.TAKEN
        return math.inf if is_taken and is_busy else _PATIENCE[name] + is_taken

    def _leave_out(self, route: Route, names: frozenset[str]) -> None:
        place = route.scope(ScopeLevel.PROVIDER)
        self._left_out[place] = self._left_out.get(place, _NONE) | names

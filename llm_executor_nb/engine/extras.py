"""What a run adds to a request beside what the user asked for: a response format, and the wish for a stream's usage.

It is ours to leave out, and which place takes it is decided by what happens, because nothing says it beforehand. So
every HTTP route is sent it first, and is asked again without it

- when it refused it in so many words: at once, on the same route, and from then on;
- when the model's output was thrown away because it did not keep to the format: at once;
- when it failed without a reason (an error, a blank or a broken reply): a row of a job at once, if nobody was answered
  with it there yet; a run by hand in its retries, first without the format, then without the wish for the usage. A
  server that says it is busy is believed once.

What was answered without it, next after such a failure, is left out there from then on, unless somebody was or is
answered with it. "From then on" is kept with the holds: a response format per provider, model and schema, the wish for
the usage per provider; until the row or the backend changes, or `reset_health()`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from llm_executor_nb.core.holds import Support
from llm_executor_nb.core.outcomes import Need, Outcome, ScopeLevel
from llm_executor_nb.core.records import Scope
from llm_executor_nb.core.verdicts.added_parameters import FAILED_OUTPUT, RESPONSE_FORMAT, STREAM_OPTIONS, TOOLS

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
"""Outcomes that are about something else, whatever their words name."""
_WITHOUT_A_REASON = frozenset({Outcome.EMPTY, Outcome.MALFORMED, Outcome.OVERLOADED, Outcome.SERVER_ERROR})
_PATIENCE = {RESPONSE_FORMAT: 1, STREAM_OPTIONS: 2}
"""After how many failures without a reason in one run it is left out; later where something speaks against that."""
_LEAVE_OUT = (Support.MISSED, Support.REFUSED)
_NONE: frozenset[str] = frozenset()


class Extras:
    """What one run adds to its requests, and what it has found out about that.

    Args:
        ask: the run's order.
        health: what all runs have found out; added to.
        is_stream: the answer shall come as a stream.
    """

    def __init__(self, ask: RunRequest, health: Health, *, is_stream: bool) -> None:
        self._ask = ask
        self._known = health.extras
        self._wanted: dict[str, str] = {}
        if ask.schema is not None:
            self._wanted[RESPONSE_FORMAT] = ask.schema.digest_text
        if is_stream:
            self._wanted[STREAM_OPTIONS] = STREAM_OPTIONS
        self._sent = _NONE
        self._left_out: dict[Scope, frozenset[str]] = {}
        self._suspects: dict[Scope, frozenset[str]] = {}
        self._failures: dict[Scope, int] = {}

    def choose(self, route: Route, *, takes_extras: bool) -> None:
        """Choose what goes with the next request to a route."""
        if self._wanted:
            names = self._wanted if takes_extras else _NONE
            self._sent = frozenset(name for name in names if self._may_send(name, route))

    def is_sent(self, name: str) -> bool:
        """Whether an extra goes with the request."""
        return name in self._sent

    def extra_body(self, route: Route) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the order's `extra_body`, in which None leaves out what is not to be sent."""
        given = self._ask.extra_body
        if STREAM_OPTIONS not in self._wanted or STREAM_OPTIONS in self._sent:
            return given
        fields = (given or {}).get(route.backend) or {}
        return {**(given or {}), route.backend: {**fields, STREAM_OPTIONS: None}}

    def judge(self, route: Route, verdict: Verdict, *, is_probe: bool) -> Verdict | None:
        """Learn from a reply; return what it is in the log if the request goes out again at once without something.

        Args:
            route: who replied.
            verdict: what the reply was found to be.
            is_probe: the request was the probe of a hold, so that others have failed there before.
        """
        if not self._wanted:
            return None
        if verdict.outcome is Outcome.OK:
            self._answered(route)
            return None
        if refused := self._refused_by(verdict):
            self._leave_out(route, refused)
            return self._told(route, refused, verdict)
        if verdict.outcome in _WITHOUT_A_REASON and verdict.retry_after_s is None:
            return verdict if self._is_doubtful(route, verdict.outcome, is_probe=is_probe) else None
        return None

    def was_ignored(self, route: Route, name: str) -> None:
        """Remember that an answer shows no trace of an extra, if it was sent."""
        if name in self._sent:
            self._learn(route, (name,), Support.REFUSED)

    # --- what is known ------------------------------------------------------------------------------------------

    def _may_send(self, name: str, route: Route) -> bool:
        if name in ((self._ask.extra_body or {}).get(route.backend) or {}):  # the user's None
            return False
        is_left_out = name in self._left_out.get(route.scope(ScopeLevel.PROVIDER), _NONE)
        return not is_left_out and self._known.get(self._entry(name, route)) not in _LEAVE_OUT

    def _learn(self, route: Route, names: Iterable[str], support: Support) -> None:
        for name in names:
            entry = self._entry(name, route)
            self._known[entry] = max(self._known.get(entry, support), support)

    def _entry(self, name: str, route: Route) -> tuple[Scope, str]:
        """Return where an extra is known by: a format at a provider of the model, others at the provider."""
        if name == RESPONSE_FORMAT:
            return route.scope(ScopeLevel.PROVIDER), self._wanted[name]
        return Scope(ScopeLevel.PROVIDER, route.backend, None, route.provider), self._wanted[name]

    # --- learning -----------------------------------------------------------------------------------------------

    def _answered(self, route: Route) -> None:
        self._learn(route, self._sent, Support.TAKEN)
        self._learn(route, self._suspects.pop(route.scope(ScopeLevel.PROVIDER), _NONE), Support.MISSED)

    def _refused_by(self, verdict: Verdict) -> frozenset[str]:
        """Return what a reply refuses of that which was sent."""
        names = verdict.names | ({RESPONSE_FORMAT} if verdict.need is Need.SCHEMA else _NONE)
        if not names or verdict.outcome in _SPEAKS_OF_OTHERS:
            return _NONE
        is_schema_as_tool = TOOLS in names and not self._ask.payload.get("tools")
        if FAILED_OUTPUT in names or is_schema_as_tool:
            names |= {RESPONSE_FORMAT}
        return names & self._sent

    def _told(self, route: Route, refused: frozenset[str], verdict: Verdict) -> Verdict:
        if FAILED_OUTPUT in verdict.names:  # this answer failed; the next need not
            self._suspects[route.scope(ScopeLevel.PROVIDER)] = refused
            return replace(verdict, outcome=Outcome.INVALID_OUTPUT)
        self._learn(route, refused, Support.REFUSED)
        return replace(verdict, outcome=Outcome.UNSUPPORTED)

    def _is_doubtful(self, route: Route, outcome: Outcome, *, is_probe: bool) -> bool:
        """Count a failure, and leave out what may be its cause; whether to ask without it at once."""
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
        return bool(suspects) and not self._ask.is_by_hand and count == 1

    def _patience(self, name: str, route: Route, *, is_busy: bool) -> float:
        """Return after how many failures an extra is left out: later where it was taken, and there never if busy."""
        is_taken = self._known.get(self._entry(name, route)) is Support.TAKEN
        return math.inf if is_taken and is_busy else _PATIENCE[name] + is_taken

    def _leave_out(self, route: Route, names: frozenset[str]) -> None:
        place = route.scope(ScopeLevel.PROVIDER)
        self._left_out[place] = self._left_out.get(place, _NONE) | names

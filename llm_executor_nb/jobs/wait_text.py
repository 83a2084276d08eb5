"""What stands in a job's way, in sentences: what fails and why, when it is tried next, and what bounds the wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.core.foreign_text import shorten
from llm_executor_nb.core.holds import HoldKind, describe
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.view.text import time_left

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llm_executor_nb.core.holds import Health, Hold
    from llm_executor_nb.core.records import Route

# design 3.3: while it waits, a job says once a minute what fails, why, when it tries next and what bounds it
QUIET_S = 60.0
"""Seconds without an answer after which a job says why, and seconds between two such messages."""
STUCK_S = 10.0
"""The same where no route can be asked: then nothing but time can help."""
_LONGEST_CAUSE = 120
_DEAD, _EMPTY, _LEFT_OUT = ("is", "are", "dead"), ("has", "have", "no credit left"), ("is", "are", "not asked any more")
"""What is said of one, and of several, that are held until something is changed."""
_OF_A_KEY = {Outcome.AUTH: _DEAD, Outcome.FORBIDDEN: _DEAD, Outcome.QUOTA: _EMPTY}


def wait_text(
    held: Sequence[Hold],
    *,
    routes: int,
    now: float,
    silent_s: float,
    silence_bound_s: float,
    budget_left_s: float | None = None,
    trouble: str = "",
    others: int = 0,
) -> str:
    """Return why a job waits, in one line without a key; "": nothing stands in its way.

    Args:
        held: for each route that cannot be asked now the hold that says so.
        routes: how many routes there are.
        now: the time on the clock of the holds.
        silent_s: seconds since the last answer, or since the job began.
        silence_bound_s: seconds without an answer after which the job ends.
        budget_left_s: seconds until its `budget_s` ends it; None: it has none.
        trouble: why the ledger cannot be written; "": it can.
        others: rows that another job is asking for.
    """
    causes = [*_of_ledger(trouble), *_of_others(others), *held_texts(held, routes, now)]
    if not causes:
        return ""
    is_bounded = not trouble and not others  # the silence bound counts only the providers' silence
    bound = _bound(silence_bound_s if is_bounded else None, budget_left_s)
    return " ".join([*causes, f"No answer for {time_left(silent_s)}.", bound])


def held_routes(routes: Iterable[Route], health: Health, now: float) -> list[Hold]:
    """Return for each route that cannot be asked now the longest of its holds."""
    longest = []
    for route in routes:
        holds = [hold for hold in health.of(route, now) if hold.is_active(now) or hold.is_probing]
        if holds:
            longest.append(max(holds, key=lambda hold: (hold.kind is HoldKind.CONDEMNED, hold.until)))
    return longest


def held_texts(held: Sequence[Hold], routes: int, now: float) -> list[str]:
    """Return what cannot be asked and why, a sentence for each cause, and when the next try is."""
    # design 3.2: a job never waits for a condemned hold, so its end is not the next try
    waited_for = [hold for hold in held if hold.kind is not HoldKind.CONDEMNED]
    texts = _of_condemned(hold for hold in held if hold.kind is HoldKind.CONDEMNED)
    if waited_for:
        failing = _counted(len(waited_for), routes, dead=len(held) - len(waited_for))
        texts += [f"{failing} ({_causes(waited_for)}).", _next_try(waited_for, now)]
    return texts


def _of_ledger(trouble: str) -> list[str]:
    return [f"The ledger cannot be written ({_short(trouble)}), so nothing is asked until it can."] if trouble else []


def _of_others(rows: int) -> list[str]:
    return [f"{rows:,} {'row waits' if rows == 1 else 'rows wait'} for another job's answers."] if rows else []


def _of_condemned(holds: Iterable[Hold]) -> list[str]:
    """Return a sentence for each state: which keys are dead, and what else is not asked until a change."""
    alike: dict[tuple[str, str, str], dict[str, Hold]] = {}
    for hold in holds:
        is_key = hold.scope.reach is ScopeLevel.KEY
        state = _OF_A_KEY.get(hold.why, _LEFT_OUT) if is_key and hold.scope.secret else _LEFT_OUT
        name = describe(hold.scope) if hold.scope.secret or not is_key else hold.scope.backend
        alike.setdefault(state, {})[name] = hold
    return [_condemned(state, list(group), group.values()) for state, group in alike.items()]


def _condemned(state: tuple[str, str, str], names: list[str], holds: Iterable[Hold]) -> str:
    one, several, what = state
    more = f" and {len(names) - 1} more {several}" if len(names) > 1 else f" {one}"
    return f"{names[0][:1].upper()}{names[0][1:]}{more} {what} ({_causes(holds)})."


def _causes(holds: Iterable[Hold]) -> str:
    """Return each cause once: the words of the first reply with it, or its name where there are none."""
    causes: dict[str, str] = {}
    for hold in holds:
        causes[hold.why.value] = causes.get(hold.why.value) or _words(hold)
    return "; ".join(words or cause.replace("_", " ") for cause, words in causes.items())


def _words(hold: Hold) -> str:
    """Return the reply's status and words; its words alone where they hold the status, or it was no error's."""
    words, status = _short(hold.message), hold.http_status
    return words if not status or status < 400 or str(status) in words else f"{status} {words}".rstrip()


def _counted(failing: int, routes: int, dead: int) -> str:
    if failing + dead < routes:
        return f"{failing} of {routes} routes {'fails' if failing == 1 else 'fail'}"
    others = f"{routes - dead} routes fail"
    if dead:
        return "The other route fails" if failing == 1 else f"The other {others}"
    return "The only route fails" if routes == 1 else f"All {others}"


def _next_try(held: Iterable[Hold], now: float) -> str:
    if any(hold.is_probing for hold in held):
        return "The next try is under way."
    return f"Next try in {time_left(min(hold.until for hold in held) - now)}."


def _bound(silence_s: float | None, budget_left_s: float | None) -> str:
    silence = [] if silence_s is None else [f"after {time_left(silence_s)} without an answer"]
    if budget_left_s is not None:
        return f"Ends {', or '.join([*silence, f'in {time_left(budget_left_s)} by its budget_s='])}."
    return f"Bound it with budget_s=. Else it {f'ends {silence[0]}' if silence else 'waits without end'}."


def _short(message: str) -> str:
    """Return a provider's message on one line, cut, and without the full stop at its end."""
    line = shorten(message)
    return (line if len(line) <= _LONGEST_CAUSE else f"{line[:_LONGEST_CAUSE].rstrip()} …").rstrip(".")

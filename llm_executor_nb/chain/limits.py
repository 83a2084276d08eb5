"""What is known before a job begins: the limits of OpenRouter's free models, and the models that will end.

Source of the limits: OpenRouter's page on rate limits. Nothing here costs anything; the replies are cached.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llm_executor_nb.chain.key_lookups import statuses_of
from llm_executor_nb.chain.lookups import id_at, list_of
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.engine.loop import run_sync

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import date

    from llm_executor_nb.core.chain import Chain
    from llm_executor_nb.core.records import Key, Route
    from llm_executor_nb.providers.key_status import KeyStatus

_FREE: Final = "free"
_PER_MINUTE: Final = 20
_PER_DAY, _PER_DAY_ONCE_PAID = 50, 1000
"""Requests that the free models take of one account."""


def limits_of(chain: Chain, requests: int) -> tuple[str, ...]:
    """Return in words which limits of a free model cannot carry so many requests; none: all of them can.

    The limits are OpenRouter's. Other routes of the chain are not counted.
    """
    keys = [route.key for route in chain.routes() if route.key and _is_free(route)]
    statuses = [status for status in _statuses(keys) if status.is_alive is not False] if requests else []
    if not (days := list(map(_day, statuses))):
        return ()
    is_known = all(status.free_requests for status in statuses)
    has_others = any(not _is_free(route) for route in chain.routes())
    return tuple(_limits(requests, days, has_others=has_others, is_known=is_known))


def _limits(requests: int, days: list[tuple[int, int]], *, has_others: bool, is_known: bool) -> Iterator[str]:
    left, day = (sum(counts) for counts in zip(*days, strict=True))
    if requests > left:
        more = f"{requests - left:,} of {requests:,}"
        then = f"{more} go to the next routes" if has_others else f"ask {more} on another day, or add a route"
        perhaps = "" if is_known else "perhaps "
        yield f"{perhaps}{left:,} of {day:,} free requests are left today (UTC){_on(len(days))}: {then}"
    with_room = sum(room > 0 for room, _ in days)
    asked, per_minute = min(requests, left), _PER_MINUTE * with_room
    if asked > per_minute:
        minutes = math.ceil(asked / per_minute) - 1
        yield f"{per_minute} free requests a minute{_on(with_room)}: {asked:,} take at least {minutes:,} min"


def _on(keys: int) -> str:
    return f" on {keys} keys, if they are of different accounts" if keys > 1 else ""


def _is_free(route: Route) -> bool:
    """Whether a route is OpenRouter's free variant of a model."""
    return route.backend == OPENROUTER and _FREE in route.request_model.lower().split(":")[1:]


def _statuses(keys: list[Key]) -> list[KeyStatus]:
    current = session()
    return statuses_of(keys, current) if keys and current.may_look_up else []


def _day(status: KeyStatus) -> tuple[int, int]:
    """Return how many free requests are left today and how many a day has, as far as that is known."""
    usual = _PER_DAY_ONCE_PAID if status.is_free_tier is False else _PER_DAY
    return status.free_requests or (usual, usual)


# --- models that will end -----------------------------------------------------------------------------------------


def ends_of(models: Iterable[str]) -> Mapping[str, str]:
    """Return which models of the table OpenRouter will not serve for ever: model -> until when, in words."""
    current = session()
    table = current.options.models
    asked = {model: id_at(OPENROUTER, model, current) for model in models if model not in table.off_openrouter}
    if not asked or not current.options.keys.of(OPENROUTER):
        return {}
    if not current.may_look_up:
        return {}
    listed = run_sync(lambda: list_of(OPENROUTER, (), current))
    ends = {model: offers[0].expires for model, there in asked.items() if (offers := listed.of(there))}
    return {model: _until(end.date()) for model, end in ends.items() if end is not None}


def _until(day: date) -> str:
    left = (day - clock.current().utc().date()).days
    if left < 0:
        return f"OpenRouter's list says that it ended on {day}"
    return f"OpenRouter serves it until {day}, {'today' if not left else f'{left:,} days from now'}"

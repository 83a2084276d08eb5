"""What a user can look at: the attempts behind an answer, the holds, the state of every route. Sends nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.policies import in_force, routes_under
from llm_executor_nb.chain.session import session
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.holds import RouteStatus
from llm_executor_nb.core.near_names import noted_as
from llm_executor_nb.core.outcomes import ScopeLevel
from llm_executor_nb.core.records import Route
from llm_executor_nb.core.secret import door
from llm_executor_nb.store.tables import attempts_frame, holds_frame
from llm_executor_nb.view.attempts import AttemptsFrame
from llm_executor_nb.view.holds import HoldsFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llm_executor_nb.core.chain import Chain, LeftOut
    from llm_executor_nb.core.outcomes import Outcome
    from llm_executor_nb.core.records import Key, Scope

_RUN = "_run"
JOB_ATTRS = "llm"
"""Where the answers of `s.llm.run` hold the id of their job, in `Series.attrs`."""
_OF_A_JOB = r"[0-9a-f]{12}-[0-9a-f]+"
"""The form of a job's run ids."""


@door
@noted_as("llm.attempts")
@stoppable
def attempts(of: object = None) -> pd.DataFrame:
    """Return the attempt log: which route was asked, what came back, how long it took, what it cost.

    Args:
        of: a reply, an exception of this package, a frame that a job returned (merged or not), its `*_run` column, the
            answers of `s.llm.run`, a job, or a run id; None: all attempts of this process (of calls by hand the last
            10,000).

    Returns:
        One row per request, by the time it was sent; the columns of `Attempt`. It is displayed with row, attempt,
        route, outcome, upstream, message, decision, seconds and cost.

    Raises:
        ConfigError: `of` has no attempts.
    """
    return AttemptsFrame(_attempts(of))


def _attempts(of: object) -> pd.DataFrame:
    if of is None:
        return session().attempts()
    if isinstance(of, BaseException) and isinstance(records := getattr(of, "attempts", None), tuple):
        return attempts_frame(records)
    if isinstance(job_id := getattr(of, "job_id", None), str):
        return session().attempts_of(job_ids=[job_id])
    if (run_ids := run_ids_of(of)) is not None:
        return session().attempts_of(run_ids=run_ids)
    if isinstance(of, pd.Series) and (made := of.attrs.get(JOB_ATTRS)):
        return session().attempts_of(job_ids=[made["job_id"]])
    raise ConfigError(
        f"There are no attempts of this {type(of).__name__}. Give a reply, an exception of this package, a job, a "
        "result of df.llm.run or s.llm.run, or a run id; without an argument all attempts are shown.",
    )


def health() -> pd.DataFrame:
    """Return what is on hold: one row per hold, why, and the seconds left. Sends nothing.

    Returns:
        A frame without rows when nothing is on hold; its display says so. What the session's policy leaves out is a
        row of the kind `policy`, which says the clause; prices are not looked up for it.
    """
    now = clock.current().now()
    return HoldsFrame(holds_frame(session().health.holds(now), now, left_out_by_session()))


def left_out_by_session() -> list[LeftOut]:
    """Return what the session's policy leaves out of the table's models: each place once, whatever the key."""
    places: dict[Scope, LeftOut] = {}
    for chain in _chains(None):
        for one in chain.left_out:
            places.setdefault(one.route.scope(ScopeLevel.PROVIDER), one)
    return list(places.values())


def reset_health() -> None:
    """Drop every hold and every learnt pace, also on the workers of a job, so that every route is asked again."""
    session().health.reset()
    for job in list(session().jobs):
        job.reset_health()


def run_ids_of(of: object) -> list[str] | None:
    """Return the run ids in a reply, a frame with `*_run` columns, one of these columns, or a run id itself."""
    if isinstance(of, str):
        return [of]
    metadata = getattr(of, "response_metadata", None)
    if isinstance(metadata, dict) and "llm_run_id" in metadata:
        return [metadata["llm_run_id"]]
    if isinstance(of, pd.Series):
        return [str(run) for run in of.dropna()] if _is_of_runs(of) else None
    frame: Any = of
    columns = [frame.iloc[:, at] for at in range(frame.shape[1])] if isinstance(of, pd.DataFrame) else []
    of_runs = [column for column in columns if _is_of_runs(column)]
    return [str(run) for column in of_runs for run in column.dropna()] if of_runs else None


def has_run_ids(column: pd.Series[Any]) -> bool:
    """Whether a column holds run ids of jobs and nothing else, whatever its name."""
    if not pd.api.types.is_string_dtype(column.dropna()):
        return False
    texts = column.dropna().astype("string")
    return len(texts) > 0 and bool(texts.str.fullmatch(_OF_A_JOB).all())


def _is_of_runs(column: pd.Series[Any]) -> bool:
    """Whether a column is named like a `*_run` column, also with the suffix that a merge adds."""
    name = column.name
    return isinstance(name, str) and (name.endswith(_RUN) or (_RUN in name and has_run_ids(column)))


# --- the state of every route and key -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthState:
    """What holds and replies say of a route, or of a key.

    Attributes:
        standing: whether it can be asked.
        why: the outcome that put it on hold, or the clause of the policy; empty: it is free.
        seconds_left: until the hold ends (infinite: until a change; 0: the next run probes it); None: it is free.
        in_flight: the number of its requests under way.
        outcomes: the outcomes of its finished requests, with their numbers.
    """

    standing: RouteStatus
    why: str
    seconds_left: float | None
    in_flight: int
    outcomes: Mapping[Outcome, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteState(HealthState):
    """The state of one route.

    Attributes:
        model: its name in the provider table.
        route: its name in the attempt log.
        tier: 1 for OpenRouter, 2 for all others.
        upstreams: who served its answers, each with its count.
    """

    model: str
    route: str
    tier: int
    upstreams: Mapping[str, int]


def route_states(models: Iterable[str] | None = None) -> Iterator[RouteState]:
    """Yield every route of some models of the table (None: of all), in the order they are asked.

    A model without a key has none.
    """
    for chain in _chains(models):
        yield from map(_state_of, chain.routes())
        yield from map(_state_left_out, chain.left_out)


def _chains(models: Iterable[str] | None) -> Iterator[Chain]:
    """Yield the chains of some models of the table (None: of all), under the session's policy."""
    current = session()
    options, policy = current.options, in_force(None, current.options)
    for model in tuple(options.models) if models is None else models:
        try:
            chain = compiled(model, current)
        except ConfigError:  # no key, or a wrong row; a call of this model raises it
            continue
        yield routes_under(policy, chain, options.backends, None) if policy else chain


def key_state(key: Key) -> HealthState:
    """Return the state of a key, whatever the model is."""
    whole = Route(backend=key.backend, key=key, provider=None, model="", request_model="", tier=1)
    return HealthState(**_health_of(whole, ScopeLevel.KEY))


def _state_of(route: Route) -> RouteState:
    known = _health_of(route, ScopeLevel.ROUTE)
    upstreams = session().health.traffic.upstreams(route)
    return RouteState(model=route.model, route=route.name, tier=route.tier, upstreams=upstreams, **known)


def _state_left_out(one: LeftOut) -> RouteState:
    """Return the state of a route that cannot promise the policy: on hold until the policy changes."""
    return replace(_state_of(one.route), standing=RouteStatus.HELD, why=one.clause, seconds_left=math.inf)


def _health_of(route: Route, reach: ScopeLevel) -> dict[str, Any]:
    health, now = session().health, clock.current().now()
    standing, hold = health.status(route, now)
    left = None if hold is None else hold.until if math.isinf(hold.until) else max(0.0, hold.until - now)
    return {
        "standing": standing,
        "why": "" if hold is None else hold.why.value,
        "seconds_left": left,
        "in_flight": health.traffic.in_flight(route, reach),
        "outcomes": health.traffic.outcomes(route, reach),
    }

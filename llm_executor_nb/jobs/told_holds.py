"""Holds as the processes of a job tell each other: JSON in which a key's name stands for the key.

The times are of the day, so that another process can read them. No hold lasts longer there than it was set for.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.holds import Hold, HoldKind
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import Scope

if TYPE_CHECKING:
    from llm_executor_nb.core.secret import Secret


def until_of(told: dict[str, Any]) -> float:
    """Return when a hold ends, in seconds since 1970; infinite: when something changes."""
    return math.inf if told.get("until") is None else float(told["until"])


def joined_holds(whole: dict[str, Any], holds: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the holds of all parts that still run; of two on one scope the longer one."""
    now = clock.current().utc().timestamp()
    known: dict[str, dict[str, Any]] = whole.get("holds", {})
    newer = {name: told for name, told in holds.items() if name not in known or until_of(told) > until_of(known[name])}
    return {name: told for name, told in {**known, **newer}.items() if until_of(told) > now}


def hold_told(hold: Hold, keys: dict[Secret, str], since_1970: float) -> tuple[str, dict[str, Any]]:
    """Return what a hold is called among processes, and what is told of it.

    Args:
        hold: the hold.
        keys: the names of the keys.
        since_1970: the seconds between 1970 and the zero of this process's clock.
    """
    scope = hold.scope
    key = keys[scope.secret] if scope.secret is not None else None
    parts = [scope.reach.value, scope.backend, key, scope.provider, scope.model, scope.need]
    return json.dumps(parts), {
        "scope": parts,
        "kind": hold.kind.value,
        "until": None if math.isinf(hold.until) else hold.until + since_1970,
        "length": None if math.isinf(hold.until) else hold.length_s,
        "why": hold.why.value,
        "status": hold.http_status,
        "message": hold.message,
    }


def hold_heard(told: dict[str, Any], keys: dict[str, Secret], now: float, since_1970: float) -> Hold | None:
    """Return a hold that another process has met; None: its key is none of this job's."""
    reach, backend, key, provider, model, need = told["scope"]
    if key is not None and key not in keys:
        return None
    # the clocks of two machines may differ by hours: no hold lasts longer than it was set for
    until = math.inf if told["until"] is None else min(told["until"] - since_1970, now + told["length"])
    scope = Scope(ScopeLevel(reach), backend, None if key is None else keys[key], provider, model)
    return Hold(
        scope=replace(scope, need=need) if need else scope,
        kind=HoldKind(told["kind"]),
        since=now,
        until=until,
        why=Outcome(told["why"]),
        http_status=told["status"],
        message=told["message"],
    )

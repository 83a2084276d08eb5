"""The service tier of one run: OpenRouter alone is sent it, and a full tier may be left out if the user allows that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.needs import SERVICE_TIER, is_about_tier
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.core.verdicts.narrowed import narrowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.engine.request import RunRequest
    from llm_executor_nb.settings.options import Options


class Tier:
    """The service tier that one run asks for, and whether it is still sent.

    Args:
        request: what is asked.
        needs: what the request needs.
        config: the retries and the ceiling in force.
    """

    def __init__(self, request: RunRequest, needs: frozenset[str], config: Options) -> None:
        self._request, self._needs = request, needs
        self._is_sent = SERVICE_TIER in request.payload
        self._may_retry = (config.retries if request.retries is None else request.retries) != 0
        self._ceiling_s = config.retry_after_ceiling_s
        self._refusals = 0

    def payload(self, payload: Mapping[str, Any], route: Route) -> Mapping[str, Any]:
        """Return the body for a route: without the tier where it is left out."""
        if SERVICE_TIER not in payload or (self._is_sent and route.backend == OPENROUTER):
            return payload
        return {name: value for name, value in payload.items() if name != SERVICE_TIER}

    def refused(self, route: Route, verdict: Verdict) -> Verdict | None:
        """Return the verdict to record if the request goes out again at once without the tier; None: it does not.

        A tier without room is asked once more after a wait, as far as retries and the ceiling allow.
        """
        is_asked = self._request.has_tier_fallback and self._is_sent and route.backend == OPENROUTER
        if not is_asked or verdict.outcome is Outcome.OK:
            return None
        verdict = narrowed(verdict, self._request.policy, self._needs, route.backend)
        if not is_about_tier(verdict.need, verdict.message):
            return None
        self._refusals += 1
        has_time = self._may_retry and (verdict.retry_after_s or 0.0) <= self._ceiling_s
        if verdict.outcome is Outcome.OVERLOADED and self._refusals == 1 and has_time:
            return None
        self._is_sent = False
        return verdict

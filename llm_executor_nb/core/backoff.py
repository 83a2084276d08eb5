"""The wait before a retry, asked of the user's own tenacity strategies.

A `Backoff` belongs to one run on one route and is made at the first failure there. The strategies get the
RetryCallState they know; its outcome is our own error without a key, and its times are our clock's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from tenacity import RetryAction, RetryCallState, Retrying, stop_after_attempt

from llm_executor_nb.core.errors import ConfigError, LLMExecutorError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.core.records import Route, Verdict


class AttemptFailedError(LLMExecutorError):
    """What tenacity's strategies see as the outcome of a failed attempt.

    Attributes:
        outcome: the outcome's word, such as `server_error`.
        status: the HTTP status, None where none came.
        retry_after_s: the seconds the provider asked for, None where it named none.
    """

    def __init__(self, message: str, *, outcome: str, status: int | None, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.status = status
        self.retry_after_s = retry_after_s


class Backoff:
    """How long one run waits before each retry on one route.

    Args:
        route: where; its name is what `before_sleep_log` prints.
        wait: a tenacity wait strategy, or any callable from RetryCallState to seconds.
        retries: how many retries, or a tenacity stop object.
        before_sleep: called before each wait, as tenacity does; None: nobody.
        now: when the first attempt was sent.
    """

    def __init__(
        self,
        route: Route,
        *,
        wait: Callable[[RetryCallState], float],
        retries: int | Callable[[RetryCallState], bool],
        before_sleep: Callable[[RetryCallState], Any] | None,
        now: float,
    ) -> None:
        self._wait = wait
        self._stop = stop_after_attempt(retries + 1) if isinstance(retries, int) else retries
        self._before_sleep = before_sleep
        retrying = Retrying(wait=wait, stop=self._stop, before_sleep=before_sleep)
        self._state = RetryCallState(retrying, _named(route), (), {})
        self._state.start_time = now

    def charge(self, attempts: int) -> None:
        """Count attempts that had been spared; to be called before the first failure."""
        self._state.attempt_number += attempts

    def after_failure(self, verdict: Verdict, now: float, *, told_s: float | None) -> float | None:
        """Return the seconds to wait before the next retry, or None when the retries are used up.

        Args:
            verdict: what came of the attempt.
            now: when.
            told_s: seconds a provider asked for; they take the strategy's place.

        Raises:
            ConfigError: the user's strategy raised, or returned no number of seconds.
        """
        state = self._state
        failure = AttemptFailedError(
            verdict.message or verdict.outcome.value,
            outcome=verdict.outcome.value,
            status=verdict.http_status,
            retry_after_s=verdict.retry_after_s,
        )
        state.set_exception((type(failure), failure, None))
        state.outcome_timestamp = now
        if _asked("retries", self._stop, state):
            return None
        seconds = told_s if told_s is not None else _seconds(_asked("retry_wait_strategy", self._wait, state))
        state.upcoming_sleep = seconds
        state.next_action = RetryAction(seconds)
        state.idle_for += seconds
        if self._before_sleep is not None:
            _asked("before_sleep", self._before_sleep, state)
        state.prepare_for_next_attempt()
        return seconds


def _named(route: Route) -> Callable[[], None]:
    def attempt() -> None:
        """Stand for the request; tenacity prints its name."""

    attempt.__name__ = attempt.__qualname__ = route.name
    return attempt


def _asked(setting: str, strategy: Callable[[RetryCallState], Any], state: RetryCallState) -> Any:  # noqa: ANN401 - a strategy returns what it likes
    try:
        return strategy(state)
    except Exception as error:
        raise ConfigError(f"Your {setting} raised {type(error).__name__}: {error}\nMend it and call again.") from error


def _seconds(found: object) -> float:
    if isinstance(found, int | float) and not isinstance(found, bool) and math.isfinite(found) and found >= 0:
        return float(found)
    raise ConfigError(
        f"Your retry_wait_strategy returned {found!r}; it must return seconds, such as tenacity.wait_fixed(3) does.",
    )

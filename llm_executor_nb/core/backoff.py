"""The wait before a retry, as the user's own tenacity strategies decide it.

A `Backoff` belongs to one run on one route, and is made at the first failure there. The strategies get the
RetryCallState that they know. Its outcome is our own error without a key, and its times are our clock's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tenacity import RetryAction, RetryCallState, Retrying, stop_after_attempt

from llm_executor_nb.core.errors import ConfigError, LLMExecutorError
from llm_executor_nb.core.foreign_json import number
from llm_executor_nb.core.user_functions import call

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.core.records import Route, Verdict
    from llm_executor_nb.core.user_functions import Bounds


class AttemptFailedError(LLMExecutorError):
    """The outcome of a failed attempt, as tenacity's strategies see it.

    Attributes:
        outcome: its name, such as `server_error`.
        status: the HTTP status; None: no reply came.
        retry_after_s: the seconds that the provider asks to wait; None: it named no time.
    """

    def __init__(self, message: str, *, outcome: str, status: int | None, retry_after_s: float | None) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.status = status
        self.retry_after_s = retry_after_s


class Backoff:
    """Says how long one run waits before each retry on one route.

    Args:
        route: the route; tenacity's `before_sleep_log` prints its name.
        wait: a tenacity wait strategy, or any callable from RetryCallState to seconds.
        retries: how many retries, or a tenacity stop object.
        before_sleep: called before each wait, as in tenacity; None: nothing is called.
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
        # tenacity stamps its own clock here, which does not follow a frozen one
        self._state.start_time = now

    def charge(self, attempts: int) -> None:
        """Count attempts that used up no retry at first; to be called before the first failure."""
        self._state.attempt_number += attempts

    def failed(self, verdict: Verdict, now: float) -> None:
        """Take in a failed attempt, before the strategies are asked about it."""
        failure = AttemptFailedError(
            verdict.message or verdict.outcome.value,
            outcome=verdict.outcome.value,
            status=verdict.http_status,
            retry_after_s=verdict.retry_after_s,
        )
        # our own error: a provider's holds the key in its request headers
        self._state.set_exception((type(failure), failure, None))
        self._state.outcome_timestamp = now

    async def next_wait_s(self, bounds: Bounds, *, retry_after_s: float | None) -> float | None:
        """Return the seconds to wait before the next retry, or None when the retries are used up.

        Args:
            bounds: how long each of the user's functions may take.
            retry_after_s: the seconds that the provider asks to wait; they replace the strategy's (design 3.3).

        Raises:
            ConfigError: the user's strategy or hook raised an error, or the strategy did not return seconds.
            DeadlineError: it did not return in time.
        """
        state = self._state
        if await call("Your retries", self._stop, state, bounds=bounds):
            return None
        seconds = retry_after_s
        if seconds is None:
            seconds = _checked(await call("Your retry_wait_strategy", self._wait, state, bounds=bounds))
        # users' strategies and hooks read these, which tenacity's own loop would set
        state.upcoming_sleep = seconds
        state.next_action = RetryAction(seconds)
        state.idle_for += seconds
        if self._before_sleep is not None:
            await call("Your before_sleep", self._before_sleep, state, bounds=bounds)
        state.prepare_for_next_attempt()
        return seconds


def _named(route: Route) -> Callable[[], None]:
    def attempt() -> None:
        """Stand for the request; tenacity prints its name."""

    attempt.__name__ = attempt.__qualname__ = route.name
    return attempt


def _checked(wait: object) -> float:
    seconds = None if isinstance(wait, str) else number(wait)
    if seconds is not None and seconds >= 0:
        return seconds
    raise ConfigError(
        f"Your retry_wait_strategy returned {wait!r}; it must return seconds, as tenacity.wait_fixed(3) does.",
    )

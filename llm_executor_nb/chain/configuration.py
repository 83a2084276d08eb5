"""`configure`: every setting by its name, checked before any is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import forgetful
from llm_executor_nb.core.unset import UNSET, Unset
from llm_executor_nb.settings.config import (
    check_before_sleep,
    check_bound,
    check_ceiling,
    check_concurrency,
    check_retries,
    check_wait,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tenacity import RetryCallState


@forgetful
def configure(
    *,
    openrouter_keys: Iterable[str | None] | Unset = UNSET,
    huggingface_tokens: Iterable[str | None] | Unset = UNSET,
    models: dict[str, list[str]] | Unset = UNSET,
    openrouter_base_url: str | Unset | None = UNSET,
    huggingface_base_url: str | Unset | None = UNSET,
    retry_wait_strategy: Callable[[RetryCallState], float] | Unset = UNSET,
    retries: int | Callable[[RetryCallState], bool] | Unset = UNSET,
    before_sleep: Callable[[RetryCallState], Any] | Unset | None = UNSET,
    timeout: float | Unset | None = UNSET,
    deadline: float | Unset | None = UNSET,
    retry_after_ceiling_s: float | Unset | None = UNSET,
    concurrency: int | Unset | None = UNSET,
) -> None:
    """Change settings; what is left out stays, and an explicit None means no bound (of a URL: its default).

    Args:
        openrouter_keys: the keys, in the order they are asked; a list ends the search for keys.
        huggingface_tokens: the same for Hugging Face.
        models: model -> Hugging Face providers, in order.
        openrouter_base_url: where OpenRouter is.
        huggingface_base_url: where the Hugging Face router is.
        retry_wait_strategy: a tenacity wait strategy for retries on one route.
        retries: retries of one route, or a tenacity stop object.
        before_sleep: called before each wait, as tenacity does.
        timeout: seconds of one attempt.
        deadline: seconds of one run by hand.
        retry_after_ceiling_s: the longest time named by a provider that is waited for, in seconds.
        concurrency: requests in flight of one job.

    Raises:
        ConfigError: a value cannot be right; nothing was changed.
    """
    config = session().config
    given: list[tuple[object, Callable[[Any], Callable[[], None]]]] = [
        (openrouter_keys, lambda value: config.keys_setter(OPENROUTER, value)),
        (huggingface_tokens, lambda value: config.keys_setter(HUGGINGFACE, value)),
        (models, config.providers_setter),
        (openrouter_base_url, lambda value: config.url_setter(OPENROUTER, value)),
        (huggingface_base_url, lambda value: config.url_setter(HUGGINGFACE, value)),
        (retry_wait_strategy, lambda value: config.setter("retry_wait_strategy", check_wait(value))),
        (retries, lambda value: config.setter("retries", check_retries(value))),
        (before_sleep, lambda value: config.setter("before_sleep", check_before_sleep(value))),
        (timeout, lambda value: config.setter("timeout_s", check_bound("timeout", value))),
        (deadline, lambda value: config.setter("deadline_s", check_bound("deadline", value))),
        (retry_after_ceiling_s, lambda value: config.setter("retry_after_ceiling_s", check_ceiling(value))),
        (concurrency, lambda value: config.setter("concurrency", check_concurrency(value))),
    ]
    changes = [check(value) for value, check in given if not isinstance(value, Unset)]
    for change in changes:
        change()

"""`configure`: every setting by its name, checked before any is changed; `add_backend`: a backend of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import forgetful
from llm_executor_nb.settings.config import (
    UNSET,
    Unset,
    check_before_sleep,
    check_bound,
    check_ceiling,
    check_concurrency,
    check_ledger,
    check_retries,
    check_wait,
)

if TYPE_CHECKING:
    import os
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
    ledger: str | os.PathLike[str] | Unset | None = UNSET,
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
        ledger: the file that keeps the answers and attempts of jobs, or a folder for it; None: memory.

    Raises:
        ConfigError: a value cannot be right; nothing was changed.
    """
    now = session()
    config = now.config
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
        (ledger, lambda value: config.setter("ledger", check_ledger(value))),
    ]
    changes = [check(value) for value, check in given if not isinstance(value, Unset)]
    for change in changes:
        change()
    if not isinstance(ledger, Unset):
        now.move_ledger()


@forgetful
def add_backend(
    name: str,
    *,
    base_url: str | None = None,
    keys: Iterable[str | None] = (),
    chat_model: Any = None,  # noqa: ANN401 - any LangChain chat model
) -> None:
    """Add a backend of your own: a server that speaks OpenAI's chat completions, or a LangChain chat model object.

        llm.add_backend("ollama", base_url="http://localhost:11434/v1")
        llm.MODEL_INFERENCE_PROVIDERS["llama3.2"] = ["ollama"]
        llm.models.add("gemma", providers=["scaleway", "ollama"], names={"ollama": "gemma3:27b"}, openrouter=False)

    A model's row names it like a provider. It is asked after all Hugging Face tokens, once, with each of its keys.
    Nothing is sent here. Adding a name again replaces that backend, its keys in code too, and drops its holds.

    In a rehearsal, nothing real is called: practice answers stand in for every backend added before, server or
    object, without a key and without faults. One that is added while it runs is asked as it is, and goes with it.

    Args:
        name: what rows, the attempt log and `extra_body` call it.
        base_url: where the server listens, with its `/v1`: Ollama, vLLM, llama.cpp, LM Studio, a litellm proxy.
        keys: its keys, in the order they are asked; none: it is asked without an Authorization header.
        chat_model: an object with LangChain's `ainvoke` or `invoke` (a real chat model, or a fake one). Its messages
            pass as they come, an empty one is no answer, and its exceptions become outcomes. It is asked on a private
            event loop, so give it to nothing else that awaits it; its own retries are best switched off. Parameters
            it has as fields are set on a copy of it, others are passed to its call.

    Raises:
        ConfigError: the name is taken or none, base_url is none (also one with a query, or with `/chat/completions`),
            keys are no list, or not exactly one of base_url and chat_model was given; nothing was changed.
    """
    now = session()
    now.config.add_backend(name, base_url=base_url, keys=keys, chat_model=chat_model)
    now.health.release(lambda scope: scope.backend == name)

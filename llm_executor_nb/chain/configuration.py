"""Every way to change a setting: `configure`, `add_backend`, and assignment, as in `llm.OPENROUTER_KEYS = [key]`.

A setting belongs to the session in force: what is set in a rehearsal ends with it.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.chain.models import Models
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import did_you_mean, near_names, noted_as
from llm_executor_nb.core.policy import check_policy
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import forgetful
from llm_executor_nb.settings.backends import make_backend
from llm_executor_nb.settings.key_list import KeyList, key_list
from llm_executor_nb.settings.key_ring import KEY_LISTS
from llm_executor_nb.settings.models import check_table
from llm_executor_nb.settings.options import (
    UNSET,
    Unset,
    check_before_sleep,
    check_bound,
    check_ceiling,
    check_concurrency,
    check_hedge,
    check_ledger,
    check_retries,
    check_url,
    check_wait,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from tenacity import RetryCallState

    from llm_executor_nb.core.policy import Policy

_OPTIONS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "retry_wait_strategy": ("retry_wait_strategy", check_wait),
    "retries": ("retries", check_retries),
    "before_sleep": ("before_sleep", check_before_sleep),
    "timeout": ("timeout_s", partial(check_bound, "timeout")),
    "deadline": ("deadline_s", partial(check_bound, "deadline")),
    "retry_after_ceiling_s": ("retry_after_ceiling_s", check_ceiling),
    "concurrency": ("concurrency", check_concurrency),
    "hedge": ("hedge", check_hedge),
    "policy": ("policy", check_policy),
    "ledger": ("ledger", check_ledger),
}
"""Argument of `configure` -> the option it sets, and its check."""


# --- functions --------------------------------------------------------------------------------------------------


@forgetful
@noted_as("llm.configure")
def configure(
    *,
    openrouter_keys: Iterable[str | None] | Unset = UNSET,
    huggingface_tokens: Iterable[str | None] | Unset = UNSET,
    models: dict[str, list[str]] | Unset = UNSET,
    openrouter_base_url: str | Unset | None = UNSET,
    huggingface_base_url: str | Unset | None = UNSET,
    allow_http: bool = False,
    retry_wait_strategy: Callable[[RetryCallState], float] | Unset = UNSET,
    retries: int | Callable[[RetryCallState], bool] | Unset = UNSET,
    before_sleep: Callable[[RetryCallState], Any] | Unset | None = UNSET,
    timeout: float | Unset | None = UNSET,
    deadline: float | Unset | None = UNSET,
    retry_after_ceiling_s: float | Unset | None = UNSET,
    concurrency: int | Unset | None = UNSET,
    hedge: bool | float | Unset | None = UNSET,
    policy: Policy | Unset | None = UNSET,
    ledger: str | os.PathLike[str] | Unset | None = UNSET,
) -> None:
    """Change settings. What is left out stays; an explicit None means no bound (for a URL: the usual one).

    Args:
        openrouter_keys: the keys, in the order they are asked; a list ends the search for keys.
        huggingface_tokens: the same for Hugging Face.
        models: model -> Hugging Face providers, in order.
        openrouter_base_url: OpenRouter's URL.
        huggingface_base_url: the URL of the Hugging Face router.
        allow_http: whether these URLs may send keys and texts unencrypted to another host than this machine or one in
            a private network.
        retry_wait_strategy: a tenacity wait strategy for retries on one route.
        retries: retries of one route, or a tenacity stop object.
        before_sleep: a function called before each wait, as in tenacity.
        timeout: seconds of one attempt.
        deadline: seconds of one run by hand.
        retry_after_ceiling_s: the longest time named by a provider that is waited for, in seconds.
        concurrency: requests in flight of one job.
        hedge: send a second request for a row of a job that takes long, as `df.llm.run` explains; False: never.
        policy: what every request demands that has no `policy=` of its own; None, or `Policy()`: nothing.
        ledger: the file for the answers and attempts of jobs, or a folder for it; None: memory.

    Raises:
        ConfigError: a value is wrong; nothing was changed.
    """
    given = {name: value for name, value in locals().items() if not isinstance(value, Unset)}
    current = session()
    # every check comes before the first change, so that a wrong value changes nothing
    keys = {OPENROUTER: openrouter_keys, HUGGINGFACE: huggingface_tokens}
    lists = {backend: _key_list(backend, each) for backend, each in keys.items() if not isinstance(each, Unset)}
    urls = {OPENROUTER: openrouter_base_url, HUGGINGFACE: huggingface_base_url}
    base_urls = {backend: _url(backend, url, allow_http) for backend, url in urls.items() if not isinstance(url, Unset)}
    changes = {field: check(given[name]) for name, (field, check) in _OPTIONS.items() if name in given}
    providers = models if isinstance(models, Unset) else check_table(models)

    current.options = replace(current.options, base_urls={**current.options.base_urls, **base_urls}, **changes)
    for backend, checked in lists.items():
        current.options.keys.assign(backend, checked)
    if not isinstance(providers, Unset):
        current.options.models.providers = providers
    if "ledger" in given:
        current.move_ledger()


@forgetful
@noted_as("llm.add_backend")
def add_backend(
    name: str,
    *,
    base_url: str | None = None,
    keys: Iterable[str | None] = (),
    allow_http: bool = False,
    chat_model: Any = None,  # noqa: ANN401 - any LangChain chat model
    trusted: bool = False,
) -> None:
    """Add a backend of your own: a server that speaks OpenAI's chat completions, or a LangChain chat model object.

        llm.add_backend("ollama", base_url="http://localhost:11434/v1")
        llm.MODEL_INFERENCE_PROVIDERS["llama3.2"] = ["ollama"]
        llm.models.add("gemma", providers=["scaleway", "ollama"], names={"ollama": "gemma3:27b"}, openrouter=False)

    A model's row names it like a provider. It is asked after all Hugging Face tokens, once with each of its keys.
    Nothing is sent here. Adding a name again replaces that backend with its keys in code, and drops its holds.

    In a rehearsal nothing real is called. Practice answers replace every backend added before, server or object,
    without a key and without faults. A backend added during the rehearsal is asked as it is, and ends with it.

    Args:
        name: its name in rows, in the attempt log and in `extra_body`.
        base_url: the server's URL with its `/v1`: Ollama, vLLM, llama.cpp, LM Studio, a litellm proxy.
        keys: its keys, in the order they are asked; without any it is asked without an Authorization header.
        allow_http: whether base_url may begin with `http://` although the server is neither on this machine nor in a
            private network: keys and texts would be sent there unencrypted.
        chat_model: an object with LangChain's `ainvoke` or `invoke`, a real chat model or a fake one. Its messages
            are passed on unchanged, an empty one is not an answer, and its exceptions become outcomes. It runs on a
            private event loop, so do not await it elsewhere; switch its own retries off. Parameters that it has as
            fields are set on a copy of it, others are passed to its call.
        trusted: you know that it keeps no texts and does not train on them. Only then is it asked under a policy with
            `zdr` or `no_training`.

    Raises:
        ConfigError: the name is taken or cannot be used, base_url is not a base URL (a query or `/chat/completions`
            does not belong to one) or not encrypted, keys are not a list, or not exactly one of base_url and
            chat_model was given. Nothing was changed.
    """
    current = session()
    own = make_backend(name, base_url=base_url, chat_model=chat_model, allow_http=allow_http, trusted=trusted)
    listed = KeyList(key_list(keys, example=f"llm.add_backend({name!r}, base_url=..., keys=[key])"), is_given=True)
    if own.base_url is not None:
        current.options.keys.code[name] = listed
    elif listed:
        raise ConfigError("keys go with base_url; a chat_model object holds its own.")
    else:
        current.options.keys.code.pop(name, None)
    current.options = replace(current.options, backends={**current.options.backends, name: own})
    current.health.release(lambda scope: scope.backend == name)


def _key_list(backend: str, keys: Iterable[str | None]) -> KeyList:
    return key_list(keys, example=f"llm.{KEY_LISTS[backend]} = [key_1, key_2]")


def _url(backend: str, url: str | None, allow_http: bool) -> str | None:
    return None if url is None else check_url(url, backend, allow_http=allow_http)


# --- attributes of the package ------------------------------------------------------------------------------------


def _setting(name: str, read: Callable[[], Any], write: Callable[[Any], None]) -> property:
    """Make a property whose deletion leaves the name missing until it is set again, as `mock.patch` needs it.

    A property is found before the module's own dictionary, so an entry there is free to mark the deletion.
    """

    def getter(module: ModuleType) -> Any:  # noqa: ANN401 - each setting has its own type
        if name in vars(module):
            raise AttributeError(f"{name} was deleted; assign it again.")
        return read()

    def setter(module: ModuleType, value: Any) -> None:  # noqa: ANN401 - each setting has its own type
        write(value)
        vars(module).pop(name, None)

    def deleter(module: ModuleType) -> None:
        vars(module)[name] = "deleted"

    return property(getter, setter, deleter)


def _refuse(name: str) -> Callable[[Any], None]:
    def write(_: object) -> None:
        raise ConfigError(f"{name} is not assigned; use its methods, such as llm.{name}.add(...).")

    return write


class SettingsModule(ModuleType):
    """The package's module, with the settings of the session in force as attributes.

    It is pickled and copied by its name, as cloudpickle does it with modules of the plain class. So a function that
    says `llm.` can be sent to another process, which finds its own settings there. No setting, and so no key, is sent.
    """

    OPENROUTER_KEYS = _setting(
        "OPENROUTER_KEYS",
        lambda: session().options.keys.code[OPENROUTER],
        lambda value: configure(openrouter_keys=value),
    )
    HUGGINGFACE_TOKENS = _setting(
        "HUGGINGFACE_TOKENS",
        lambda: session().options.keys.code[HUGGINGFACE],
        lambda value: configure(huggingface_tokens=value),
    )
    MODEL_INFERENCE_PROVIDERS = _setting(
        "MODEL_INFERENCE_PROVIDERS",
        lambda: session().options.models.providers,
        lambda value: configure(models=value),
    )
    retry_wait_strategy = _setting(
        "retry_wait_strategy",
        lambda: session().options.retry_wait_strategy,
        lambda value: configure(retry_wait_strategy=value),
    )
    keys = _setting("keys", lambda: session().keys, _refuse("keys"))
    models = _setting("models", lambda: Models(session().options.models), _refuse("models"))

    @forgetful
    def __setattr__(self, name: str, value: object) -> None:
        if name.isupper() and name not in SETTINGS and not name.startswith("_"):
            hint = did_you_mean(near_names(name, SETTINGS)) or f" There are {', '.join(SETTINGS)}."
            raise ConfigError(f"{name} is not a setting of llm_executor_nb.{hint}")
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[Callable[[str], ModuleType], tuple[str]]:
        return importlib.import_module, (self.__name__,)


SETTINGS = tuple(name for name in vars(SettingsModule) if name.isupper())
"""The settings with names in upper case."""

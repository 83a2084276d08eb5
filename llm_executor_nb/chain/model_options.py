"""Checks the options of `chat_model` and of a call of it: ours and LangChain's are taken, but no key.

LangChain's own models also take fields for an SDK client, which a chain does not have. These are refused by name, so
that nothing a user sets is dropped in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_executor_nb.chain.request import check_tier_fallback
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.near_names import arguments_of, note_arguments
from llm_executor_nb.core.policy import check_policy
from llm_executor_nb.providers.parameters import (
    KEY_ARGUMENTS,
    OF_SOME_BACKENDS,
    PARAMETERS,
    check_params,
    key_advice,
    unknown_parameter,
)
from llm_executor_nb.settings.options import check_bound, check_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic.fields import FieldInfo

_URLS = ("base_url", "openai_api_base")
_OTHERS = (
    "deadline",
    "disabled_params",
    "extra_body",
    "max_retries",
    "model_kwargs",
    "model_name",
    "output_version",
    "policy",
    "request_timeout",
    "service_tier_fallback",
    "stream_usage",
    "streaming",
    "tiktoken_model_name",
)
"""Fields beside the call parameters and those that every LangChain model has."""
_TAKER = "llm.chat_model"
note_arguments(_TAKER, _OTHERS)
_OUTPUT_VERSIONS = (None, "v0", "v1")
_SWITCHED_OFF: dict[str, Any] = {
    "openai_api_key": None,
    "openai_api_base": None,
    "openai_organization": None,
    "openai_proxy": None,
    "use_responses_api": False,
}
"""Fields that LangChain would fill from the environment, or that choose another API than chat completions."""
_MARKS_COPY = "root_client"
"""A field that no user sets: LangChain copies a model with all its fields when a configurable one is set."""


def check_options(
    options: Mapping[str, Any], fields: Mapping[str, FieldInfo], *, common: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the fields that LangChain's class is made with.

    Args:
        options: as the user gave them.
        fields: of the class.
        common: the fields that every LangChain chat model has.

    Raises:
        ConfigError: an option is unknown, not taken here, or invalid; nothing was sent.
    """
    aliases = {field.alias: name for name, field in fields.items() if field.alias}
    given = dict(options)
    is_copy = _MARKS_COPY in given
    taken: dict[str, Any] = {}
    in_body = dict(given.pop("model_kwargs", None) or {})
    _refuse_keys({**given, **in_body})
    for written, value in given.items():
        name = aliases.get(written, written)
        if name in PARAMETERS and name not in fields:
            in_body[name] = value
        elif name in PARAMETERS or name in _OTHERS or name in common:
            taken[name] = value
        elif name not in fields or not _is_default(name, value, fields[name]):
            raise ConfigError(_unknown(written, {*common, *aliases}, is_known=name in fields))
    if is_copy and taken.get("streaming") is False:
        del taken["streaming"]  # a copy has every default, and LangChain reads a False as the user's wish
    _check_values(taken, in_body)
    return {**taken, **_SWITCHED_OFF, "model_kwargs": in_body}


def check_call(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the options of one call into its bounds (with `model` and `extra_body`) and its call parameters.

    Args:
        kwargs: as the user or LangChain gave them; for a bound that is None the model's own holds.

    Raises:
        ConfigError: a key was given, or a bound is invalid; nothing was sent.
    """
    _refuse_keys(kwargs)
    names = {"model": "model", "model_name": "model", "request_timeout": "timeout", **{name: name for name in _BOUNDS}}
    bounds = {names[name]: value for name, value in kwargs.items() if name in names and value is not None}
    for name, check in _BOUNDS.items():
        if name in bounds:
            bounds[name] = check(bounds[name])
    return bounds, {name: value for name, value in kwargs.items() if name not in names}


def _check_count(value: Any) -> Any:  # noqa: ANN401 - a user's own value
    if callable(value):
        raise ConfigError(
            "max_retries must be 0, 1, 2, ...; a tenacity stop object goes to llm.configure(retries=...)."
        )
    return check_retries(value)


_BOUNDS: dict[str, Callable[[Any], Any]] = {
    "timeout": lambda value: check_bound("timeout", value),
    "deadline": lambda value: check_bound("deadline", value),
    "max_retries": _check_count,
    "policy": check_policy,
    "service_tier_fallback": check_tier_fallback,
    "extra_body": lambda value: value,  # `make_request` checks it: it knows the backends of that moment
}
"""What a call takes beside its parameters, and how each is checked."""


def _check_values(taken: Mapping[str, Any], in_body: Mapping[str, Any]) -> None:
    sent = {name: value for name, value in taken.items() if name in PARAMETERS and not (name == "stop" and not value)}
    check_params({**sent, **in_body}, door=_TAKER)
    check_call({name: value for name, value in taken.items() if name in {*_BOUNDS, "request_timeout"}})
    if taken.get("output_version") not in _OUTPUT_VERSIONS:
        raise ConfigError(f"output_version={taken['output_version']!r} must be 'v0' or 'v1'.")


def _refuse_keys(names: Mapping[str, Any]) -> None:
    if keys := [name for name in KEY_ARGUMENTS if names.get(name) is not None]:
        raise ConfigError(key_advice(keys[0]))


def _is_default(name: str, value: Any, field: FieldInfo) -> bool:  # noqa: ANN401 - a field's own value
    """Whether a field that is not taken here has its default, as it does in a copy of a model."""
    if value is None or (name in _SWITCHED_OFF and value == _SWITCHED_OFF[name]):
        return True
    return bool(value == field.get_default(call_default_factory=True, validated_data={}))


def _unknown(name: str, others: Iterable[str], *, is_known: bool) -> str:
    if name in _URLS:
        return f"{name} is not taken here: a chain has several. Use llm.configure(openrouter_base_url=...)."
    if is_known and name not in OF_SOME_BACKENDS:
        return f"{name} is an option of LangChain's OpenAI client, which a chain does not use. Leave it out."
    return unknown_parameter(name, {*arguments_of(_TAKER), *others})

"""The closed list of call parameters, each with one meaning on every backend.

A parameter that is None is not set. Names that LangChain binds for itself are dropped. A field that only one backend
knows goes in `extra_body` (design 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.near_names import arguments_of, did_you_mean, note_arguments, unknown_argument
from llm_executor_nb.core.needs import SERVICE_TIER
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER

_SET_BY_US = frozenset({"model", "messages", "stream", "stream_options"})
_MAY_BE_LEFT_OUT = "stream_options"
"""A run sets it itself, unless the user sets it to None: some servers refuse it."""
_BOUND_BY_LANGCHAIN = frozenset(
    {"stream", "stream_usage", "stream_options", "ls_structured_output_format", "strict"},
)
"""LangChain's runnables pass these along. They mean nothing to a provider, or not under that name."""
# Suggested, not accepted: each parameter has one name (design 3.5).
_CALLED_ELSEWHERE = {
    **dict.fromkeys(("max_completion_tokens", "max_new_tokens", "max_output_tokens"), ("max_tokens",)),
    **dict.fromkeys(("n_jobs", "workers", "max_workers", "batch_size"), ("concurrency",)),
    "cache": ("reuse",),
    "output": ("out",),
    "prompt": ("request", "column", "template"),
    "response_model": ("schema",),
    "verbose": ("progress",),
}
"""What other libraries call an argument of ours."""
OF_SOME_BACKENDS = frozenset(
    {"chat_template", "chat_template_kwargs", "include_reasoning", "length_penalty", "min_tokens", "models", "provider"}
    | {"reasoning", "repetition_penalty", "route", "stop_token_ids", "top_a", "top_k", "user"},
)
"""Fields of OpenRouter and vLLM whose names resemble ours: they are not misspelled."""
SERVICE_TIERS = ("flex", "priority", "fast", "default", "auto")
"""OpenRouter's: cheaper and later, or dearer and sooner; no other backend is sent one."""
KEY_ARGUMENTS = ("api_key", "openai_api_key", "openrouter_api_key", "huggingfacehub_api_token", "hf_token", "token")
_RUN_LLM = "llm.run_llm"


def check_params(params: Mapping[str, Any], *, door: str = _RUN_LLM) -> dict[str, Any]:
    """Return the parameters that are to be sent, each checked and in the form of JSON.

    Args:
        params: by name, as the user or LangChain gave them; those that are None are left out.
        door: the function that they were given to, for the near names of an unknown one.

    Raises:
        ConfigError: a name is unknown or a value cannot be right; nothing was sent.
    """
    return {
        name: _checked(name, value, door)
        for name, value in params.items()
        if value is not None and name not in _BOUND_BY_LANGCHAIN
    }


def check_extra_body(
    extra_body: Mapping[str, Any] | None,
    backends: Sequence[str] = (OPENROUTER, HUGGINGFACE),
) -> dict[str, dict[str, Any]]:
    """Return `extra_body` as one dict per backend.

    Args:
        extra_body: fields that only one backend knows, under that backend's name; None: none. A field that is None
            is left out of the request. So is `stream_options`, though a run sets it.
        backends: the names that are known.

    Raises:
        ConfigError: it is not sorted by backend, or holds a field that a run sets itself; nothing was sent.
    """
    if not isinstance(extra_body or {}, Mapping):
        raise ConfigError(f"extra_body must be a dict such as {{{backends[0]!r}: {{...}}}}, not {_short(extra_body)}.")
    return {name: _fields_of(name, fields, backends) for name, fields in (extra_body or {}).items()}


def merge_extra_body(
    payload: Mapping[str, Any],
    extra_body: Mapping[str, Mapping[str, Any]] | None,
    backend: str,
) -> dict[str, Any]:
    """Return `payload` with the fields that `extra_body` has for `backend`; they win, and None leaves a field out."""
    fields = (extra_body or {}).get(backend)
    if not fields:
        return dict(payload)
    return {name: value for name, value in {**payload, **fields}.items() if name not in fields or value is not None}


def _fields_of(name: str, fields: Any, backends: Sequence[str]) -> dict[str, Any]:  # noqa: ANN401 - a user's own
    if name not in backends or not isinstance(fields, Mapping):
        raise ConfigError(
            f"extra_body is sorted by backend; {name!r} is not one with a dict of fields. "
            f"Write extra_body={{{backends[0]!r}: {{...}}}}; the backends are {', '.join(backends)}.",
        )
    taken = _SET_BY_US & fields.keys()
    if fields.get(_MAY_BE_LEFT_OUT) is None:
        taken -= {_MAY_BE_LEFT_OUT}
    if taken:
        raise ConfigError(
            f"extra_body cannot set {', '.join(sorted(taken))}: a run sets that itself. Leave it out; "
            f"{_MAY_BE_LEFT_OUT!r}: None asks for no usage.",
        )
    return dict(fields)


def _checked(name: str, value: Any, door: str) -> Any:  # noqa: ANN401 - a user's own value
    check = _CHECKS.get(name)
    if check is None:
        raise ConfigError(unknown_parameter(name, arguments_of(door)))
    try:
        return check(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}={_short(value)}: {_first_line(error)}. Nothing was sent.") from None


def unknown_parameter(name: str, own: Collection[str]) -> str:
    """Return what is said of a call parameter that is not taken: where it belongs, or the near name of ours.

    Args:
        name: the parameter, as the user wrote it.
        own: the arguments that are taken where it was given.
    """
    in_body = f"extra_body={{'openrouter': {{{name!r}: ...}}}}"
    if name in KEY_ARGUMENTS:
        return key_advice(name)
    if meant := [one for one in _CALLED_ELSEWHERE.get(name, ()) if one in own]:
        return f"Unknown argument {name!r}.{did_you_mean(meant)}"
    if name in OF_SOME_BACKENDS:
        return f"{name} is not a parameter of every backend. Give it in {in_body}."
    return unknown_argument(
        name,
        own,
        otherwise=f"Call parameters: {', '.join(PARAMETERS)}. What only one backend knows goes in {in_body}.",
    )


def key_advice(name: str) -> str:
    """Return what is said of a key that was given as an argument."""
    return (
        f"{name} is not taken here: a chain uses all keys there are. "
        "Give keys with llm.OPENROUTER_KEYS = [...], llm.HUGGINGFACE_TOKENS = [...] or llm.keys.add(...)."
    )


def _short(value: object) -> str:
    text = scrub(repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _number(low: float = -math.inf, high: float = math.inf) -> Callable[[Any], float]:
    bounds = f" from {low:g} to {high:g}" if math.isfinite(high) else (f" of {low:g} or more" if low == 0 else "")

    def check(value: Any) -> float:  # noqa: ANN401 - a user's own value
        if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
            raise ValueError(f"it must be a number{bounds}")
        if not math.isfinite(value):
            raise ValueError("it must be a finite number")
        return value if isinstance(value, int) else float(value)

    return check


def _whole(low: int | None = None) -> Callable[[Any], int]:
    kind = "a whole number" if low is None else f"a whole number of {low} or more"

    def check(value: Any) -> int:  # noqa: ANN401 - a user's own value
        if isinstance(value, bool) or not isinstance(value, Integral) or (low is not None and value < low):
            raise ValueError(f"it must be {kind}")
        return int(value)

    return check


def _flag(value: Any) -> bool:  # noqa: ANN401 - a user's own value
    if not isinstance(value, bool):
        raise TypeError("it must be True or False")
    return value


def _word(value: Any) -> str:  # noqa: ANN401 - a user's own value
    if not isinstance(value, str) or not value.strip():
        raise TypeError("it must be a word, such as 'low'")
    return value


def _tier(value: Any) -> str:  # noqa: ANN401 - a user's own value
    if value not in SERVICE_TIERS:
        raise ValueError(f"it must be one of {', '.join(SERVICE_TIERS)}")
    return str(value)


def _stop(value: Any) -> list[str]:  # noqa: ANN401 - a user's own value
    texts = [value] if isinstance(value, str) else list(value)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise ValueError("it must be a text or a list of texts")
    return texts


def _tools(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a user's own value
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence) or not value:
        raise TypeError("it must be a list of tools: OpenAI dicts, functions or pydantic classes")
    return [_tool(tool) for tool in value]


def _tool(tool: Any) -> dict[str, Any]:  # noqa: ANN401 - a user's own value
    if isinstance(tool, Mapping) and "type" in tool:
        return dict(tool)
    from langchain_core.utils.function_calling import convert_to_openai_tool  # noqa: PLC0415 - loads on first use

    return convert_to_openai_tool(tool)


def _tool_choice(value: Any) -> str | dict[str, Any]:  # noqa: ANN401 - a user's own value
    """Return the wire's form of a choice; LangChain's bind_tools also takes a tool's name, `any` and True."""
    if isinstance(value, Mapping):
        return dict(value)
    if value is True or value == "any":
        return "required"
    if not isinstance(value, str) or not value:
        raise TypeError("it must be 'auto', 'none', 'required', a tool's name or a dict")
    if value in {"auto", "none", "required"}:
        return value
    return {"type": "function", "function": {"name": value}}


def _response_format(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a user's own value
    if isinstance(value, Mapping):
        return dict(value)
    if not isinstance(value, type):
        raise TypeError("it must be a dict, such as {'type': 'json_object'}, or a pydantic class")
    return _schema_format(value)


def _schema_format(schema: type) -> dict[str, Any]:
    """Return the format of a pydantic class: LangChain binds the class, and only the SDK would convert it."""
    try:
        from openai.lib._parsing import type_to_response_format_param  # noqa: PLC0415 - loads on first use
    except ImportError:
        from langchain_core.utils.function_calling import convert_to_openai_function  # noqa: PLC0415 - as above

        function = convert_to_openai_function(schema, strict=True)
        parts = {"name": function["name"], "strict": True, "schema": function["parameters"]}
        return {"type": "json_schema", "json_schema": parts}
    return dict(type_to_response_format_param(schema))  # type: ignore[arg-type] # never omitted: a class was given


def _one(value: Any) -> int:  # noqa: ANN401 - a user's own value
    if value != 1:
        raise ValueError("only one answer is kept; ask again for another")
    return 1


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "temperature": _number(0),
    "max_tokens": _whole(1),
    "top_p": _number(0, 1),
    "seed": _whole(),
    "stop": _stop,
    "presence_penalty": _number(),
    "frequency_penalty": _number(),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "logprobs": _flag,
    "reasoning_effort": _word,
    "parallel_tool_calls": _flag,
    SERVICE_TIER: _tier,
    "top_logprobs": _whole(0),
    "n": _one,
}

PARAMETERS: tuple[str, ...] = tuple(_CHECKS)
"""The names of all call parameters."""
for _taker in (_RUN_LLM, "df.llm.run", "llm.chat_model"):
    note_arguments(_taker, PARAMETERS)

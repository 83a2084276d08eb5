"""What a request cost, by what its reply says of it: never a guess, and never 0 for what is not known."""

from __future__ import annotations

from llm_executor_nb.core.foreign_json import get_in, number

_UPSTREAM = "upstream_inference_cost"
_UPSTREAM_PARTS = (
    ("upstream_inference_prompt_cost", "upstream_inference_completions_cost"),
    ("upstream_inference_input_cost", "upstream_inference_output_cost"),
)
"""What the upstream cost is made of, by the names of two of OpenRouter's interfaces."""


def cost_usd(usage: object) -> float | None:
    """Return the dollars that were spent for one reply; None: it does not say.

    Where the user's own provider key paid (OpenRouter calls it BYOK), `cost` is only the gateway's share, and what that
    provider asks stands beside it. A reply that does not say whose key paid is taken to mean the user's when `cost`
    itself says nothing.

    Args:
        usage: the reply's `usage`, of any shape.
    """
    told, upstream = _dollars(get_in(usage, "cost")), _upstream(get_in(usage, "cost_details"))
    is_own_key = get_in(usage, "is_byok")
    if is_own_key is True or (is_own_key is None and not told and upstream):
        return None if upstream is None else (told or 0.0) + upstream
    return told


def _upstream(details: object) -> float | None:
    whole = _dollars(get_in(details, _UPSTREAM))
    if whole is not None:
        return whole
    for names in _UPSTREAM_PARTS:
        parts = [part for name in names if (part := _dollars(get_in(details, name))) is not None]
        if len(parts) == len(names):
            return sum(parts)
    return None


def _dollars(value: object) -> float | None:
    found = number(value)
    return found if found is not None and found >= 0 else None

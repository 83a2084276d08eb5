"""A policy as the ledger stores it: what it demands, as JSON."""

from __future__ import annotations

import json
from dataclasses import fields
from functools import lru_cache

from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.policy import NO_POLICY, Policy


@lru_cache(maxsize=16)
def policy_as_text(policy: Policy) -> str | None:
    """Return a policy as text; None: it demands nothing."""
    if not policy:
        return None
    values = {one.name: getattr(policy, one.name) for one in fields(policy)}
    return json.dumps({name: value for name, value in values.items() if value != getattr(NO_POLICY, name)})


@lru_cache(maxsize=16)
def policy_in_text(text: str | None) -> Policy:
    """Return the policy that a text stores; one that demands nothing where it cannot be read."""
    try:
        return Policy(**json.loads(text)) if text else NO_POLICY
    except (ValueError, TypeError, ConfigError):  # damage; an answer of an unknown policy promises nothing
        return NO_POLICY

"""What a request needs of a route beyond a text answer, and which of these needs a refusal is about.

A need is a word: `image`, `file`, `audio`, `video`, `tools`, `schema`, `param:<name>`, `policy:<digest>`, or
`bill_to:<organisation>`. A hold with a need stops only requests that have it: one row can never take another row down
(design 3.1, "Blame"). Pure.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Need
from llm_executor_nb.core.policy import NO_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llm_executor_nb.core.policy import Policy
    from llm_executor_nb.core.records import Verdict

NO_NEEDS: frozenset[str] = frozenset()
_OF_PARTS = {
    "image_url": Need.IMAGE,
    "input_image": Need.IMAGE,
    "image": Need.IMAGE,
    "file": Need.FILE,
    "input_file": Need.FILE,
    "input_audio": Need.AUDIO,
    "audio": Need.AUDIO,
    "video_url": Need.VIDEO,
    "input_video": Need.VIDEO,
    "video": Need.VIDEO,
}
"""The need for each `type` of a content part."""
_OF_FIELDS = {
    "tools": Need.TOOLS,
    "tool_choice": Need.TOOLS,
    "parallel_tool_calls": Need.TOOLS,
    "response_format": Need.SCHEMA,
}
SERVICE_TIER = "service_tier"
"""The call parameter for how soon, and at which price, OpenRouter answers."""
_POLICY = "provider"
"""OpenRouter's field for which providers may answer a request."""
_DIGEST_SIZE = 4


def needs_of(
    payload: Mapping[str, Any], extra_body: Mapping[str, Mapping[str, Any]] | None, policy: Policy = NO_POLICY
) -> frozenset[str]:
    """Return what a request needs.

    Args:
        payload: the request's body without `model`.
        extra_body: for each backend the fields that only it is sent.
        policy: what the request demands of the provider.
    """
    needs = {*_of_messages(payload.get("messages")), *(_of_field(name) for name in payload if name != "messages")}
    if policy is not NO_POLICY and policy:
        needs.add(policy.need)
        if policy.bill_to is not None:
            needs.add(f"{Need.BILL_TO}:{policy.bill_to}")
    for fields in (extra_body or {}).values():
        for name, value in fields.items():
            if value is not None and name != _POLICY:
                needs.add(_of_field(name))
            elif value is not None:  # both bind the request, so a refusal is about the two together
                needs -= {policy.need}
                needs.add(_policy_of([policy.need, value] if policy else value))
    return frozenset(needs) if needs else NO_NEEDS


def without_tier(needs: frozenset[str]) -> frozenset[str]:
    """Return the needs of a request whose service tier may be left out."""
    return needs - {_of_field(SERVICE_TIER)}


def is_about_tier(need: Need | None, message: str | None) -> bool:
    """Whether a refusal is about the service tier of a request."""
    return need is Need.PARAM and _mentions(message or "", SERVICE_TIER)


def blamed(need: Need, needs: frozenset[str], message: str) -> str | None:
    """Return which need of a request a refusal is about; None: the request has no such need.

    Args:
        need: the kind of need that the refusal is about.
        needs: what the request needs.
        message: the refusal's words, which name a parameter.
    """
    if need in (Need.POLICY, Need.BILL_TO):
        return next((one for one in needs if one.startswith(f"{need}:")), None)
    if need is Need.PARAM:
        prefix = f"{Need.PARAM}:"
        named = (one for one in sorted(needs) if one.startswith(prefix))
        return next((one for one in named if _mentions(message, one.removeprefix(prefix))), None)
    return need.value if need.value in needs else None


def is_about_another(verdict: Verdict, needs: frozenset[str]) -> bool:
    """Whether a refusal is about a need that the request does not have, or can do without."""
    return verdict.need is not None and blamed(verdict.need, needs, verdict.message or "") is None


def _of_field(name: str) -> str:
    return _OF_FIELDS.get(name) or f"{Need.PARAM}:{name}"


def _of_messages(messages: object) -> Iterator[str]:
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        for part in content if isinstance(content, list) else ():
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind in _OF_PARTS:
                yield _OF_PARTS[kind].value


def _policy_of(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=repr)
    return f"{Need.POLICY}:{blake2b(text.encode(), digest_size=_DIGEST_SIZE).hexdigest()}"


def _mentions(message: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message, re.IGNORECASE) is not None

"""What a request needs of a route beyond answering a text, and which of it a refusal speaks of.

A need is a word: `image`, `file`, `audio`, `video`, `tools`, `schema`, `param:<name>` or `policy:<digest>`. A hold with
a need stops only the requests that have it. Pure.
"""

from __future__ import annotations

import json
import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core.outcomes import Need

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
"""The `type` of a content part, and what it needs."""
_OF_FIELDS = {
    "tools": Need.TOOLS,
    "tool_choice": Need.TOOLS,
    "parallel_tool_calls": Need.TOOLS,
    "response_format": Need.SCHEMA,
}
_POLICY = "provider"
"""The field of OpenRouter's in which a request says who may answer it."""
_DIGEST_SIZE = 4


def needs_of(payload: Mapping[str, Any], extra_body: Mapping[str, Mapping[str, Any]] | None) -> frozenset[str]:
    """Return what a request needs.

    Args:
        payload: its body without `model`.
        extra_body: fields that only one backend is sent, by backend.
    """
    found = set(_of_messages(payload.get("messages")))
    for name in payload:
        if name != "messages":
            found.add(_OF_FIELDS.get(name) or f"{Need.PARAM}:{name}")
    for fields in (extra_body or {}).values():
        for name, value in fields.items():
            if value is not None:
                found.add(_policy_of(value) if name == _POLICY else _OF_FIELDS.get(name) or f"{Need.PARAM}:{name}")
    return frozenset(found) if found else NO_NEEDS


def blamed(need: Need, needs: frozenset[str], words: str) -> str | None:
    """Return which need of a request a refusal speaks of; None: the request has no such need.

    Args:
        need: what the refusal speaks of.
        needs: what the request needs.
        words: the refusal's; they name a parameter.
    """
    if need is Need.POLICY:
        return next((one for one in needs if one.startswith(f"{Need.POLICY}:")), None)
    if need is Need.PARAM:
        prefix = f"{Need.PARAM}:"
        named = (one for one in sorted(needs) if one.startswith(prefix))
        return next((one for one in named if _names(words, one.removeprefix(prefix))), None)
    return need.value if need.value in needs else None


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


def _names(words: str, name: str) -> bool:
    return re.search(rf"(?<![\w]){re.escape(name)}(?![\w])", words, re.IGNORECASE) is not None

"""How a foreign message is kept: scrubbed of keys, on one line, and not long."""

from __future__ import annotations

from llm_executor_nb.core.secret import scrub

MESSAGE_LENGTH = 300
"""Characters of a provider's message that are kept."""


def shorten(text: str) -> str:
    """Return a message as it may be kept: scrubbed of keys, on one line, at most 300 characters."""
    clean = " ".join(scrub(text).split()).encode("utf-8", "replace").decode()
    return clean if len(clean) <= MESSAGE_LENGTH else clean[: MESSAGE_LENGTH - 1] + "…"

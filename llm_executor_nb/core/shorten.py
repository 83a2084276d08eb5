"""How a foreign message is kept: scrubbed of keys, on one line, and not long."""

from __future__ import annotations

from llm_executor_nb.core.secret import scrub

MESSAGE_LENGTH = 300
"""Characters of a provider's message that are kept."""
_READ = 20_000
"""Characters of a text that are looked at, so that megabytes cost nothing."""
_MARGIN = 5_000
"""Characters at the end of what is looked at that are not shown: a key that is cut there is not known as one."""


def shorten(text: str) -> str:
    """Return a message as it may be kept: scrubbed of keys, on one line, at most 300 characters."""
    is_long = len(text) > _READ
    seen = scrub(text[:_READ])[:-_MARGIN] if is_long else scrub(text)
    clean = " ".join(seen.split()).encode("utf-8", "replace").decode()
    return clean if len(clean) <= MESSAGE_LENGTH else clean[: MESSAGE_LENGTH - 1] + "…"

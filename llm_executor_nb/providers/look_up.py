"""One free look-up, and how its reply is read: it may have any shape.

A value that is missing or makes no sense is None, never 0. A look-up that failed is a verdict with its outcome and the
provider's words, never an exception.

Must not: cache, or know the configuration.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import number, read_json
from llm_executor_nb.core.foreign_text import beginning, shorten
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import Reply, Verdict
from llm_executor_nb.core.verdicts.classify import classify

if TYPE_CHECKING:
    from llm_executor_nb.core.secret import Secret
    from llm_executor_nb.providers.transport import Transport

_MILLISECONDS_FROM: Final = 1e11
"""Above it, a time since 1970 is in milliseconds: as seconds it would be the year 5138."""


async def look_up(
    transport: Transport, url: str, secret: Secret | None, backend: str, silence_s: float | None = None
) -> dict[str, Any] | Verdict:
    """Return the JSON object at a URL, or what came instead."""
    reply = await transport.get(url, secret=secret, timeout_s=transport.look_up_s, silence_s=silence_s)
    if isinstance(reply, Reply) and 200 <= reply.status < 300:
        body = await read_json(reply.body)
        if isinstance(body, dict) and not body.get("error"):  # errors come with a 200 too
            return body
        if not isinstance(body, dict):
            # Most often the page of a company's proxy, so its first words help.
            shown = shorten(beginning(reply.body)) or "the body is blank"
            return Verdict(outcome=Outcome.MALFORMED, http_status=reply.status, message=shown)
    verdict = classify(reply, backend=backend, now_utc=clock.current().utc())
    return verdict if verdict.message else replace(verdict, message=f"HTTP {verdict.http_status} without a word")


def as_list(value: object) -> list[Any]:
    """Return a list; an empty one for any other value."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str | None:
    """Return a text that is not blank, cut to a line."""
    return shorten(value) or None if isinstance(value, str) else None


def as_names(value: object) -> tuple[str, ...] | None:
    """Return the texts of a list."""
    return tuple(name for one in value if (name := as_text(one))) if isinstance(value, list) else None


def as_truth(value: object) -> bool | None:
    """Return True or False; nothing stands for them."""
    return value if isinstance(value, bool) else None


def as_amount(value: object) -> float | None:
    """Return a number from 0, or the number in a text."""
    amount = number(value)
    return amount if amount is not None and amount >= 0 else None


def as_count(value: object) -> int | None:
    """Return such a number without its decimal places."""
    amount = as_amount(value)
    return int(amount) if amount is not None and amount < 2**53 else None  # above, floats are not exact


def as_time(value: object) -> datetime | None:
    """Return a time given as ISO 8601, or as seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value)
            return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
        if (seconds := as_amount(value)) is not None and seconds > 0:
            return datetime.fromtimestamp(seconds / 1000 if seconds > _MILLISECONDS_FROM else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None

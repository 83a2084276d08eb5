"""What a `%%llm` cell shows: the answer as Markdown, text or JSON, and the quiet lines below it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llm_executor_nb.view.html import Bundle, block, line, plain, table, text_table
from llm_executor_nb.view.markdown import fenced, harmless
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_executor_nb.core.attempt import Attempt

NOTHING: Bundle = {"text/plain": "", "text/html": ""}
"""What takes a display away: a front end draws nothing for it."""
_IN_FENCE = re.compile(r"\s*```(?:json)?[ \t]*\n(.*)\n[ \t]*```\s*", re.DOTALL | re.IGNORECASE)
_ATTEMPT_COLUMNS = ("", "route", "outcome", "HTTP", "waited s", "took s", "then", "message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What stands below an answer.

    Attributes:
        attempts: the requests of the run, in order.
        took_s: seconds of the whole run.
        filled: the variables that were filled in.
        remarks: what else belongs in the line.
        notes: what the user should know, each a line of its own.
        has_attempts: show them one by one.
    """

    attempts: Sequence[Attempt]
    took_s: float
    filled: Sequence[str] = ()
    remarks: Sequence[str] = ()
    notes: Sequence[str] = ()
    has_attempts: bool = False


def answer_bundle(text: str, form: str, *, cut: str = "") -> Bundle:
    """Return an answer's display.

    Args:
        text: the answer.
        form: md, text or json; what is no JSON is shown as text.
        cut: why it breaks off, in words; empty: it is whole.
    """
    text = plain(text)
    mark = f"[cut: {cut}]" if cut else ""
    if form == "json" and (parsed := _json_of(text)) is not None:
        return {"text/markdown": fenced(parsed, "json"), "text/plain": parsed}
    twin = f"{text}\n{mark}" if mark else text
    if form != "md":
        return {"text/plain": twin}
    return {"text/markdown": f"{harmless(text)}\n\n**{mark}**" if mark else harmless(text), "text/plain": twin}


def is_json(text: str) -> bool:
    """Say whether an answer is JSON, perhaps in a fence."""
    return _json_of(text) is not None


def footer_bundle(footer: Footer) -> Bundle:
    """Return the quiet line: who answered, how long it took, what it cost, what was filled in."""
    words = " · ".join(footer_words(footer))
    notes = list(footer.notes)
    html = line(words, "dim small") + "".join(line(note, "wait small") for note in notes)
    text = "\n".join([words, *notes])
    if footer.has_attempts:
        shown = attempts_bundle(footer.attempts)
        html, text = html + shown["text/html"], f"{text}\n{shown['text/plain']}"
    return {"text/plain": plain(text), "text/html": block(html)}


def footer_words(footer: Footer) -> list[str]:
    """Return the parts of the quiet line."""
    attempts = footer.attempts
    words = [attempts[-1].route] if attempts else []
    words += [f"{footer.took_s:.1f} s", *_tokens(attempts)]
    if cost := sum(one.cost_usd or 0 for one in attempts):
        words.append(dollars(cost))
    if len(attempts) > 1:
        words.append(f"{len(attempts)} attempts: " + ", ".join(one.outcome.value for one in attempts))
    if attempts and attempts[-1].finish_reason == "length":
        words.append("ends at max_tokens")
    if footer.filled:
        words.append("filled in: " + ", ".join(footer.filled))
    return [*words, *footer.remarks]


def attempts_bundle(attempts: Sequence[Attempt]) -> Bundle:
    """Return the attempts of a run as a table; the HTML is to stand in a block."""
    rows = [
        (
            one.attempt,
            one.route,
            one.outcome.value,
            one.http_status,
            one.wait_s,
            one.duration_s,
            one.decision.value,
            one.message,
        )
        for one in attempts
    ]
    return {"text/plain": text_table(_ATTEMPT_COLUMNS, rows), "text/html": table(_ATTEMPT_COLUMNS, rows)}


def _tokens(attempts: Sequence[Attempt]) -> list[str]:
    if not attempts or attempts[-1].input_tokens is None or attempts[-1].output_tokens is None:
        return []
    return [f"tokens {attempts[-1].input_tokens} in, {attempts[-1].output_tokens} out"]


def _json_of(text: str) -> str | None:
    found = _IN_FENCE.fullmatch(text)
    try:
        value: Any = json.loads(found[1] if found else text)
    except ValueError:
        return None
    return json.dumps(value, indent=2, ensure_ascii=False)

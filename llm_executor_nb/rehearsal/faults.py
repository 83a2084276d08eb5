"""The faults that are data: the rows of `faults.toml`, and every HTTP error status.

The head of that file explains its keys. A number stands for that status with a plain body, so that the status alone is
evidence. What a provider says in a particular case, with a code or in words that matter, has a name of its own.
"""

from __future__ import annotations

import math
import re
import tomllib
from email.utils import formatdate
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_executor_nb.core import clock
from llm_executor_nb.core.foreign_json import as_object
from llm_executor_nb.core.outcomes import Finding, Need, Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE
from llm_executor_nb.rehearsal.replies import error_of, phrase, refuse
from llm_executor_nb.rehearsal.response import bytes_response
from llm_executor_nb.rehearsal.rules import BOTH, REFUSAL_OPTIONS, FaultSpec, fits_always, is_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_executor_nb.rehearsal.requests import ChatRequest
    from llm_executor_nb.rehearsal.response import Response
    from llm_executor_nb.rehearsal.rules import Effect, Faults

    Row = dict[str, Any]

_DAY_S, _MINUTE_S = 86_400, 60
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _http_date(epoch_s: float) -> str:
    return formatdate(math.ceil(epoch_s), usegmt=True)  # rounded up: one in the past would be no wait


_TIMES: dict[str, Callable[[float, float], str]] = {
    "wait": lambda wait_s, _: f"{wait_s:g}",
    "wait_to_3_places": lambda wait_s, _: f"{wait_s:.3f}",
    "whole_wait": lambda wait_s, _: str(math.ceil(wait_s)),
    "wait_ms": lambda wait_s, _: str(round(wait_s * 1000)),
    "date": lambda wait_s, now_s: _http_date(now_s + wait_s),
    "reset_ms": lambda wait_s, now_s: str(round((now_s + wait_s) * 1000)),
    "day_end_ms": lambda _, now_s: str(round((now_s // _DAY_S + 1) * _DAY_S * 1000)),
    "minute_end_ms": lambda _, now_s: str(round((now_s // _MINUTE_S + 1) * _MINUTE_S * 1000)),
}
"""From the wait in seconds, and the seconds since 1970, to the text in place of a placeholder."""


@cache
def read_faults() -> dict[str, Faults]:
    """Return the faults of the file by theme and name. The file is read at the first call: an import reads none."""
    return {
        theme: {name: _fault(name, row) for name, row in rows.items() if name != "defaults"}
        for theme, rows in _rows().items()
    }


def status_fault(status: int) -> FaultSpec:
    """Return the fault of a status that has no row: no provider is known to send it."""
    outcome = Outcome.BAD_REQUEST if status < 500 else Outcome.SERVER_ERROR
    return _fault(str(status), _status_row(status, finding=[outcome]))


def status_error(request: ChatRequest, status: int) -> object:
    """Return the `error` of a status's plain body."""
    return error_of(request, status, _message(request, _rows()["statuses"].get(str(status), {})))


@cache
def _rows() -> dict[str, dict[str, Row]]:
    themes = tomllib.loads(Path(__file__).with_name("faults.toml").read_text("utf-8"))
    for rows in themes.values():
        defaults = rows.get("defaults", {})
        rows |= {name: {**defaults, **row} for name, row in rows.items()}
    themes["statuses"] = {name: _status_row(int(name), **row) for name, row in themes["statuses"].items()}
    return themes


def _status_row(status: int, **row: object) -> Row:
    return {"does": f"HTTP {status}, {phrase(status)}", "status": status, **row}


def _fault(name: str, row: Row) -> FaultSpec:
    finding, on_huggingface = _findings(row)
    takes_wait = row.get("takes_wait", False)
    return FaultSpec(
        does=row["does"],
        respond=partial(_respond, row),
        finding=finding,
        on_huggingface=on_huggingface,
        backends=tuple(row.get("backends", BOTH)),
        is_stream_only=row.get("is_stream_only", False),
        can_fit=_condition(row),
        names_wait=takes_wait or row.get("names_wait", False),
        is_value=is_seconds if takes_wait else None,
        example=f"{name}=2" if takes_wait else "",
        options=tuple(row.get("options", () if "body" in row else REFUSAL_OPTIONS)),
    )


def _findings(row: Row) -> tuple[Finding, Finding | None]:
    """Return the finding of a row, and the one on Hugging Face where it differs."""
    if "finding" in row:
        return _finding(*row["finding"]), _finding(*row["on_huggingface"]) if "on_huggingface" in row else None
    need = row["for_need"]
    return _finding("unsupported", "backend", need), _finding("unsupported", "provider", need)


def _finding(outcome: str, reach: str | None = None, need: str | None = None) -> Finding:
    return Finding(Outcome(outcome), ScopeLevel(reach) if reach else None, Need(need) if need else None)


def _condition(row: Row) -> Callable[[ChatRequest], bool]:
    if "for_need" in row:
        need = Need(row["for_need"])
        return lambda request: need in request.needs
    return attrgetter(row["only_if"]) if "only_if" in row else fits_always


def _respond(row: Row, request: ChatRequest, effect: Effect) -> Response:
    named = as_object(request.preferences).get("only") or ()
    words: dict[str, str] = {
        "model": request.plain_model,
        "does": row["does"],
        "only": ", ".join(map(str, named)),
        "bill_to": request.bill_to or "",
    }

    def word(match: re.Match[str]) -> str:
        if match[1] in _TIMES:
            return _TIMES[match[1]](float(effect.value or 1), clock.current().utc().timestamp())
        return words.get(match[1], match[0])  # other braces are a provider's own

    status = row.get("status", 200)
    headers = _filled(row.get("headers", {}), word)
    if "body" in row:
        return bytes_response(_filled(row["body"], word).encode(), effect.fault, status=status, headers=headers)
    error = _filled(_error(request, row, status), word)
    return refuse(request, effect, status, error, beside=row.get("beside", {}), headers=headers)


def _error(request: ChatRequest, row: Row, status: int) -> object:
    if "error" in row:
        return row["error"]
    # a row without words of its own differs from the plain status in headers or fields alone
    error = error_of(request, status, _message(request, row)) if "message" in row else status_error(request, status)
    return {**error, **row.get("fields", {})} if isinstance(error, dict) else error


def _message(request: ChatRequest, row: Row) -> str | None:
    message: str | None = row.get("message")
    return row.get("huggingface", message) if request.backend == HUGGINGFACE else message


def _filled(value: Any, word: Callable[[re.Match[str]], str]) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return a copy in which words stand in place of the placeholders."""
    match value:
        case dict():
            return {name: _filled(part, word) for name, part in value.items()}
        case list():
            return [_filled(part, word) for part in value]
        case str():
            return _PLACEHOLDER.sub(word, value)
        case _:
            return value

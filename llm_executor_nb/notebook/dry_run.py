"""`%%llm -n`: what a cell would send and whom it would ask, without sending anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.chain.request import make_request
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.advice import hold_words
from llm_executor_nb.core.errors import MissingKeyError
from llm_executor_nb.core.secret import scrub
from llm_executor_nb.notebook.paint import show
from llm_executor_nb.view.html import block, line, plain, pre, table, text_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_executor_nb.core.records import Route
    from llm_executor_nb.notebook.arguments import CellOptions

_COLUMNS = ("", "route", "model there", "tier", "now")


def show_dry_run(order: CellOptions) -> None:
    """Show a cell's prompt as it would be sent, and the routes it would try.

    Raises:
        ModelNotSupportedError, ConfigError: the cell could not be sent as it is.
    """
    routes, trouble = _routes(order)
    facts = [f"{name}={value!r}" for name, value in order.params.items()]
    facts += [f"{name}={value:g} s" for name, value in _bounds(order).items()]
    head = " · ".join([f"nothing was sent · {session().options.models.resolve(order.model)}", *facts])
    quiet = [f"filled in: {', '.join(order.filled)}"] if order.filled else []
    parts = [("system", order.system.text)] if order.system else []
    parts.append(("prompt", order.prompt.text))
    parts = [(name, scrub(text)) for name, text in parts]
    html = line(head, "dim small") + "".join(line(name, "head") + pre(text) for name, text in parts)
    html += "".join(line(one, "dim small") for one in quiet) + "".join(line(n, "wait small") for n in order.notes)
    html += line("routes", "head") + (line(trouble, "bad") if trouble else table(_COLUMNS, routes))
    text = [head, *(f"{name}:\n{text}" for name, text in parts), *quiet, *order.notes]
    text += ["routes:", trouble or text_table(_COLUMNS, routes)]
    show({"text/plain": plain("\n".join(text)), "text/html": block(html)})


def _routes(order: CellOptions) -> tuple[list[Sequence[object]], str]:
    """Return the routes of the cell's model in listed order; without a key the words that say so."""
    try:
        ask = make_request(
            order.model,
            order.prompt.text,
            system=order.system.text if order.system else None,
            timeout=order.timeout_s,
            deadline=order.deadline_s,
            **order.params,
        )
    except MissingKeyError as error:
        return [], str(error)
    listed = enumerate(ask.chain.routes(), start=1)
    return [(place, route.name, route.request_model, route.tier, _standing(route)) for place, route in listed], ""


def _standing(route: Route) -> str:
    now = clock.current().now()
    holds = list(session().health.of(route, now))
    return hold_words(holds[0], now) if holds else "free"


def _bounds(order: CellOptions) -> dict[str, float]:
    given = {"timeout": order.timeout_s, "deadline": order.deadline_s}
    return {name: value for name, value in given.items() if value is not None}

"""The panel as text, for terminals and for readers of a saved notebook: the state, and what to type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_executor_nb.chain.session import session
from llm_executor_nb.notebook.panel.health import route_lines
from llm_executor_nb.notebook.panel.keys import known_of
from llm_executor_nb.settings.models import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEYS = (
    "llm.login()   signs in to OpenRouter, without a key to copy",
    'import getpass; llm.keys.add("openrouter", getpass.getpass("API key: "), label="team")',
    'llm.keys.rename("openrouter", "..a1b2", "team")   .move(..., to=1)   .disable(...)   .enable(...)   .remove(...)',
    'llm.keys.save("openrouter", "team", to="keyring")   or to="file"   .forget_saved("openrouter", "team")',
    "llm.check_keys()   costs nothing",
)
_MODELS = (
    'llm.models.add("google/gemma-3-27b-it", providers=["scaleway"], alias="gemma")   .remove("gemma")',
    'llm.models.set_providers("gemma", ["scaleway"])   .add_alias("g3", "gemma")   .remove_alias("g3")',
    "llm.models.search(\"gemma\", tools=True)   searches OpenRouter's and Hugging Face's lists; costs nothing",
    "llm.sync_models()   compares with Hugging Face's list; apply=True changes the table   llm.models.save()",
)
_HEALTH = ("llm.health()   llm.attempts()   llm.reset_health()",)


def text_form() -> str:
    """Return the three tabs as text, with the functions that their buttons call."""
    config = session().options
    keys = repr(config.keys).splitlines()
    if listed := config.keys.lines():
        keys = [f"{line} · {known_of(key)}" for line, key in zip(keys, listed, strict=False)]
    routes = route_lines(list(config.models)[:SHOWN]) or ["no route: add a key"]
    if (rest := len(config.models) - SHOWN) > 0:
        routes.append(f"… and the routes of {rest:,} more models")
    return "\n\n".join(
        [
            *(["A rehearsal is running: keys and answers are for practice."] if config.practice_url else []),
            _part("Keys", keys, _KEYS),
            _part("Models", repr(config.models).splitlines(), _MODELS),
            _part("Health", routes, _HEALTH),
        ],
    )


def _part(title: str, lines: Iterable[str], calls: Iterable[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines), *(f"  > {call}" for call in calls)])

"""What is said of a model that the provider table does not have: near names, and what adds it. Nothing is sent.

Near names are the table's, and those of the backends' lists as they were last kept.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import to_type
from llm_executor_nb.core.near_names import listed, near_names
from llm_executor_nb.settings import saved_lists

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llm_executor_nb.settings.models import ModelTable

_LONGEST_NAME = 3
"""Words of a model's name or alias; more of them are a prompt."""
_MOST = 3
_ID = re.compile(r"[^\s/]+/[^\s/]+")
_ALIKE = 0.5


def is_id(name: str) -> bool:
    """Whether a text may be a model's id."""
    return _ID.fullmatch(name) is not None


def unknown_model(name: object, table: ModelTable) -> str:
    """Return the message of the error about a name that means no model of a table."""
    listed_ids = _near_on_lists(name, table)
    near = _near_in(table, str(name))
    told = f"Near names: {', '.join(near)}." if near else "No name of the table is near." if listed_ids else "No name is near."
    if len(str(name).split()) > _LONGEST_NAME:
        told = "The model comes first, then the prompt."
    aliases = {alias: model for alias, model in table.aliases.items() if model in table.providers}
    named = set(aliases.values())
    known = [*aliases, *(str(model) for model in table if model not in named)]
    steps = to_type("To add a model:", dict([*_ways_from_lists(name, listed_ids), *_ways(name, listed_ids)]).items())
    return f"Model not supported: {name}. {told}\n{steps}\nThe table has: {listed(known) or 'nothing'}"


def _near_in(table: ModelTable, name: str) -> dict[str, None]:
    """Return the models and aliases that may be meant, whatever the case; a model also by its ids at backends."""
    meant = {id_: model for model in table for id_ in table.names.get(model, {}).values()}
    spelt = {str(one).casefold(): one for one in (*meant, *table, *table.aliases)}
    near = difflib.get_close_matches(name.casefold(), spelt, n=_MOST, cutoff=_ALIKE)
    found = (meant.get(spelt[one], spelt[one]) for one in near)
    return dict.fromkeys(str(one) for one in found if table.aliases.get(one, one) in table.providers)


def _near_on_lists(name: object, table: ModelTable) -> list[str]:
    """Return the ids of the backends' lists that may be meant and are not in the table: the shortest, then the alike."""
    if not isinstance(name, str) or not 0 < len(name.split()) <= _LONGEST_NAME:
        return []
    known = {id_.casefold() for model in table for id_ in (str(model), *table.names.get(model, {}).values())}
    every = saved_lists.names() if table.listed is None else table.listed
    ids = {id_.casefold(): id_ for id_ in reversed(every) if id_.casefold() not in known}
    typed = "".join(name.casefold().split())
    holding = sorted((id_ for id_ in ids if typed in id_), key=len)
    tails = {id_ if "/" in typed else id_.rpartition("/")[2]: id_ for id_ in ids}
    alike = (tails[near] for near in near_names(typed, tails))
    return [ids[id_] for id_ in dict.fromkeys([*holding, *alike])][:_MOST]


def _ways_from_lists(name: object, ids: Iterable[str]) -> list[tuple[str, str]]:
    return [(_to_add(id_, name), "OpenRouter or Hugging Face lists it") for id_ in ids]


def _to_add(id_: str, name: object) -> str:
    """Return what adds a model of the lists, so that a short name which was asked for means it from then on."""
    is_short = isinstance(name, str) and not is_id(name) and name.casefold() in id_.casefold()
    return f"llm.models.add({id_!r}, alias={name!r})" if is_short else f"llm.models.add({id_!r})"


def _ways(name: object, ids: Iterable[str]) -> list[tuple[str, str]]:
    """Return what adds a model that was asked for by this name, whatever is listed: its id, or a short name for one."""
    if isinstance(name, str) and is_id(name):
        is_listed = name.casefold() in map(str.casefold, ids)
        return [] if is_listed else [(f"llm.models.add({name!r})", "if openrouter.ai/models lists this id")]
    alias = f", alias={name!r}" if isinstance(name, str) and 0 < len(name.split()) <= _LONGEST_NAME else ""
    return [(f"llm.models.add('maker/model'{alias})", "with its id as openrouter.ai/models has it")]

"""What is said of a model that the provider table does not have: near names, and what adds it. Nothing is sent.

Near names are the table's, and those of the backends' lists as they were last kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llm_executor_nb.core.errors import to_type
from llm_executor_nb.core.near_names import listed, near_names
from llm_executor_nb.settings import saved_lists

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


_LONGEST_NAME = 3
"""Words of a model's name or alias; more of them are a prompt."""
_MOST = 3
_SHORTEST = 3
"""Characters of a name from which the ids that hold it may be meant."""
_ID = re.compile(r"[^\s/]+/[^\s/]+")
_ALIKE = 0.5
"""Of a model's name: ids have long parts in common, such as a size or `-instruct`."""


def is_id(name: str) -> bool:
    """Whether a text may be a model's id."""
    return _ID.fullmatch(name) is not None


def unknown_model(
    name: object,
    *,
    models: Iterable[str],
    aliases: Mapping[str, str],
    ids: Mapping[str, Mapping[str, str]],
    listed_ids: Iterable[str] | None,
) -> str:
    """Return the message of the error about a name that means no model of the table.

    Args:
        name: what was asked for.
        models: the models of the table.
        aliases: short name -> model.
        ids: model -> backend -> the model's id there, where it is another one.
        listed_ids: the ids on the backends' lists; None: those that were kept.
    """
    table = dict.fromkeys(map(str, models))
    short = {alias: model for alias, model in aliases.items() if model in table}
    meant = {id_: model for model in table for id_ in ids.get(model, {}).values()}
    near = near_names(str(name), [*meant, *table, *short], likeness=_ALIKE)
    on_lists = near_on_lists(name, {*meant, *table}, saved_lists.names() if listed_ids is None else listed_ids)
    if len(str(name).split()) > _LONGEST_NAME:
        told = "The model comes first, then the prompt."
    elif near:
        told = f"Near names: {', '.join(dict.fromkeys(meant.get(one, one) for one in near))}."
    else:
        told = "No name of the table is near." if on_lists else "No name is near."
    named = set(short.values())
    known = listed([*short, *(model for model in table if model not in named)])
    steps = to_type("To add a model:", [*_ways_from_lists(name, on_lists), *_ways(name, on_lists)])
    return f"Model not supported: {name}. {told}\n{steps}\nThe table has: {known or 'nothing'}"


def near_on_lists(name: object, known: Collection[str], listed_ids: Iterable[str]) -> list[str]:
    """Return the listed ids that may be meant and are not in the table: those that hold the name, then those alike."""
    if not isinstance(name, str) or not 0 < len(name.split()) <= _LONGEST_NAME:
        return []
    in_table = set(map(str.casefold, known))
    # OpenRouter's ids come first, and the first spelling counts
    ids = {id_.casefold(): id_ for id_ in reversed([*listed_ids]) if id_.casefold() not in in_table}
    typed = "".join(name.casefold().split())
    holding = sorted((id_ for id_ in ids if typed in id_), key=len) if len(typed) >= _SHORTEST else []
    spelt = {id_ if "/" in typed else id_.rpartition("/")[2]: id_ for id_ in ids}
    alike = (spelt[near] for near in near_names(typed, spelt))
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

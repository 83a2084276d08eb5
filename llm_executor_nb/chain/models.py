"""`llm.models`: the provider table, and what fills it from the backends' lists: `search`, `add` without providers."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from llm_executor_nb.chain import catalogues
from llm_executor_nb.chain.model_search import Listed, find, search
from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import warn
from llm_executor_nb.core.near_names import did_you_mean, noted_as
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import door
from llm_executor_nb.engine.loop import main_loop, run_sync
from llm_executor_nb.settings.models import ModelTable
from llm_executor_nb.settings.unknown_model import is_id, near_on_lists

if TYPE_CHECKING:
    from types import FrameType

    from llm_executor_nb.chain.session import Session

_LOOP_WAITS = "an event loop would stand still meanwhile; in a coroutine: await asyncio.to_thread(llm.models.add, ...)"
_TOP = ("<module>", "<cell")
"""How the name of the code of a script or a cell begins."""


class Models(ModelTable):
    """The provider table of the session in force, as its user has it.

    Args:
        table: the table itself; what is changed here is changed there.
    """

    search = staticmethod(search)

    def __init__(self, table: ModelTable) -> None:
        self.__dict__ = table.__dict__

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if name != "listed"]  # that one is for the error about a name

    @door
    @noted_as("llm.models.add")
    def add(
        self,
        model: str,
        *,
        providers: Iterable[str] | None = None,
        alias: str | None = None,
        names: Mapping[str, str] | None = None,
        openrouter: bool = True,
    ) -> None:
        """Add a model, or replace its row.

        Args:
            model: its id on OpenRouter or Hugging Face, such as `google/gemma-3-27b-it`.
            providers: the Hugging Face providers and own backends to ask, in order; own ones are asked last. None: the
                live ones that Hugging Face lists, in its order. The list is fetched once an hour, which costs nothing;
                where it cannot be had, a warning says so. `[]`: none. `["fastest"]` or `["cheapest"]` keeps all of them
                in the order of the latest figures; with `[":fastest"]` Hugging Face chooses for each request.
            alias: a short name for it.
            names: backend -> the model's id there, where it is not `model`: `{"ollama": "gemma3:27b"}`. Ids that the
                lists know need not be given.
            openrouter: whether OpenRouter is asked for it.

        Raises:
            ConfigError: a name is not a text, the providers are not a list of names, or `names` has a backend that is
                not in the row. Nothing was changed.
        """
        if providers is None:
            found = _found(model, names, self)
            providers = [] if found is None else [each.provider or "" for each in found.providers or ()]
            if names is None or isinstance(names, Mapping):
                names = {**_ids_at_backends(model, found), **(names or {})}
        super().add(model, providers=providers, alias=alias, names=names, openrouter=openrouter)


def _ids_at_backends(model: str, found: Listed | None) -> dict[str, str]:
    if found is None:
        return {}
    ids = {OPENROUTER: found.model if found.openrouter else None, HUGGINGFACE: found.huggingface_id}
    return {backend: id_ for backend, id_ in ids.items() if id_ not in (None, model)}


def _found(model: object, names: object, table: ModelTable) -> Listed | None:
    """Return what the lists say of a model, under the ids that it has at the backends."""
    given = [names.get(backend) for backend in (HUGGINGFACE, OPENROUTER)] if isinstance(names, Mapping) else []
    ids = [id_ for id_ in (*given, model) if isinstance(id_, str) and is_id(id_)]
    current = session()
    # as for prices: the user did not ask for the look-up itself
    if not ids or not current.may_look_up:
        return None
    lists = _lists(current)
    lists.tell_problems(
        f"Later, llm.sync_models({model!r}, apply=True) adds the providers that are missing.",
        about=("openrouter", "huggingface"),
    )
    found = next(filter(None, (find(id_, lists, table) for id_ in ids)), None)
    if found is None and lists.are_complete and not current.is_rehearsal:  # practice lists know only some models
        near = did_you_mean(near_on_lists(ids[0], (), lists.ids))
        warn(f"Neither OpenRouter nor Hugging Face lists {ids[0]}, so it was added without providers.{near}")
    return found


def _lists(current: Session) -> catalogues.Catalogues:
    if _may_wait():
        return run_sync(lambda: catalogues.fetched(current))
    return catalogues.held(current, _LOOP_WAITS)


def _may_wait() -> bool:
    """Whether the caller may wait for a look-up: a script or a cell may, code that an event loop runs may not."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - only the frames say who calls
    while frame is not None and not frame.f_code.co_name.startswith(_TOP):
        # a coroutine, or a callback that asyncio runs
        if frame.f_code.co_flags & inspect.CO_COROUTINE or frame.f_globals.get("__package__") == "asyncio":
            return False
        frame = frame.f_back
    return not main_loop().is_current

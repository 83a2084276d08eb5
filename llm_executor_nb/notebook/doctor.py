"""`%llm doctor`: looks for what is wrong, with a line for each result and what to do. It sends nothing that costs.

It is bounded: it takes a few seconds where the network is down or the folder is large. It never shows a key.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import sys
import textwrap
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.key_lookups import check_keys
from llm_executor_nb.chain.limits import ends_of
from llm_executor_nb.chain.live_rows import look_at_all
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.advice import counted, hold_words
from llm_executor_nb.core.errors import ConfigError, MissingKeyError
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.core.holds import describe
from llm_executor_nb.core.outcomes import Outcome, ScopeLevel
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.core.secret import is_made_up
from llm_executor_nb.notebook.doctor_network import BAD, FACT, GOOD, LOOK, CheckResult, all_within, look_at_network
from llm_executor_nb.notebook.doctor_network import PART as NETWORK
from llm_executor_nb.notebook.leaked_keys import CHECKPOINTS, Leak, search_history, search_notebooks
from llm_executor_nb.settings.key_sources import LOGIN
from llm_executor_nb.settings.shipped_models import LEFT
from llm_executor_nb.view.html import block, line, marked
from llm_executor_nb.view.text import dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from llm_executor_nb.view.html import Bundle

_WITHIN_S = 5.0
"""Seconds for the network, and again for the search of notebooks."""
_SHOWN_LEAKS = 20
_SHOWN_MODELS = 20
_WORST_FIRST = (BAD, LOOK, GOOD, FACT)
_MARKS = {GOOD: "ok", LOOK: "look", BAD: "BAD", FACT: ""}
_NO_NETWORK = frozenset({Outcome.CONNECTION.value, Outcome.TIMEOUT.value})
"""Outcomes of a look-up that did not reach the provider."""
_PACKAGES = (
    "langchain-core",
    "langchain-openai",
    "langchain-huggingface",
    "aiohttp",
    "tenacity",
    "pandas",
    "ipython",
    "ipykernel",
    "ipywidgets",
    "anywidget",
)
_REVOKED_AT = {OPENROUTER: "openrouter.ai/settings/keys", HUGGINGFACE: "huggingface.co/settings/tokens"}
_BACKEND_OF = {"OpenRouter key": OPENROUTER, "Hugging Face token": HUGGINGFACE}
"""Whose the kinds of keys are that are found in notebooks."""
_WIDEST = 44
"""Characters of a column in the report as text."""
_LEAKS = "keys left in notebooks"


def examine(shell: InteractiveShell | None) -> list[CheckResult]:
    """Return the whole report, part by part."""
    return [
        *_versions(),
        *_keys(),
        *_models(),
        *_ledger(),
        *look_at_network(_urls(), within_s=_WITHIN_S),
        *_leaks(),
        *_history(shell),
    ]


def report_bundle(results: Iterable[CheckResult]) -> Bundle:
    """Return the report as a display: a heading for each part, and its results below, in columns."""
    html, text = "", []
    for part, group in groupby(results, key=lambda result: result.part):
        of_part = list(group)
        columns = 5 if any(one.about for one in of_part) else 4
        html += line(part, "head") + marked(_columns(one)[:columns] for one in of_part)
        text += [part, *_text_lines(of_part)]
    return {"text/plain": plain("\n".join(text)), "text/html": block(html)}


def _columns(one: CheckResult) -> tuple[str, ...]:
    # the column beside it says it already
    words = one.words.removeprefix(one.about).lstrip(": ")
    return _MARKS[one.kind], one.kind, words, one.next_step, one.about


def _text_lines(results: Sequence[CheckResult]) -> Iterator[str]:
    """Yield the lines of one part: the mark, what it is about, the words, and the next step below them."""
    width = max((len(one.about) for one in results if len(one.about) <= _WIDEST), default=0)
    for one in results:
        mark, _, words, step, about = _columns(one)
        yield _wrapped(f"  {mark:<4} " + (f"{about:<{width}}  " if about else ""), words)
        if step:
            yield _wrapped(" " * 7 + "-> ", step)


def _wrapped(begin: str, words: str) -> str:
    """Return a line that is broken at the window's width; what follows stands below its words."""
    return textwrap.fill(
        words,
        shutil.get_terminal_size().columns,
        initial_indent=begin,
        subsequent_indent=" " * (len(begin) if len(begin) <= _WIDEST else 9),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _versions() -> Iterator[CheckResult]:
    part = "versions"
    versions = {name: _version(name) for name in ("llm_executor_nb", *_PACKAGES)}
    installed = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    yield CheckResult(part, FACT, f"Python {platform.python_version()} on {sys.platform}; {installed}")
    if missing := [name for name, version in versions.items() if version is None]:
        yield CheckResult(part, LOOK, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _keys() -> list[CheckResult]:
    part, keys = "keys", session().options.keys
    if not len(keys):
        places = "; ".join(keys.places())
        steps = "%llm login, %llm keys add openrouter, or %llm panel"
        return [CheckResult(part, BAD, f"no key. Looked in: {places}", steps)]
    # the look-ups are free (design 6), but a dead proxy can hang each of them
    (checked,) = all_within([check_keys], _WITHIN_S)
    if checked is None:
        unknown = "could not be looked up in time"
        return [_of_key(f"{key.backend} {key.shown}, from {key.source}", LOOK, unknown) for key in keys]
    is_practice = session().is_rehearsal
    made_up = {(key.backend, key.label) for key in keys if not is_practice and is_made_up(key.secret.reveal())}
    practice = CheckResult(part, LOOK, "a rehearsal is running: these are practice keys", "%llm rehearse off ends it")
    rows: list[Any] = list(checked.itertuples())
    unreached = [row for row in rows if pd.isna(row.is_alive) and row.outcome in _NO_NETWORK]
    if len(unreached) < 2:  # one key alone may be the fault of its provider
        unreached = []
    return [
        *([practice] if is_practice else []),
        *(_key(row, is_made_up=(row.backend, row.label) in made_up) for row in rows if row not in unreached),
        *_unreached_keys(unreached),
    ]


def _unreached_keys(rows: list[Any]) -> Iterator[CheckResult]:
    """Yield once why none of these keys could be looked up, and then a line for each key."""
    if not rows:
        return
    causes = "; ".join(dict.fromkeys(str(row.message) for row in rows if not pd.isna(row.message)))
    words = f"{len(rows)} keys could not be looked up, and that is the network" + (f": {causes}" if causes else "")
    yield CheckResult("keys", LOOK, words, f"see {NETWORK} below; a key may be fine all the same")
    for row in rows:
        # one cause, told once: a line for each key would bury it
        yield CheckResult("keys", FACT, _name(row), about=_name(row))


def _key(row: Any, *, is_made_up: bool) -> CheckResult:  # noqa: ANN401 - a row of a frame has no type
    name, words = _name(row), "" if pd.isna(row.message) else f" ({row.message})"
    if pd.isna(row.is_alive):
        return _of_key(name, LOOK, f"could not be looked up: {row.outcome}{words}")
    if not row.is_alive and is_made_up:
        return _of_key(name, LOOK, "made up, so no provider accepts it", _replaced(row))
    if not row.is_alive:
        return _of_key(name, BAD, f"not accepted: {row.outcome}{words}", _replaced(row))
    left = "" if pd.isna(row.credit_usd) else f", {dollars(row.credit_usd)} left"
    if row.outcome == "ok":
        return _of_key(name, GOOD, f"alive{left}")
    return _of_key(name, LOOK, f"alive{left}, but {row.outcome}{words}", "top it up, or add another key")


def _name(row: Any) -> str:  # noqa: ANN401 - a row of a frame has no type
    return f"{row.backend} {row.label} {row.key}, from {row.source}"


def _of_key(name: str, kind: str, words: str, step: str = "") -> CheckResult:
    return CheckResult("keys", kind, f"{name}: {words}", step, about=name)


def _replaced(row: Any) -> str:  # noqa: ANN401 - a row of a frame has no type
    if row.source == LOGIN:
        return f"sign in again: llm.login({row.backend!r})"
    return f"replace it: {_REVOKED_AT.get(row.backend, f'llm.add_backend({row.backend!r}, keys=[...])')}"


def _models() -> Iterator[CheckResult]:
    """Yield the results for each model; of a large table for the worst ones first, and for the rest in one line."""
    if not _used():
        words = f"{len(session().options.models):,} in the table; their routes are shown once there is a key"
        yield CheckResult("models", FACT, words)
        return
    look_ups: list[Callable[[], Mapping[str, str] | None]] = [
        partial(ends_of, tuple(session().options.models)),
        look_at_all,
    ]
    ends, _ = all_within(look_ups, _WITHIN_S)
    by_model = [[*_model(model), *_end(model, ends or {})] for model in tuple(session().options.models)]
    if len(by_model) > _SHOWN_MODELS:  # a small table keeps its order
        by_model.sort(key=lambda results: min(_WORST_FIRST.index(one.kind) for one in results))
    for results in by_model[:_SHOWN_MODELS]:
        yield from results
    if rest := by_model[_SHOWN_MODELS:]:
        bad = sum(any(one.kind == BAD for one in results) for results in rest)
        words = f"and {len(rest):,} more models, " + (f"{bad:,} of them without a route" if bad else "all with a route")
        yield CheckResult("models", BAD if bad else GOOD, words, "%llm models gemma finds some by a part of the name")
    yield from _held_keys()


def _held_keys() -> Iterator[CheckResult]:
    """Yield the keys on hold: each is on hold for all models."""
    now = clock.current().now()
    for hold in session().health.holds(now):
        if hold.scope.reach is ScopeLevel.KEY:
            name = describe(hold.scope)
            yield CheckResult("models", LOOK, f"{name}: {hold_words(hold, now)}", about=name)


def _model(model: str) -> Iterator[CheckResult]:
    part, now, health = "models", clock.current().now(), session().health
    try:
        routes = list(compiled(model, session()).routes())
    except MissingKeyError:
        yield CheckResult(part, BAD, f"{model}: no route, because there is no key for any", about=model)
        return
    except ConfigError as error:
        yield CheckResult(part, BAD, f"{model}: {error}", about=model)
        return
    held = [(route, holds[0]) for route in routes if (holds := health.of(route, now))]
    on_hold = f"; {len(held)} on hold" if held else ""
    names = ", ".join(route.name for route in routes)
    words = f"{model}: {counted(len(routes), 'route')}: {names}{on_hold}"
    yield CheckResult(part, GOOD if len(held) < len(routes) else BAD, words, about=model)
    for route, hold in held:
        if hold.scope.reach is not ScopeLevel.KEY:  # that would be told for each model
            yield CheckResult(part, LOOK, f"{route.name}: {hold_words(hold, now)}", about=route.name)
    for provider in dict.fromkeys(r.provider for r in routes if r.provider in LEFT):
        others = [name for name in session().options.models.row(model) if name != provider]
        step = f"llm.models.set_providers({model!r}, {others!r}) takes it out of the row"
        yield CheckResult(part, LOOK, f"{provider}: {LEFT[provider]}", step, about=provider)


def _end(model: str, ends: Mapping[str, str]) -> Iterator[CheckResult]:
    if model in ends:
        step = f"llm.models.search({model.partition('/')[0]!r}) shows what else there is"
        yield CheckResult("models", LOOK, f"{model}: {ends[model]}", step, about=model)


def _ledger() -> Iterator[CheckResult]:
    ledger = session().ledger
    place = "in memory, until the kernel ends" if ledger.path is None else f"in {ledger.path}, {_size(ledger.size)}"
    yield CheckResult("ledger", GOOD, f"answers and attempts are kept {place}")
    if ledger.trouble:
        yield CheckResult("ledger", BAD, ledger.trouble, "answers stay in memory until it clears")


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.0f} kB"


def _urls() -> list[tuple[str, str]]:
    """Return the backends that are used and have a URL."""
    config = session().options
    own = {name: backend.base_url for name, backend in config.backends.items()}
    urls = {name: own[name] if name in own else config.base_url(name) for name in _used()}
    return [(name, url) for name, url in urls.items() if url is not None]


def _used() -> list[str]:
    """Return the backends that have a key, and the user's own ones that serve a model without one."""
    config = session().options
    named = {key.backend for key in config.keys}
    for row in tuple(config.models.providers.values()):
        if isinstance(row, list):  # another row is a fault of its model, which is told there
            named.update(config.backends.keys() & set(map(str, row)))
    return [name for name in config.backend_names if name in named]


def _leaks() -> Iterator[CheckResult]:
    search = search_notebooks(Path.cwd(), within_s=_WITHIN_S)
    for leak in search.leaks[:_SHOWN_LEAKS]:
        yield CheckResult(_LEAKS, BAD, f"{leak.where}, {leak.place}: {leak.kind}", _how_to_remove(leak))
    if (more := len(search.leaks) - _SHOWN_LEAKS) > 0:
        yield CheckResult(_LEAKS, BAD, f"and {more} more")
    if search.leaks:
        places = {_REVOKED_AT.get(_BACKEND_OF.get(leak.kind, ""), "where you got it") for leak in search.leaks}
        yield CheckResult(
            _LEAKS, BAD, "who has one of these files has the key", f"revoke it: {', '.join(sorted(places))}"
        )
    else:
        yield CheckResult(_LEAKS, GOOD, f"none in {search.searched} notebooks below this folder")
    if search.made_up:
        yield CheckResult(_LEAKS, FACT, f"made-up keys, nothing to do: {', '.join(search.made_up[:_SHOWN_LEAKS])}")
    if not search.is_whole:
        step = "start the kernel in a smaller folder"
        yield CheckResult(_LEAKS, LOOK, "not all were read, because the folder is large", step)
    if search.unread:
        yield CheckResult(_LEAKS, LOOK, f"not readable, or too large: {', '.join(search.unread[:_SHOWN_LEAKS])}")


def _history(shell: InteractiveShell | None) -> Iterator[CheckResult]:
    manager = getattr(shell, "history_manager", None)
    path = str(getattr(manager, "hist_file", "") or "")
    if lines := search_history(path):
        shown = ", ".join(lines[:_SHOWN_LEAKS])
        words = f"IPython's history holds a key in {len(lines)} lines (session/line {shown})"
        yield CheckResult(_LEAKS, BAD, words, f"revoke the key; with all kernels stopped, delete {path}")


def _how_to_remove(leak: Leak) -> str:
    if CHECKPOINTS in leak.where:
        return "delete this file; it is a copy that JupyterLab made"
    if leak.place.endswith("output"):
        return "clear this output and save; where the file is in git, its history keeps the key"
    if "widgets" in leak.place:
        return "clear all outputs, switch off saving of widget state, and save"
    return "delete it there and save; where the file is in git, its history keeps the key"

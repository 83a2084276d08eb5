"""`%llm doctor`: looks for what is wrong, says it in a line each, and what to do. Sends nothing that costs.

Bounded: a network that is down takes a few seconds, a large folder too. Never shows a key.
"""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from llm_executor_nb.chain.compile import compiled
from llm_executor_nb.chain.lookups import check_keys
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.advice import hold_words
from llm_executor_nb.core.errors import ConfigError, MissingKeyError
from llm_executor_nb.core.outcomes import Outcome
from llm_executor_nb.core.records import HUGGINGFACE, OPENROUTER
from llm_executor_nb.notebook.doctor_network import PART as NETWORK
from llm_executor_nb.notebook.doctor_network import all_within, look_at_network
from llm_executor_nb.notebook.finding import BAD, FACT, GOOD, LOOK, CheckResult
from llm_executor_nb.notebook.leaked_keys import CHECKPOINTS, Leak, search_history, search_notebooks
from llm_executor_nb.settings.key_ring import looked_for
from llm_executor_nb.settings.models import LEFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

_WITHIN_S = 5.0
"""Seconds for the network, and again for the search of notebooks."""
_SHOWN_LEAKS = 20
_SHOWN_MODELS = 20
_GRAVE = (BAD, LOOK, GOOD, FACT)
_NO_NETWORK = frozenset({Outcome.CONNECTION.value, Outcome.TIMEOUT.value})
"""What a look-up came to that never got to the provider."""
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
_WHERE_TO_REVOKE = "openrouter.ai/settings/keys, huggingface.co/settings/tokens"


def examine(shell: InteractiveShell | None) -> list[CheckResult]:
    """Return the whole report, part by part."""
    return [
        *_versions(),
        *_keys(),
        *_models(),
        *_ledger(),
        *look_at_network(_urls(), within_s=_WITHIN_S),
        *_leaks(shell),
    ]


def _versions() -> Iterator[CheckResult]:
    part = "versions"
    found = {name: _version(name) for name in ("llm_executor_nb", *_PACKAGES)}
    listed = [f"{name} {version}" for name, version in found.items() if version]
    yield CheckResult(part, FACT, f"Python {platform.python_version()} on {sys.platform}; " + ", ".join(listed))
    if missing := [name for name, version in found.items() if version is None]:
        yield CheckResult(part, LOOK, f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _keys() -> list[CheckResult]:
    part, keys = "keys", session().options.keys
    if not len(keys):
        places = "; ".join(looked_for())
        return [CheckResult(part, BAD, f"no key; looked for in {places}", "%llm keys add openrouter, or %llm panel")]
    (checked,) = all_within([check_keys], _WITHIN_S)
    if checked is None:
        unknown = "could not be looked up in time"
        return [CheckResult(part, LOOK, f"{key.backend} {key.shown}, from {key.source}: {unknown}") for key in keys]
    is_practice = session().is_rehearsal
    practice = [CheckResult(part, LOOK, "a rehearsal is running: these are practice keys", "%llm rehearse off ends it")]
    rows: list[Any] = list(checked.itertuples())
    unreached = [row for row in rows if pd.isna(row.is_alive) and row.outcome in _NO_NETWORK]
    if len(unreached) < 2:
        unreached = []
    return [
        *(practice if is_practice else []),
        *(_key(row) for row in rows if row not in unreached),
        *_behind_the_network(unreached),
    ]


def _behind_the_network(rows: list[Any]) -> Iterator[CheckResult]:
    """Say once why none of these keys could be looked up, and of each only what it is."""
    if not rows:
        return
    told = "; ".join(dict.fromkeys(str(row.message) for row in rows if not pd.isna(row.message)))
    words = f"{len(rows)} keys could not be looked up, and that is the network" + (f": {told}" if told else "")
    yield CheckResult("keys", LOOK, words, f"see {NETWORK} below; a key may be fine all the same")
    for row in rows:
        yield CheckResult("keys", FACT, f"{row.backend} {row.label} {row.key}, from {row.source}")


def _key(row: Any) -> CheckResult:  # noqa: ANN401 - a row of a frame has no type
    name = f"{row.backend} {row.label} {row.key}, from {row.source}"
    words = "" if pd.isna(row.message) else f" ({row.message})"
    if pd.isna(row.is_alive):
        return CheckResult("keys", LOOK, f"{name}: could not be looked up: {row.outcome}{words}")
    if not row.is_alive:
        return CheckResult(
            "keys", BAD, f"{name}: not accepted: {row.outcome}{words}", f"replace it: {_WHERE_TO_REVOKE}"
        )
    left = "" if pd.isna(row.credit_usd) else f", ${row.credit_usd:.2f} left"
    if row.outcome == "ok":
        return CheckResult("keys", GOOD, f"{name}: alive{left}")
    return CheckResult("keys", LOOK, f"{name}: alive{left}, but {row.outcome}{words}", "top it up, or add another key")


def _models() -> Iterator[CheckResult]:
    """Yield what there is to say of each model; of a large table of those first with which something is wrong."""
    told = [list(_model(model)) for model in tuple(session().options.models)]
    if len(told) > _SHOWN_MODELS:
        told.sort(key=lambda findings: min(_GRAVE.index(one.kind) for one in findings))
    for findings in told[:_SHOWN_MODELS]:
        yield from findings
    if rest := told[_SHOWN_MODELS:]:
        bad = sum(any(one.kind == BAD for one in findings) for findings in rest)
        words = f"and {len(rest):,} more models, " + (f"{bad:,} of them without a route" if bad else "all with a route")
        yield CheckResult("models", BAD if bad else GOOD, words, "%llm models gemma finds some by a part of the name")


def _model(model: str) -> Iterator[CheckResult]:
    part, now = "models", clock.current().now()
    try:
        routes = list(compiled(model, session().options, session().health).routes())
    except MissingKeyError:
        yield CheckResult(part, BAD, f"{model}: no route, because there is no key for any")
        return
    except ConfigError as error:
        yield CheckResult(part, BAD, f"{model}: {error}")
        return
    held = [(route, holds[0]) for route in routes if (holds := session().health.of(route, now))]
    listed = ", ".join(route.name for route in routes)
    yield CheckResult(part, GOOD if len(held) < len(routes) else BAD, f"{model}: {len(routes)} routes: {listed}")
    for route, hold in held:
        yield CheckResult(part, LOOK, f"{route.name}: {hold_words(hold, now)}")
    for provider in dict.fromkeys(r.provider for r in routes if r.provider in LEFT):
        yield CheckResult(part, LOOK, f"{provider}: {LEFT[provider]}", f"take it out of the row of {model}")


def _ledger() -> list[CheckResult]:
    ledger = getattr(session(), "ledger", None)
    if ledger is None:
        return []
    place = "in memory, until the kernel ends" if ledger.path is None else f"in {ledger.path}, {_size(ledger.size)}"
    findings = [CheckResult("ledger", GOOD, f"answers and attempts are kept {place}")]
    if ledger.trouble:
        findings.append(CheckResult("ledger", BAD, ledger.trouble, "answers stay in memory until it clears"))
    return findings


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MB" if count >= 2**20 else f"{count / 2**10:.0f} kB"


def _urls() -> list[tuple[str, str]]:
    config = session().options
    own = [(name, backend.base_url) for name, backend in config.backends.items()]
    found = [*((name, config.base_url(name)) for name in (OPENROUTER, HUGGINGFACE)), *own]
    return [(name, url) for name, url in found if url is not None]


def _leaks(shell: InteractiveShell | None) -> Iterator[CheckResult]:
    part = "keys left in notebooks"
    search = search_notebooks(Path.cwd(), within_s=_WITHIN_S)
    for leak in search.leaks[:_SHOWN_LEAKS]:
        yield CheckResult(part, BAD, f"{leak.where}, {leak.place}: {leak.kind}", _how_to_remove(leak))
    if more := len(search.leaks) - _SHOWN_LEAKS:
        yield from [CheckResult(part, BAD, f"and {more} more")] if more > 0 else []
    if search.leaks:
        yield CheckResult(part, BAD, "who has one of these files has the key", f"revoke it: {_WHERE_TO_REVOKE}")
    else:
        yield CheckResult(part, GOOD, f"none in {search.searched} notebooks below this folder")
    if not search.is_whole:
        yield CheckResult(part, LOOK, "not all were read, the folder is large", "start the kernel in a smaller folder")
    if search.unread:
        yield CheckResult(part, LOOK, f"not readable, or too large: {', '.join(search.unread[:_SHOWN_LEAKS])}")
    yield from _history(part, shell)


def _history(part: str, shell: InteractiveShell | None) -> Iterable[CheckResult]:
    manager = getattr(shell, "history_manager", None)
    path = str(getattr(manager, "hist_file", "") or "")
    lines = search_history(path) if path else []
    if lines:
        named = ", ".join(lines[:_SHOWN_LEAKS])
        words = f"IPython's history holds a key in {len(lines)} lines (session/line {named})"
        yield CheckResult(part, BAD, words, f"revoke the key; with all kernels stopped, delete {path}")


def _how_to_remove(leak: Leak) -> str:
    if CHECKPOINTS in leak.where:
        return "delete this file; it is a copy that JupyterLab made"
    if leak.place.endswith("output"):
        return "clear this output and save; where the file is in git, its history keeps the key"
    if "widgets" in leak.place:
        return "clear all outputs, switch off saving of widget state, and save"
    return "delete it there and save; where the file is in git, its history keeps the key"

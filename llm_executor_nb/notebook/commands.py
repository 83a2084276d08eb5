"""`%llm COMMAND`: the commands of a line. Every command has a public function behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from IPython.core.error import UsageError
from IPython.display import display

from llm_executor_nb.chain.inspection import attempts, left_out_by_session
from llm_executor_nb.chain.login import hidden_answer, login
from llm_executor_nb.chain.session import session
from llm_executor_nb.core import clock
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import plain
from llm_executor_nb.core.holds import describe
from llm_executor_nb.core.near_names import did_you_mean, near_names
from llm_executor_nb.core.records import OPENROUTER
from llm_executor_nb.core.secret import forgetful
from llm_executor_nb.notebook.arguments import KEY_IN_LINE, default_model, unquoted
from llm_executor_nb.notebook.doctor import examine, report_bundle
from llm_executor_nb.notebook.found_models import found_models
from llm_executor_nb.notebook.panel import panel
from llm_executor_nb.rehearsal.rehearse import rehearse
from llm_executor_nb.settings.models import SHOWN, row_as_text, shown_rows
from llm_executor_nb.view.holds import NOTHING_HELD
from llm_executor_nb.view.html import line_part, stacked, table, table_part
from llm_executor_nb.view.live import show
from llm_executor_nb.view.text import dollars, time_left

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from IPython.core.interactiveshell import InteractiveShell

    from llm_executor_nb.rehearsal.rehearse import Rehearsal
    from llm_executor_nb.view.html import Bundle

_OFF = "off"
_SHOWN_ATTEMPTS = 20
_LONG_WORD = 16
"""Characters from which a word may be a key: keys are longer, and few labels are."""
_HOLD_COLUMNS = ("on hold", "why", "for", "in the provider's words")
_MODEL_COLUMNS = ("model", "aliases", "OpenRouter", "then")
_ATTEMPT_COLUMNS = ("sent (UTC)", "row", "", "route", "outcome", "HTTP", "took s", "then", "cost", "message")


class Commands:
    """The commands of one shell.

    Attributes:
        BY_NAME: every command, by the word that is typed.
        chosen: the model that `%llm use` made the default; None: the table's first alias is.
    """

    def __init__(self, shell: InteractiveShell | None) -> None:
        self.chosen: str | None = None
        self._shell = shell
        self._rehearsal: Rehearsal | None = None

    def run(self, typed: str) -> None:
        """Carry out one command.

        Raises:
            UsageError: there is no such command, or it cannot be used like this.
        """
        name, _, rest = typed.strip().partition(" ")
        if not name:
            show_line(
                f"A cell that begins with %%llm is a prompt, for {default_model(self.chosen)} unless it names a model. "
                f"In a line: %llm {'|'.join(self.BY_NAME)}. %%llm? shows the help."
            )
            return
        if name not in self.BY_NAME:
            raise UsageError(self._unknown(name))
        self.BY_NAME[name](self, rest.strip())

    def close(self) -> None:
        """End the rehearsal that `%llm rehearse` began: without these commands no line could end it."""
        if self._rehearsal is not None:
            self._end_rehearsal()

    def _unknown(self, name: str) -> str:
        models = session().options.models
        if name in models.providers or name in models.aliases:
            return f"A prompt is a cell that begins with %%llm {name}, with two % signs; %llm takes a command."
        hint = did_you_mean(f"%llm {near}" for near in near_names(name, self.BY_NAME))
        return f"%llm takes one of {', '.join(self.BY_NAME)}.{hint} A prompt is a cell that begins with %%llm MODEL."

    def _panel(self, rest: str) -> None:
        _refuse_arguments("panel", rest)
        if (widget := panel()) is not None:
            display(widget)

    def _keys(self, rest: str) -> None:
        action, *words = rest.split() or [""]
        if not action:
            display(session().keys)
        elif action == "add":
            self._add_key(words)
        elif action == "remove" and len(words) > 1:
            self._remove_key(words[0], unquoted(" ".join(words[1:])))
        else:
            raise UsageError("%llm keys, %llm keys add openrouter [LABEL], or %llm keys remove openrouter LABEL.")

    @forgetful
    def _add_key(self, words: list[str]) -> None:
        ring = session().options.keys
        backends = ", ".join(ring.code)
        if not words:
            raise UsageError(f"Name the backend of the key: %llm keys add openrouter. There are {backends}.")
        backend, *label = words
        # whatever is not a backend may be the key itself, so the message does not repeat it
        if backend not in ring.code or any(_may_be_key(word) for word in label):
            raise UsageError(
                KEY_IN_LINE if any(map(_may_be_key, words)) else f"There is no such backend. There are {backends}."
            )
        try:
            key = hidden_answer(f"{backend} key (not shown): ")
        except ConfigError as error:
            raise UsageError(str(error)) from None
        added = session().keys.add(backend, key, label=unquoted(" ".join(label)) or None)
        show_line(f"Added for this session: {backend} {added}.")

    def _login(self, rest: str) -> None:
        backend, *more = rest.split() or [OPENROUTER]
        if more:  # it may be a key, so the message does not repeat it
            raise UsageError("%llm login, or %llm login huggingface.")
        show_line(login(backend).message)

    def _remove_key(self, backend: str, name: str) -> None:
        """Remove a key by the name that `%llm keys` shows, and report whether a saved one was deleted."""
        ring = session().options.keys
        saved = {line.shown: line.saved_in for line in ring.lines() if line.backend == backend}
        if not session().keys.remove(backend, name):
            show_line(f"There is no such key for {backend} in this session.")
            return
        # what the keyring or the file really lost, not what was asked for
        left = {line.shown for line in ring.lines() if line.backend == backend}
        places = [place for shown, place in saved.items() if place and shown not in left]
        show_line(f"Removed, and deleted from the {places[0]}." if places else "Removed for this session.")

    def _models(self, rest: str) -> None:
        action, _, text = rest.partition(" ")
        part = unquoted(rest)
        if action == "search":
            show(found_models(unquoted(text.strip())))
        elif not part:
            display(session().options.models)
            self._use("")
        elif session().options.models.find(part):
            show(_models_bundle(part))
        else:
            show_line(
                f"No model has {part} in its name or its aliases. %llm models shows the table, and "
                f"%llm models search {part} looks on the lists of OpenRouter and Hugging Face."
            )

    def _use(self, rest: str) -> None:
        if rest:
            name = unquoted(rest)
            session().options.models.resolve(name)  # raises for a model that is not in the table
            self.chosen = name
        show_line(f"{default_model(self.chosen)} is asked when a %%llm cell names no model.")

    def _health(self, rest: str) -> None:
        _refuse_arguments("health", rest)
        now = clock.current().now()
        rows = [
            (describe(hold.scope), hold.why.value, time_left(hold.until - now), hold.message)
            for hold in session().health.holds(now)
        ]
        rows += [(one.route.name, one.clause, "until a change", one.why) for one in left_out_by_session()]
        _show_table(_HOLD_COLUMNS, rows, otherwise=NOTHING_HELD)

    def _log(self, rest: str) -> None:
        if rest and not (rest.isdecimal() and int(rest)):
            raise UsageError("%llm log, or %llm log 50 for the last 50 attempts; llm.attempts() has them all.")
        last = attempts().tail(int(rest or _SHOWN_ATTEMPTS))
        _show_table(_ATTEMPT_COLUMNS, map(_attempt_row, last.itertuples()), otherwise="Nothing has been asked yet.")

    def _rehearse(self, rest: str) -> None:
        script = unquoted(rest)
        if script == _OFF:
            self._end_rehearsal()
            return
        rehearsal = rehearse(script)  # a wrong script raises here, and the rehearsal before it goes on
        if self._rehearsal is not None:
            self._rehearsal.stop()
        self._rehearsal = rehearsal.start()
        show_line(
            f"Rehearsal: {script or 'every request is answered'}. No key is used and nothing is spent, until "
            "%llm rehearse off."
        )

    def _end_rehearsal(self) -> None:
        if self._rehearsal is not None:
            self._rehearsal.stop()
            self._rehearsal = None
            show_line("The rehearsal has ended: your own keys and settings are back, and cells cost money again.")
        elif session().is_rehearsal:
            raise UsageError("This rehearsal was begun in code: call its stop(), or leave its with-block.")
        else:
            show_line("No rehearsal is running.")

    def _doctor(self, rest: str) -> None:
        _refuse_arguments("doctor", rest)
        show(report_bundle(examine(self._shell)))

    BY_NAME: ClassVar[dict[str, Callable[[Commands, str], None]]] = {
        "panel": _panel,
        "keys": _keys,
        "models": _models,
        "use": _use,
        "health": _health,
        "log": _log,
        "login": _login,
        "rehearse": _rehearse,
        "doctor": _doctor,
    }


def show_line(text: str) -> None:
    """Show one quiet line."""
    show(stacked(line_part(text, "dim")))


def _show_table(names: Sequence[str], rows: Iterable[Sequence[object]], *, otherwise: str) -> None:
    """Show rows, or the words for a table without any."""
    listed = list(rows)
    show(stacked(table_part(names, listed) if listed else line_part(otherwise, "dim")))


def _models_bundle(part: str) -> Bundle:
    """Return the models that have some text in their names, as many as can be read, and how many more there are."""
    models = session().options.models
    matching = models.find(part)
    rows = shown_rows(models, matching[:SHOWN])
    more = len(matching) - SHOWN
    rest = line_part(f"… and {more:,} more; a longer part of the name finds fewer", "dim")
    listed = {"text/plain": plain("\n".join(map(row_as_text, rows))), "text/html": table(_MODEL_COLUMNS, rows)}
    return stacked(listed, *([rest] if more > 0 else []))


def _attempt_row(one: Any) -> list[object]:  # noqa: ANN401 - a row of a frame has no type
    cost = None if pd.isna(one.cost_usd) else dollars(one.cost_usd)
    sent = f"{one.started_utc:%H:%M:%S}"
    values = [sent, one.row, one.attempt, one.route, one.outcome, one.http_status, one.duration_s, one.decision]
    return [None if pd.isna(value) else value for value in [*values, cost, one.message]]


def _refuse_arguments(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"%llm {name} takes no arguments.")


def _may_be_key(word: str) -> bool:
    # design 6: a key goes in one way, unseen; one that was typed is never shown, so in doubt a word is a key
    return len(word) >= _LONG_WORD or word.startswith(("sk-", "hf_"))

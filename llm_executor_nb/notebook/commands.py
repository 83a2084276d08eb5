"""`%llm COMMAND`: what goes with the cells, in one line each. Every command has a function of the package behind it."""

from __future__ import annotations

import difflib
import getpass
from typing import TYPE_CHECKING

from IPython.core.error import StdinNotImplementedError, UsageError
from IPython.display import display

from llm_executor_nb.chain.session import session
from llm_executor_nb.notebook.arguments import KEY_IN_LINE, default_model, unquoted
from llm_executor_nb.notebook.doctor import examine
from llm_executor_nb.notebook.paint import show
from llm_executor_nb.notebook.panel import panel
from llm_executor_nb.notebook.tables import health_bundle, log_bundle, models_bundle, report_bundle
from llm_executor_nb.rehearsal.rehearse import rehearse
from llm_executor_nb.view.html import block, line, plain

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from llm_executor_nb.rehearsal.rehearse import Rehearsal

_OFF = "off"
_SHOWN_ATTEMPTS = 20


class Commands:
    """The commands of one shell.

    Attributes:
        chosen: the model that `%llm use` made the default; None: the table's first alias is.
    """

    def __init__(self, shell: InteractiveShell | None) -> None:
        self.chosen: str | None = None
        self._shell = shell
        self._rehearsal: Rehearsal | None = None
        self._known = {
            "panel": self._panel,
            "keys": self._keys,
            "models": self._models,
            "use": self._use,
            "health": self._health,
            "log": self._log,
            "rehearse": self._rehearse,
            "doctor": self._doctor,
        }

    def run(self, typed: str) -> None:
        """Carry out one command.

        Raises:
            UsageError: there is no such command, or it cannot be meant so.
        """
        name, _, rest = typed.strip().partition(" ")
        if not name:
            say(
                f"A cell that begins with %%llm is a prompt, for {default_model(self.chosen)} unless it names a model. "
                f"In a line: %llm {'|'.join(self._known)}. %%llm? tells more."
            )
            return
        if name not in self._known:
            raise UsageError(self._unknown(name))
        self._known[name](rest.strip())

    def close(self) -> None:
        """End the rehearsal that `%llm rehearse` began: without these commands no line could end it any more."""
        if self._rehearsal is not None:
            self._end_rehearsal()

    def _unknown(self, name: str) -> str:
        models = session().options.models
        if name in models.providers or name in models.aliases:
            return f"A prompt is a cell that begins with %%llm {name}, with two % signs; %llm takes a command."
        near = difflib.get_close_matches(name, self._known, n=1)
        hint = f" Did you mean %llm {near[0]}?" if near else ""
        return f"%llm takes one of {', '.join(self._known)}.{hint} A prompt is a cell that begins with %%llm MODEL."

    def _panel(self, rest: str) -> None:
        _takes_nothing("panel", rest)
        if (shown := panel()) is not None:
            display(shown)

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

    def _add_key(self, words: list[str]) -> None:
        ring = session().options.keys
        backends = ", ".join(ring.code)
        if not words:
            raise UsageError(f"Say whose key it is: %llm keys add openrouter. There are {backends}.")
        backend, *label = words
        if backend not in ring.code or any(_may_be_key(word) for word in label):
            raise UsageError(
                KEY_IN_LINE if any(map(_may_be_key, words)) else f"There is no such backend. There are {backends}."
            )
        try:
            key = getpass.getpass(f"{backend} key (not shown): ")
        except (StdinNotImplementedError, EOFError):
            raise UsageError(
                "Nobody can be asked for a key here. Set it in the environment before the start."
            ) from None
        shown = session().keys.add(backend, key, label=unquoted(" ".join(label)) or None)
        say(f"Added for this session: {backend} {shown}.")

    def _remove_key(self, backend: str, name: str) -> None:
        """Remove a key, called as `%llm keys` shows it, and say what became of a saved one."""
        ring = session().options.keys
        saved = {line.shown: line.saved_in for line in ring.lines() if line.backend == backend}
        if not session().keys.remove(backend, name):
            say(f"There is no such key for {backend} in this session.")
            return
        left = {line.shown for line in ring.lines() if line.backend == backend}
        places = [place for shown, place in saved.items() if place and shown not in left]
        say(f"Removed, and deleted from the {places[0]}." if places else "Removed for this session.")

    def _models(self, rest: str) -> None:
        part = unquoted(rest)
        if not part:
            display(session().options.models)
            self._use("")
        elif session().options.models.find(part):
            show(models_bundle(part))
        else:
            say(f"No model has {part} in its name or its aliases. %llm models shows what there is.")

    def _use(self, rest: str) -> None:
        if rest:
            name = unquoted(rest)
            session().options.models.resolve(name)
            self.chosen = name
        say(f"{default_model(self.chosen)} is asked when a %%llm cell names no model.")

    def _health(self, rest: str) -> None:
        _takes_nothing("health", rest)
        show(health_bundle())

    def _log(self, rest: str) -> None:
        if rest and not (rest.isdecimal() and int(rest)):
            raise UsageError("%llm log, or %llm log 50 for the last 50 attempts; llm.attempts() has them all.")
        show(log_bundle(int(rest or _SHOWN_ATTEMPTS)))

    def _rehearse(self, rest: str) -> None:
        script = unquoted(rest)
        if script == _OFF:
            self._end_rehearsal()
            return
        rehearsal = rehearse(script)
        if self._rehearsal is not None:
            self._rehearsal.stop()
        self._rehearsal = rehearsal.start()
        say(
            f"Rehearsal: {script or 'every request is answered'}. No key is used and nothing is spent, until "
            "%llm rehearse off."
        )

    def _end_rehearsal(self) -> None:
        if self._rehearsal is not None:
            self._rehearsal.stop()
            self._rehearsal = None
            say("The rehearsal has ended: your own keys and settings are back, and cells cost again.")
        elif session().is_rehearsal:
            raise UsageError("This rehearsal was begun in code: call its stop(), or leave its with-block.")
        else:
            say("No rehearsal is running.")

    def _doctor(self, rest: str) -> None:
        _takes_nothing("doctor", rest)
        show(report_bundle(examine(self._shell)))


def say(text: str) -> None:
    """Show one quiet line."""
    show({"text/plain": plain(text), "text/html": block(line(text, "dim"))})


def _takes_nothing(name: str, rest: str) -> None:
    if rest:
        raise UsageError(f"%llm {name} takes nothing behind it.")


def _may_be_key(word: str) -> bool:
    """A word that is as long as a key, or has a key's beginning, is taken for one and never shown."""
    return len(word) >= 16 or word.startswith(("sk-", "hf_"))

"""`%%llm`, a cell that is a prompt, and `%llm`, what goes with it. Thin: they parse, call the layers below, and show.

IPython is imported at the top, so this module is loaded by `%load_ext` only.
"""

from __future__ import annotations

import contextlib
import threading
import time
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring
from IPython.display import display

from llm_executor_nb.chain.api import run_llm
from llm_executor_nb.chain.inspection import attempts, health
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.notebook.fill import fill, is_data
from llm_executor_nb.settings.config import live
from llm_executor_nb.view.html import answer_bundle

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell
    from langchain_core.messages import AIMessage

NAME = "llm"
_WARM_UP_AFTER_S = 0.3


@magics_class
class LLMMagics(Magics):
    """The cell that is a prompt."""

    @no_var_expand
    @magic_arguments(name=NAME)
    @argument("model", nargs="?", help="a model of the table or its alias, such as gemma; or models, keys, health, log")
    @argument("-o", "--out", metavar="VAR", help="put LangChain's message into this variable")
    @argument("-s", "--system", metavar="TEXT|@var", help="a system message, or @ and the variable that holds it")
    @argument("-t", "--temperature", type=float, help="0 for the likeliest answer")
    @argument("--max-tokens", type=int, help="the longest answer")
    @argument("-f", "--format", choices=("md", "text"), default="md", help="how the answer is shown (default md)")
    @argument("--raw", action="store_true", help="send the cell as typed: {name} is not filled in")
    @argument("--timeout", type=float, metavar="S", help="seconds one attempt may take")
    @argument("--deadline", type=float, metavar="S", help="seconds the whole run may take")
    @argument("-v", "--verbose", action="store_true", help="show the attempts below the answer")
    @line_cell_magic
    def llm(self, line: str, cell: str | None = None) -> AIMessage | None:
        """Send the cell as a prompt down the model's fallback chain, and show the answer.

        `{name}` fills in a variable that exists; all other braces stay as they are.
        In a line: %llm models, %llm keys, %llm health, %llm log.
        """
        options = parse_argstring(self.llm, line)
        if cell is None:
            return _command(options.model)()
        if options.model is None:
            raise UsageError(f"Say which model: %%llm {next(iter(live().models.aliases), 'MODEL')}")
        self._answer(options, cell)
        return None

    def _names(self) -> dict[str, Any]:
        """Return the user's variables."""
        return {} if self.shell is None else self.shell.user_ns

    def _answer(self, options: Namespace, cell: str) -> None:
        names = self._names()
        if options.out is not None and (not options.out.isidentifier() or iskeyword(options.out)):
            raise UsageError(f"-o {options.out}: give the name of a variable.")
        prompt = cell if options.raw else fill(cell, names)[0]
        message = run_llm(
            _unquoted(options.model),
            prompt.strip("\n"),
            system=_system(options.system, names),
            timeout=options.timeout,
            deadline=options.deadline,
            **_params(options),
        )
        if options.out:
            names[options.out] = message
        display(answer_bundle(str(message.text), is_markdown=options.format == "md"), raw=True)
        if options.verbose:
            display(attempts(message))


def load(shell: InteractiveShell) -> None:
    """Register the magics, and begin to load LangChain in the background."""
    shell.register_magics(LLMMagics)
    threading.Thread(target=_warm_up, name="llm_executor_nb warm-up", daemon=True).start()


def unload(shell: InteractiveShell) -> None:
    """Take the magics out again."""
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(NAME, None)


def _warm_up() -> None:
    time.sleep(_WARM_UP_AFTER_S)
    with contextlib.suppress(Exception):  # it only saves time; the first call says what is wrong
        from llm_executor_nb.providers.payload import make_payload  # noqa: PLC0415 - nothing heavy at %load_ext

        make_payload("warm up", {})


def _show_models() -> None:
    print(live().models)  # noqa: T201 - a magic prints


def _show_keys() -> None:
    print(live().keys)  # noqa: T201 - a magic prints


def _show_health() -> None:
    display(health())


def _show_log() -> None:
    display(attempts())


_COMMANDS: dict[str, Callable[[], None]] = {
    "models": _show_models,
    "keys": _show_keys,
    "health": _show_health,
    "log": _show_log,
}


def _command(name: str | None) -> Callable[[], None]:
    if name not in _COMMANDS:
        raise UsageError(f"%llm takes {', '.join(_COMMANDS)}; a prompt is a cell that begins with %%llm MODEL.")
    return _COMMANDS[name]


def _params(options: Namespace) -> dict[str, Any]:
    given = {"temperature": options.temperature, "max_tokens": options.max_tokens}
    return {name: value for name, value in given.items() if value is not None}


def _system(text: str | None, names: dict[str, Any]) -> str | None:
    if text is None or not text.startswith("@"):
        return None if text is None else _unquoted(text)
    name = text[1:]
    if not is_data(names, name) or not isinstance(text := names[name], str):
        raise ConfigError(f"--system @{name}: there is no text variable {name}.")
    return text


def _unquoted(text: str) -> str:
    """Take off the quotes that IPython leaves round an argument."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text

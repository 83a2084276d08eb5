"""`%%llm`, a cell that is a prompt, and `%llm`, its commands. Thin: they parse, call the layers below, and show.

IPython is imported at the top, so this module is loaded by `%load_ext` only.
"""

from __future__ import annotations

import re
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class, no_var_expand
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from llm_executor_nb.chain import warmup
from llm_executor_nb.chain.stopping import stoppable
from llm_executor_nb.core.near_names import did_you_mean, near_names
from llm_executor_nb.notebook import completion
from llm_executor_nb.notebook.arguments import cell_options, default_model, refuse_key
from llm_executor_nb.notebook.cell import run_cell, show_dry_run
from llm_executor_nb.notebook.commands import Commands
from llm_executor_nb.notebook.fill import variables_of
from llm_executor_nb.view.answer import make_answer_display

if TYPE_CHECKING:
    from argparse import Namespace

    from IPython.core.interactiveshell import InteractiveShell
    from langchain_core.messages import AIMessage

NAME = "llm"
_TYPESETS_FRAMES = "display.html.use_mathjax"


@magics_class
class LLMMagics(Magics):
    """The cell that is a prompt, and its commands."""

    def __init__(self, shell: InteractiveShell | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - IPython's own
        super().__init__(shell, **kwargs)
        self.commands = Commands(shell)
        self.typesets_frames: bool = pd.get_option(_TYPESETS_FRAMES)

    # IPython would evaluate {…} and $… in the line; nothing that a user types here is evaluated
    @no_var_expand
    @magic_arguments(name=NAME)
    @argument("model", nargs="?", help="a model of the table or its alias, such as gemma; without it the default")
    @argument("-o", "--out", metavar="VAR", help="store LangChain's message in this variable")
    @argument("-s", "--system", metavar="TEXT", help="a system message in quotes, or @ and the variable that holds it")
    @argument("-t", "--temperature", type=float, metavar="T", help="randomness; 0 for the likeliest answer")
    @argument("--max-tokens", type=int, metavar="N", help="tokens of the longest answer")
    @argument(
        "-f",
        "--format",
        choices=("md", "text", "json"),
        metavar="FORM",
        help="md, text or json: how the answer is shown (default md; json with --schema)",
    )
    @argument("--schema", metavar="@Model", help="a variable with a pydantic class, a dict of types or a list of names")
    @argument("--policy", metavar="@p", help="a variable with an llm.Policy: what the provider must promise")
    @argument("--no-stream", action="store_true", help="show the answer when it is complete")
    @argument("--raw", action="store_true", help="send the cell as typed: {name} is not filled in")
    @argument("--timeout", type=float, metavar="S", help="seconds one attempt may take")
    @argument("--deadline", type=float, metavar="S", help="seconds the whole run may take")
    @argument("-v", "--verbose", action="store_true", help="show the attempts below the answer")
    @argument("-n", "--dry-run", action="store_true", help="show the filled prompt and the routes; send nothing")
    @line_cell_magic
    @stoppable
    def llm(self, line: str, cell: str | None = None) -> None:
        """Send a cell as a prompt down the model's fallback chain, and show the answer as it comes.

            %%llm gemma -o answer -t 0
            Summarise {review} in one sentence, as JSON: {"summary": ...}

        {name} fills in a variable that exists and is data: a text, a number, a list, a frame, an earlier answer;
        never a key, a module, a function or a class. All other braces stay as they are, and {{name}} is {name}.
        Sending a cell costs what the provider charges. Errors are raised, never shown as an answer. The stop button
        ends a cell and closes the connection. Without a model the default is asked (%llm use MODEL).

        Commands, each in a line:

            %llm panel               keys, models and health, to click
            %llm keys                the keys; %llm keys add openrouter prompts for one and does not show it
            %llm login               sign in to OpenRouter, and use the key at once; %llm login huggingface
            %llm models              the models, their aliases and providers; %llm models gemma finds some
            %llm models search gemma what OpenRouter and Hugging Face list, with prices; costs nothing
            %llm use MODEL           make a model the default of this notebook
            %llm health              what is on hold, why, and for how long
            %llm log                 the last attempts: route, outcome, time, cost
            %llm rehearse SCRIPT     practise without keys and without cost; %llm rehearse off ends it
            %llm doctor              look for problems: keys, routes, network, and keys left in notebooks
        """
        refuse_key(line)  # before anything else: an error message could repeat the line
        if cell is None:
            self.commands.run(line)
            return
        names = variables_of(self.shell)
        options = cell_options(_parsed(self.llm, line), cell, names, default_model(self.commands.chosen))
        if options.is_dry:
            show_dry_run(options)
        else:
            with closing(make_answer_display(options.form)) as display:
                run_cell(options, display, partial(self._keep, options.out))

    def _keep(self, name: str | None, message: AIMessage) -> None:
        if name is not None and self.shell is not None:
            self.shell.user_ns[name] = message


def load(shell: InteractiveShell) -> None:
    """Register the magics and their completion, and begin to load LangChain in the background.

    Frames are no longer typeset: an answer in one could fetch, or redefine commands of other cells, by a formula.
    """
    magics = LLMMagics(shell)
    shell.register_magics(magics)
    pd.set_option(_TYPESETS_FRAMES, False)  # noqa: FBT003 - the name of the option says what it is
    completion.add(shell, LLMMagics.llm.parser)
    warmup.begin(after_s=warmup.SOON_S)


def unload(shell: InteractiveShell) -> None:
    """Take the magics and their completion out again, end a rehearsal that they began, and restore pandas' option."""
    # IPython has no public way to take a magic out again
    magics = shell.magics_manager.registry.pop(LLMMagics.__name__, None)
    if isinstance(magics, LLMMagics):
        magics.commands.close()
        pd.set_option(_TYPESETS_FRAMES, magics.typesets_frames)
    for kind in ("line", "cell"):
        shell.magics_manager.magics[kind].pop(NAME, None)
    completion.remove(shell)


def _parsed(magic: Any, line: str) -> Namespace:  # noqa: ANN401 - IPython gives the decorated method no type
    try:
        arguments: Namespace = parse_argstring(magic, line)
    except UsageError as error:
        hint = _hint(str(error), magic.parser.format_help()) if "unrecognized" in str(error) else ""
        raise UsageError(f"{error}.{hint} %%llm? shows the help.") from None
    return arguments


def _hint(said: str, shown: str) -> str:
    """Return what may help where an argument is not known: the near option, or quotes round a text."""
    typed = next((word for word in said.split() if word.startswith("--")), "")
    near = near_names(typed, re.findall(r"--[\w-]+", shown))
    return did_you_mean(near) or ("" if typed else ' Quote text that contains spaces: -s "Be short".')

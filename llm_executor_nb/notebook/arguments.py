"""The first line of a `%%llm` cell: checked, and made into the options of the cell.

IPython splits the line and leaves the quotes round a text; they are taken off here, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from keyword import iskeyword
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from llm_executor_nb.chain.session import session
from llm_executor_nb.core.errors import ConfigError
from llm_executor_nb.core.foreign_text import scrub
from llm_executor_nb.core.policy import check_policy
from llm_executor_nb.notebook.fill import Filled, fill, is_data, not_filled_in

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from llm_executor_nb.core.policy import Policy

KEY_IN_LINE = (
    "There is a key in this line. It is now in the notebook's file and in IPython's history: revoke it at the "
    "provider, delete it here, and save. Add the new one with %llm keys add openrouter, which asks for it unseen."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CellOptions:
    """What one `%%llm` cell asks for.

    Attributes:
        model: the model or its alias.
        is_default: whether the cell named no model, so that this is the default.
        prompt, system: the texts to send, filled in.
        params: call parameters by name.
        out: the variable that takes the message; None: none.
        form: how the answer is shown: md, text or json.
        schema: the schema of the answer; None: none.
        policy: what is demanded of the provider; None: as configured.
        timeout_s, deadline_s: bounds in seconds; None: as configured.
        is_streamed, is_verbose, is_dry: show pieces as they arrive; show the attempts; send nothing.
    """

    model: str
    is_default: bool
    prompt: Filled
    system: Filled | None
    params: Mapping[str, Any]
    out: str | None
    form: str
    schema: Any
    policy: Policy | None
    timeout_s: float | None
    deadline_s: float | None
    is_streamed: bool
    is_verbose: bool
    is_dry: bool

    @property
    def filled(self) -> tuple[str, ...]:
        """The variables that were filled in, each once."""
        return tuple(dict.fromkeys([*self.prompt.names, *(self.system.names if self.system else ())]))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left as typed, in words; empty: nothing that may be meant as a variable was."""
        return not_filled_in([*self.prompt.left, *(self.system.left if self.system else ())])

    def call_options(self) -> dict[str, Any]:
        """Return the options of `run_llm`, without the schema."""
        return {
            "system": self.system.text if self.system else None,
            "policy": self.policy,
            "timeout": self.timeout_s,
            "deadline": self.deadline_s,
            **self.params,
        }


def cell_options(arguments: Namespace, cell: str, names: Mapping[str, Any], default: str) -> CellOptions:
    """Return what a cell asks for.

    Args:
        arguments: the options of the line, as argparse has them.
        cell: the body.
        names: the user's variables.
        default: the model that is asked when the line names none.

    Raises:
        UsageError: the line is wrong.
        ConfigError: a variable it names cannot be used.
    """
    if not cell.strip():
        raise UsageError("The cell has no prompt below its first line.")
    params = {"temperature": arguments.temperature, "max_tokens": arguments.max_tokens}
    return CellOptions(
        model=default if arguments.model is None else unquoted(arguments.model),
        is_default=arguments.model is None,
        prompt=_filled(cell.strip("\n"), names, is_raw=arguments.raw),
        system=_system(arguments.system, names, is_raw=arguments.raw),
        params={name: value for name, value in params.items() if value is not None},
        out=_variable(arguments.out),
        form=arguments.format or ("json" if arguments.schema else "md"),
        schema=_named(arguments.schema, names, "--schema", "a pydantic class or a dict", "@Review"),
        policy=_policy(arguments.policy, names),
        timeout_s=arguments.timeout,
        deadline_s=arguments.deadline,
        is_streamed=not arguments.no_stream and not arguments.schema,
        is_verbose=arguments.verbose,
        is_dry=arguments.dry_run,
    )


def default_model(chosen: str | None) -> str:
    """Return the model that is asked when a cell names none: the chosen one, else the first alias of the table.

    Raises:
        UsageError: the table has no model.
    """
    models = session().options.models
    candidates: list[str | None] = [chosen, *models.aliases, *models]
    for name in candidates:
        # a chosen model, or the target of an alias, may have been removed since
        if name is not None and (name in models.providers or models.aliases.get(name) in models.providers):
            return name
    raise UsageError("There is no model. Add one: llm.models.add('google/gemma-3-27b-it').")


def refuse_key(line: str) -> None:
    """Refuse a line that holds a key, without showing the key.

    Raises:
        UsageError: the line holds one.
    """
    if scrub(line) != line:
        raise UsageError(KEY_IN_LINE)


def unquoted(text: str) -> str:
    """Return an argument without the quotes that IPython leaves round it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _filled(text: str, names: Mapping[str, Any], *, is_raw: bool) -> Filled:
    return Filled(text) if is_raw else fill(text, names)


def _variable(name: str | None) -> str | None:
    if name is None or (name.isidentifier() and not iskeyword(name)):
        return name
    raise UsageError(f"-o {name}: give the name of a variable, such as -o answer.")


def _system(text: str | None, names: Mapping[str, Any], *, is_raw: bool) -> Filled | None:
    if text is None:
        return None
    text = unquoted(text)
    if not text.startswith("@"):
        return _filled(text, names, is_raw=is_raw)
    name = text[1:]
    if not is_data(names, name) or not isinstance(value := names[name], str):
        raise ConfigError(f"--system @{name}: there is no text variable {name}.")
    return Filled(value, (name,))


def _policy(text: str | None, names: Mapping[str, Any]) -> Policy | None:
    policy = _named(text, names, "--policy", "an llm.Policy", "@p")
    return None if policy is None else check_policy(policy)


def _named(text: str | None, names: Mapping[str, Any], option: str, what: str, example: str) -> Any:  # noqa: ANN401 - a user's own
    """Return the object that an option names as a variable; None: the option is not given."""
    if text is None:
        return None
    name = unquoted(text)
    if not name.startswith("@"):
        raise UsageError(f"{option} {name}: write @ and the variable that holds {what}, such as {option} {example}.")
    if (name := name[1:]) not in names:
        raise ConfigError(f"{option} @{name}: there is no variable {name}; it should hold {what}.")
    return names[name]

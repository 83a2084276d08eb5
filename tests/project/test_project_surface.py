"""What users can see of the package is what `surface.txt` says: each change of it stands in a diff.

After a deliberate change: `python tests/project/test_project_surface.py` writes the file again.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

import llm_executor_nb as llm
from llm_executor_nb import __main__ as command
from llm_executor_nb import testing
from llm_executor_nb.frames.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

SNAPSHOT = Path(__file__).with_name("surface.txt")
HOUSE = Path(llm.__file__).parent


def surface() -> str:
    """Return all of it as lines of text."""
    return "\n".join([*_names(), "", *_held_objects(), "", *_tables(), "", *_command(), "", *_errors()]) + "\n"


def _names() -> Iterator[str]:
    yield "# names, with their parameters"
    for module, names in ((llm, llm.__all__), (testing, testing.__all__)):
        for name in sorted(names):
            thing = getattr(module, name)
            shown = f"{module.__name__.removeprefix('llm_executor_nb')}.{name}"
            if inspect.isclass(thing) and issubclass(thing, BaseException):
                yield f"{shown}({', '.join(base.__name__ for base in thing.__bases__)})"
            elif inspect.isfunction(thing):
                kind = "async " if inspect.iscoroutinefunction(thing) else ""
                yield f"{kind}{shown}{inspect.signature(thing)}"
            else:
                yield shown


def _held_objects() -> Iterator[str]:
    yield "# what a user holds, with its methods"
    frame = pd.DataFrame({"a": ["x"]})
    for label, thing in (
        ("llm.keys", type(llm.keys)),
        ("llm.models", type(llm.models)),
        ("llm.ledger", type(llm.ledger)),
        ("frame.llm", type(frame.llm)),
        ("series.llm", type(frame["a"].llm)),
        ("job", Job),
    ):
        members = {name: getattr(thing, name) for name in dir(thing) if not name.startswith("_")}
        for name, member in sorted(members.items()):
            shown = inspect.signature(member) if inspect.isfunction(member) else ""
            yield f"{label}.{name}{shown}"


def _tables() -> Iterator[str]:
    yield "# tables, with the types of their columns"
    with llm.rehearse():
        out = pd.DataFrame({"q": ["a"]}).llm.run("gemma", "q", progress=False, schema={"n": int})
        tables = {"df.llm.run": out, "attempts": llm.attempts(), "health": llm.health(), "check_keys": llm.check_keys()}
    for name, table in tables.items():
        yield from (f"{name}: {column} {dtype.name}" for column, dtype in table.dtypes.items() if column != "q")


def _command() -> Iterator[str]:
    yield "# python -m llm_executor_nb"
    for action in command._parser()._actions:
        yield f"{' '.join(action.option_strings)} {action.dest} {action.default}"


def _errors() -> Iterator[str]:
    """Yield the texts of the errors that are raised and of the warnings; a value is shown as `{}`."""
    yield "# what errors and warnings say"
    sources = (source.read_text(encoding="utf-8") for source in HOUSE.rglob("*.py"))
    yield from sorted({text for source in sources for text in _texts_of(ast.parse(source))})


def _texts_of(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called, arguments = node.exc.func, node.exc.args
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"warn", "ConfigError"}:
            called, arguments = node.func, node.args
        else:
            continue
        text = " ".join(filter(None, (_text_of(argument) for argument in arguments)))
        if text.strip(" {}"):
            yield f"{ast.unparse(called)}: {text}"


def _text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text_of, node.values))
    if isinstance(node, ast.BinOp):
        return _text_of(node.left) + _text_of(node.right)
    return "{}" if isinstance(node, ast.FormattedValue) else ""


def test_what_users_see_is_as_it_was():
    assert surface().splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), encoding="utf-8")

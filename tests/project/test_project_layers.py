"""The house is in order; that imports go one way is checked by `lint-imports` (.ci/run)."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import llm_executor_nb

if TYPE_CHECKING:
    from collections.abc import Iterator

HOUSE = Path(llm_executor_nb.__file__).parent
SOURCES = sorted(HOUSE.rglob("*.py"))
ROOMS = [path.name for path in HOUSE.iterdir() if path.is_dir()]


def test_no_room_bears_the_name_of_a_public_object():
    """A submodule that is imported becomes an attribute of the package and would hide the object."""
    rooms = {path.stem for path in HOUSE.iterdir() if path.is_dir() or path.suffix == ".py"} - {"__init__"}
    assert rooms.isdisjoint(llm_executor_nb.__all__)


@pytest.mark.parametrize("source", SOURCES, ids=[str(path.relative_to(HOUSE)) for path in SOURCES])
def test_no_file_is_longer_than_one_can_hold_in_mind(source):
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 400


def test_no_import_goes_in_a_circle_not_even_for_types():
    """`graphlib` raises CycleError with the files of a circle."""
    names = {_name_of(path): path for path in SOURCES}
    imports = {name: _imported_by(path, names) for name, path in names.items()}
    assert list(TopologicalSorter(imports).static_order())


def test_no_module_is_named_in_a_string():
    """An import that is hidden in a string is seen by no check."""
    names = tuple(f"{HOUSE.name}.{room}." for room in ROOMS)
    hidden = [
        f"{path.name}: {node.value}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and str(node.value).startswith(names)
    ]
    assert hidden == []


def test_what_changes_while_a_process_runs_is_named_in_one_place():
    """A value at the top of a module that changes is shared by all: each needs its reason in CONTRIBUTING.md."""
    place = (HOUSE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## What changes while")[2]
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", place, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(named) == sorted(name for path in SOURCES for name in _changing(path))


def _changing(path: Path) -> Iterator[str]:
    """Yield the lower-case names that a module gives a container, a lock, an object of a class, or None."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        is_plain = isinstance(node, ast.Assign)
        if not (is_plain or isinstance(node, ast.AnnAssign)) or not _can_change(node.value):
            continue
        for target in node.targets if is_plain else [node.target]:
            if isinstance(target, ast.Name) and target.id.lstrip("_").islower() and target.id[:2] != "__":
                yield f"{path.relative_to(HOUSE).with_suffix('')}.{target.id}"


def _can_change(value: ast.expr | None) -> bool:
    """Whether a value may change for all; a ContextVar changes for one task or thread."""
    called = ast.unparse(value.func) if isinstance(value, ast.Call) else ""
    is_made = re.match(r"(threading|weakref|itertools)\.|_?[A-Z]|deque", called) and called != "ContextVar"
    return bool(is_made) or isinstance(value, ast.List | ast.Dict | ast.Set | ast.Constant)


def _name_of(path: Path) -> str:
    parts = [HOUSE.name, *path.relative_to(HOUSE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported_by(path: Path, names: dict[str, Path]) -> set[str]:
    """Return the modules of the package that a file imports; packages count only where they are imported by name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & names.keys() or {node.module}
    return found & names.keys() - {_name_of(path)}

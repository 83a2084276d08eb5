"""The house is in order; that imports go one way is checked by `lint-imports` (.ci/run)."""

from pathlib import Path

import pytest

import llm_executor_nb

HOUSE = Path(llm_executor_nb.__file__).parent
SOURCES = sorted(HOUSE.rglob("*.py"))


def test_no_room_bears_the_name_of_a_public_object():
    """A submodule that is imported becomes an attribute of the package and would hide the object."""
    rooms = {path.stem for path in HOUSE.iterdir() if path.is_dir() or path.suffix == ".py"} - {"__init__"}
    assert rooms.isdisjoint(llm_executor_nb.__all__)


@pytest.mark.parametrize("source", SOURCES, ids=[str(path.relative_to(HOUSE)) for path in SOURCES])
def test_no_file_is_longer_than_one_can_hold_in_mind(source):
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 400

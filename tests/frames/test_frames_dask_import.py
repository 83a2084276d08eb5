"""`ddf.llm` is there whichever is imported first, and Dask is loaded by its user alone."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys

import pandas as pd
import pytest

import llm_executor_nb as llm
from llm_executor_nb.frames.dask_import import _Finder, _Loader

dd = pytest.importorskip("dask.dataframe")
pytest.importorskip("distributed")

ORDERS = {
    "the package first": "import llm_executor_nb; assert 'dask' not in sys.modules; import dask.dataframe as dd",
    "Dask first": "import dask.dataframe as dd; import llm_executor_nb",
    "Dask's frames found by a path of names": "import llm_executor_nb; from dask.dataframe import from_pandas as _; "
    "import dask.dataframe as dd",
}
LOOK = """
import pandas
frame = dd.from_pandas(pandas.DataFrame({"llm": ["a"]}), npartitions=1)
assert type(frame.llm).__module__ == "llm_executor_nb.frames.dask_accessor", frame.llm
assert type(frame["llm"]) is dd.Series
assert "llm" in frame._accessors
"""
LATE = """
import sys
import llm_executor_nb
needed = "dask.dataframe._dtypes"
sys.modules[needed] = None
try:
    import dask.dataframe
except ImportError as error:
    assert needed in str(error), error
else:
    raise AssertionError("it was imported without " + needed)
del sys.modules[needed]
import dask.dataframe as dd
"""
WITHOUT = """
import importlib, sys
import llm_executor_nb as llm
sys.modules[sys.argv[1]] = None
try:
    importlib.import_module("llm_executor_nb.frames.dask_accessor")
except llm.MissingExtraError as error:
    print(error)
else:
    raise AssertionError("it was imported without " + sys.argv[1])
import pandas
assert hasattr(pandas.DataFrame({"q": ["a"]}), "llm")
"""
LACKING = """
import sys
import llm_executor_nb as llm
sys.modules["distributed"] = None
import dask.dataframe as dd
import pandas
frame = dd.from_pandas(pandas.DataFrame({"q": ["a"]}), npartitions=1)
try:
    frame.llm
except llm.MissingExtraError as error:
    print(error)
"""


def python(code, *args):
    """Return what a fresh Python printed, in which every warning is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def frame():
    return dd.from_pandas(pd.DataFrame({"q": ["a", "b"]}), npartitions=2)


@pytest.mark.parametrize("order", ORDERS)
def test_the_accessor_is_there_in_either_import_order(order):
    assert python(f"import sys; {ORDERS[order]}{LOOK}") == ""


def test_an_import_of_dask_that_failed_once_is_followed_when_it_succeeds():
    assert python(f"{LATE}{LOOK}") == ""


@pytest.mark.parametrize("package", ["dask", "distributed"])
def test_without_the_extra_the_error_names_it_and_pandas_frames_work(package):
    assert "pip install" in (said := python(WITHOUT, package))
    assert "[dask]" in said


def test_what_the_accessor_lacks_is_said_when_it_is_looked_at_not_when_dask_is_imported():
    assert "[dask]" in python(LACKING)


def test_the_modules_of_dask_keep_their_own_loader():
    spec = importlib.util.find_spec("dask.dataframe")
    assert not isinstance(spec.loader, _Loader)
    assert not isinstance(dd.__loader__, _Loader)
    assert inspect.getsource(dd)


def test_the_finders_after_ours_are_asked_and_those_before_are_not_asked_twice(monkeypatch):
    asked = []

    class Recorder:
        def __init__(self, name):
            self.name = name

        def find_spec(self, fullname, _path, _target=None):
            asked.append((self.name, fullname))

    ours = _Finder()
    monkeypatch.setattr(sys, "meta_path", [Recorder("before"), ours, Recorder("after"), *sys.meta_path])
    spec = ours.find_spec("dask.dataframe", sys.modules["dask"].__path__)
    assert asked == [("after", "dask.dataframe")]
    assert isinstance(spec.loader, _Loader)
    assert ours.find_spec("dask.array", sys.modules["dask"].__path__) is None


def test_a_reload_of_the_package_registers_again_without_a_warning(frame):
    finders = list(sys.meta_path)
    importlib.reload(llm)
    assert type(frame.llm).__name__ == "DaskAccessor"
    assert sys.meta_path == finders


def test_a_frame_that_was_looked_at_is_pickled_without_its_accessor(frame):
    before = pickle.dumps(frame)
    assert frame.llm is not None
    assert pickle.dumps(frame) == before


def test_a_walk_over_the_packages_ends():
    found = [module.name for module in pkgutil.walk_packages(llm.__path__, f"{llm.__name__}.")]
    assert len(found) == len(set(found))
    assert f"{llm.__name__}.frames.dask_import" in found

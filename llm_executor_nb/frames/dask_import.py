"""`ddf.llm` is there in either import order, and importing this package does not load Dask.

Where Dask's frames are loaded already, the accessor is registered at once. Where not, a finder waits for the import
system to look for them, lets the other finders find them, and registers when they are loaded. What the accessor needs
is imported when it is first looked at: an error of it never breaks the import of Dask.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING

from llm_executor_nb.jobs.options import NAME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from dask.dataframe import DataFrame

    from llm_executor_nb.frames.dask_accessor import DaskAccessor

_FRAMES = "dask.dataframe"


def register_dask_accessor() -> None:
    """Register `ddf.llm` with Dask: now if its frames are loaded, else when they are."""
    if _FRAMES in sys.modules:
        _register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def accessor_of(frame: DataFrame) -> DaskAccessor:
    """Return the LLM calls over the partitions of a Dask DataFrame.

    Raises:
        MissingExtraError: a package of the extra `dask` is not installed.
    """
    from llm_executor_nb.frames.dask_accessor import DaskAccessor  # noqa: PLC0415 - it imports Dask

    return DaskAccessor(frame)


def _register() -> None:
    from dask.dataframe import DataFrame  # noqa: PLC0415 - loaded only where the user loads it
    from dask.dataframe.extensions import register_dataframe_accessor  # noqa: PLC0415 - the same

    if hasattr(DataFrame, NAME):
        delattr(DataFrame, NAME)  # after a reload of the package; Dask would warn about a second registration
    register_dataframe_accessor(NAME)(accessor_of)


class _Finder(MetaPathFinder):
    """Finds nothing itself: it has Dask's frames found by the finders after it, and their loader followed by us."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _FRAMES:
            return None
        for other in sys.meta_path[sys.meta_path.index(self) + 1 :]:  # those before it were asked already
            if (spec := other.find_spec(fullname, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Loads as the real loader does, leaves that one in the module, and registers the accessor."""

    def __init__(self, real: Loader) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._real
        if module.__spec__ is not None:
            module.__spec__.loader = self._real
        self._real.exec_module(module)
        _register()

"""The first name of this package: `import llm_executor` gives the very module that `import llm_executor_nb` gives.

The wheel and the editable install lay this folder beside the package as `llm_executor`. Importing it puts the real
module in its own place, so an assignment to either name is one. Modules below it are one too: a second copy of, say,
`testing` would have a switch of its own that forbids nothing. It must hold nothing else and read no setting.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import TYPE_CHECKING

import llm_executor_nb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    # Type checkers read the names here; at run time a star would read every setting.
    from llm_executor_nb import *  # noqa: F403 - the names are those of `llm_executor_nb.__all__`


class _SameModules(MetaPathFinder, Loader):
    """Finds `llm_executor.x` where `llm_executor_nb.x` is, and gives that module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return a spec for modules below the first name; `python -m llm_executor` needs no help."""
        del path, target
        if not name.startswith(f"{__name__}.") or name.endswith(".__main__") or find_spec(_real(name)) is None:
            return None
        return ModuleSpec(name, self)

    def exec_module(self, module: ModuleType) -> None:
        """Put the real module in the new one's place."""
        sys.modules[module.__name__] = importlib.import_module(_real(module.__name__))


def _real(name: str) -> str:
    """Return the name that the module has in the package."""
    return llm_executor_nb.__name__ + name.removeprefix(__name__)


if "." not in __name__:  # in a clone the folder lies in the package too; as one of its parts it would hold itself
    sys.meta_path.insert(0, _SameModules())
    sys.modules[__name__] = llm_executor_nb
